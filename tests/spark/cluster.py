# SPDX-License-Identifier: GPL-2.0-or-later
"""A cluster of Spark's, of one machine: its own master, and one worker."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pyspark

HOME = Path(pyspark.__file__).parent

# Seconds until a part of it has to be there: a busy machine takes its time.
PATIENCE = 300


@contextlib.contextmanager
def cluster(logs: Path) -> Iterator[str]:
    """
    Have one in a block.

    :param logs: a directory
    :return: its URL
    """
    with (
        _part(
            *("master.Master", "--port", "0"),
            log=logs / "master",
            ready=r"Starting Spark master at (spark://\S+)",
        ) as url,
        _part(
            *("worker.Worker", url, "--cores", "2", "--memory", "2G"),
            *("--work-dir", str(logs)),
            log=logs / "worker",
            ready=r"(Successfully registered) with master",
        ),
    ):
        yield url


@contextlib.contextmanager
def _part(name: str, *words: str, log: Path, ready: str) -> Iterator[str]:
    """Run a part of it in a block, from when its log has ``ready``."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            [
                *(HOME / "bin/spark-class", f"org.apache.spark.deploy.{name}", *words),
                *("--host", "127.0.0.1", "--webui-port", "0"),
            ],
            stdout=file,
            stderr=file,
            env={**os.environ, "SPARK_HOME": str(HOME)},
        )
    try:
        deadline = time.monotonic() + PATIENCE
        while not (found := re.search(ready, log.read_text())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield found[1]
    finally:
        process.kill()
        process.wait()

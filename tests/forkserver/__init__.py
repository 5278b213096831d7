# SPDX-License-Identifier: GPL-2.0-or-later
"""
pagedbg and Python as programs that need not start: see server.py. They are called by
the paths that are here.
"""

from __future__ import annotations

import atexit
import functools
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

__all__ = ("SERVER", "pagedbg", "programs", "python")

HERE = Path(__file__).parent
SERVER = HERE / "server.py"

# Until the server has imported everything; on a machine that is busy that takes its
# time.
PATIENCE = 120.0


@functools.cache
def programs() -> Path:
    """
    A directory with the programs ``pagedbg`` and ``python``, whose server has its
    ``socket`` beside them. They need no library.
    """
    where = Path(tempfile.mkdtemp(prefix="pagedbg-forkserver-"))
    atexit.register(shutil.rmtree, where, ignore_errors=True)
    subprocess.run(
        [
            "gcc",
            "-O2",
            "-Wall",
            "-Werror",
            "-static",
            "-o",
            where / "pagedbg",
            HERE / "client.c",
        ],
        check=True,
    )
    (where / "python").hardlink_to(where / "pagedbg")
    return where


def pagedbg() -> Path:
    """pagedbg on this machine."""
    _start()
    return programs() / "pagedbg"


def python() -> Path:
    """Python on this machine, for what uses pagedbg."""
    _start()
    return programs() / "python"


@functools.cache
def _start() -> None:
    """Have a server for this process and what it starts."""
    path = programs() / "socket"
    server = subprocess.Popen(
        [sys.executable, "-I", SERVER, path], stdin=subprocess.PIPE, cwd="/"
    )
    atexit.register(server.communicate)
    deadline = time.monotonic() + PATIENCE
    while not path.exists():
        if server.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("the fork server did not start")
        time.sleep(0.01)

# SPDX-License-Identifier: GPL-2.0-or-later
"""
Compact copies of a lake, and be killed before each thing that is done to its files, one
copy after the other; print what was the last, and what readers see then and later.

Each in a process of its own, which is made before there is a database with threads.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pagedbg.capture.lake import Lake
from pagedbg.sources.lake_compaction import compact_day
from pagedbg.sources.lake_index import TABLE, index_lake

CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree"}


def in_child(work: Callable[[], Any]) -> tuple[Any, int]:
    """What a function returns in a process of its own, and how that ended."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, json.dumps(work()).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as file:
        text = file.read()
    _, status = os.waitpid(child, 0)
    return json.loads(text) if text else None, status


def compact(lake: Path, steps: int) -> int:
    """Compact, and be killed before the given change; return how many there were."""
    import duckdb

    done = 0

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal done
        # Removing a directory takes its files by their names alone.
        opened = event == "open" and str(arguments[0]).endswith(".parquet")
        if event in CHANGES or opened:
            if done == steps:
                os.kill(os.getpid(), signal.SIGKILL)
            done += 1

    sys.addaudithook(count)
    with duckdb.connect() as db:
        for day in Lake(lake).days([]):
            compact_day(db, Lake(lake), day.date, [])
    return done


def seen(lake: Path) -> Any:
    """Which snapshots there are, and how many rows and pages they have, summed up."""
    import duckdb

    notes: list[str] = []
    with duckdb.connect() as db:
        found = index_lake(db, Lake(lake), notes)
        numbers = db.execute(f"SELECT snapshot FROM {TABLE} ORDER BY 1").fetchall()
        files = [day.file("owners") for day in found.compacted]
        files += [each.path / "owners.parquet" for each in found.alone]
        sums = db.execute(
            "SELECT count(*), sum(pages)::BIGINT FROM read_parquet(?,"
            " hive_partitioning = false, union_by_name = true)",
            [[str(file) for file in files]],
        ).fetchall()
    return [numbers, sums, notes]


def left(lake: Path) -> list[str]:
    """What there is but for one directory with what is compacted of a day."""
    return [str(path) for path in lake.rglob(".*")] + [
        str(path) for day in lake.iterdir() for path in sorted(day.iterdir())[1:]
    ]


def main(original: Path, where: Path) -> None:
    expected, _ = in_child(lambda: seen(original))
    for step in range(1000):
        lake = shutil.copytree(original, where / str(step))
        _, status = in_child(lambda lake=lake, step=step: compact(lake, step))  # type: ignore[misc]
        after, _ = in_child(lambda lake=lake: seen(lake))  # type: ignore[misc]
        in_child(lambda lake=lake: compact(lake, -1))  # type: ignore[misc]
        later, _ = in_child(lambda lake=lake: seen(lake))  # type: ignore[misc]
        print(
            json.dumps(
                {
                    "killed": os.WIFSIGNALED(status),
                    "same": after == expected,
                    "same_later": later == expected,
                    "left": left(lake),
                }
            )
        )
        shutil.rmtree(lake)
        if not os.WIFSIGNALED(status):
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

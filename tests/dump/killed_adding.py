# SPDX-License-Identifier: GPL-2.0-or-later
"""
Add a snapshot to copies of a lake, and be killed before each thing that is done to its
files, one copy after the other; print what readers see then and later.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

from killed_compaction import in_child, seen

from pagedbg.capture.lake import Lake, left_of
from pagedbg.sources.lake_adding import add_snapshot, known_of
from pagedbg.sources.lake_compaction import compact_day
from pagedbg.sources.lake_index import index_lake
from pagedbg.sources.snapshot_series import find_snapshots


def add(lake: Path, source: Path, steps: int) -> int:
    """Add it, and be killed before the given change; return how many there were."""
    import duckdb

    done = 0

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal done
        made = event == "open" and isinstance(arguments[2], int)
        if event in ("os.mkdir", "os.rename") or (made and arguments[2] & os.O_CREAT):
            if done == steps:
                os.kill(os.getpid(), signal.SIGKILL)
            done += 1

    sys.addaudithook(count)
    with duckdb.connect() as db:
        index_lake(db, Lake(lake), [])
        (found,) = find_snapshots([source], [])
        add_snapshot(db, Lake(lake), found, known_of(db), source)
    return done


def compact(lake: Path) -> None:
    import duckdb

    with duckdb.connect() as db:
        for day in Lake(lake).days([]):
            compact_day(db, Lake(lake), day.date, [])


def left(lake: Path) -> list[str]:
    """What fleet status says is left."""
    return [
        str(path)
        for day in Lake(lake).days([])
        for _, host in day.hosts
        for path in left_of(host)
    ]


def hidden(lake: Path) -> list[str]:
    return [str(path) for path in lake.rglob(".*")]


def look(lake: Path, source: Path) -> dict[str, Any]:
    """What readers see, and what is left, then and once somebody adds or compacts."""
    said = {"seen": seen(lake), "left": left(lake), "hidden": hidden(lake)}
    compacted = shutil.copytree(lake, lake.with_name(f"{lake.name}-compacted"))
    compact(compacted)
    add(lake, source, -1)
    return {
        **said,
        "snapshots": len(seen(lake)[0]),
        "hidden_later": hidden(lake) + hidden(compacted),
    }


def main(original: Path, source: Path, where: Path) -> None:
    before, _ = in_child(lambda: seen(original))
    for step in range(1000):
        lake = shutil.copytree(original, where / str(step))
        _, status = in_child(lambda lake=lake, step=step: add(lake, source, step))  # type: ignore[misc]
        said, _ = in_child(lambda lake=lake: look(lake, source))  # type: ignore[misc]
        said["same"] = said.pop("seen") == before
        print(json.dumps({**said, "killed": os.WIFSIGNALED(status)}))
        if not os.WIFSIGNALED(status):
            return


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))

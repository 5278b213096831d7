# SPDX-License-Identifier: GPL-2.0-or-later
"""Snapshots of the dumps, for tests of what they answer."""

from __future__ import annotations

from pathlib import Path

from known import ORDINARY, SAMPLE, Run

__all__ = ("CORES", "keep")

CORES = (ORDINARY, SAMPLE)


def keep(where: Path, *options: str) -> dict[Path, Path]:
    """Make a snapshot of each dump in a directory."""
    made = {}
    for core in CORES:
        made[core] = where / core.stem
        done = Run()("-c", core, "snapshot", "save", *options, made[core])
        assert (done.returncode, done.stderr) == (0, "")
    return made

# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether there is memory for the events of a capture."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def lacking_room(info: os.stat_result) -> str | None:
    """
    What is to be said of a file that there is no memory for: a copy to sort, and what
    is made of it. None if there is.
    """
    needed = 3 * min(info.st_size, info.st_blocks * 512)
    if (free := _available()) is not None and needed > free:
        return (
            f"has too many events to be looked at here: it takes {needed >> 20} MiB,"
            f" and {free >> 20} MiB are free."
        )
    return None


def _available() -> int | None:
    """
    How many bytes of memory may be used (``MemAvailable``); None if it is not known.
    """
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        return (
            int(
                next(
                    line for line in lines if line.startswith("MemAvailable:")
                ).split()[1]
            )
            << 10
        )
    return None

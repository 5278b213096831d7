# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether there is memory for what a capture tells, where it is needed at once."""

from __future__ import annotations

import contextlib
from pathlib import Path


def lacking_room(size: int) -> str | None:
    """
    What is to be said of rows that there is no memory for: a copy to sort, and what is
    made of it. None if there is.

    :param size: the bytes of the rows
    """
    needed = 3 * size
    if (free := _available()) is not None and needed > free:
        return f"take {needed >> 20} MiB of memory, and {free >> 20} MiB are free."
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

# SPDX-License-Identifier: GPL-2.0-or-later
"""
Where the lab keeps what it has got and built, and how processes share that.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path


class LabError(Exception):
    """Something the user can mend; its text is one sentence."""


def cache_root() -> Path:
    """
    The lab's cache: ``$PAGEDBG_LAB_CACHE``, else ``pagedbg/lab`` in the user's cache
    directory.
    """
    if chosen := os.environ.get("PAGEDBG_LAB_CACHE"):
        return Path(chosen).resolve()
    return (
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        / "pagedbg"
        / "lab"
    )


@contextlib.contextmanager
def locked(lock: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """
    Let one process at a time in, from whichever checkout; ``waiting`` is called if
    another one is there.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield

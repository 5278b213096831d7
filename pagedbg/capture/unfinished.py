# SPDX-License-Identifier: GPL-2.0-or-later
"""
Directories that are being written, under names of their own. Who writes one holds a
lock on it, by which others know it from what somebody has left who was killed.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from pagedbg.capture.files import Folder


def begin_directory(path: Path) -> Folder:
    """
    Make a directory, for its owner alone, and hold its lock until it is closed.

    :raises OSError: if it cannot be made, or another writes one of that name
    """
    while True:
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            # Of a process that had our number.
            if not remove_left(path):
                raise
            continue
        with contextlib.suppress(FileNotFoundError):
            folder = Folder(path)
            # Whoever holds it may take it for left, and remove it.
            folder.lock(wait=True)
            if folder.is_at(path):
                return folder
            folder.close()


def remove_left(path: Path) -> bool:
    """
    Remove a directory if nobody writes it any more; return whether it is gone.

    :raises OSError: if it cannot be removed
    """
    with _left(path) as left:
        if left:
            shutil.rmtree(path)
        return left


def is_left(path: Path) -> bool:
    """Whether a directory is there that nobody writes any more."""
    with _left(path) as left:
        return left


@contextlib.contextmanager
def _left(path: Path) -> Iterator[bool]:
    """Where nobody can tell, as without locks, it is not left."""
    if path.is_symlink() or not path.is_dir():
        yield False
        return
    try:
        folder = Folder(path)
    except OSError:
        yield False
        return
    with folder:
        yield folder.lock(wait=False) and folder.is_at(path)

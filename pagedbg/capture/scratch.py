# SPDX-License-Identifier: GPL-2.0-or-later
"""
Temporary directories that do not outlive their process for long: those of one that was
killed are removed by the next.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from pathlib import Path

from pagedbg.capture.this_boot import process_start

_NAME = re.compile(r"pagedbg-(\d+)-(\d+)-.*")


def scratch() -> tempfile.TemporaryDirectory[str]:
    """
    Make a temporary directory, and remove those that others have left.

    :raises OSError: if it cannot be made
    """
    _sweep(Path(tempfile.gettempdir()))
    return tempfile.TemporaryDirectory(
        prefix=f"pagedbg-{os.getpid()}-{process_start(os.getpid())}-"
    )


def _sweep(where: Path) -> None:
    with os.scandir(where) as entries:
        for entry in entries:
            match = _NAME.fullmatch(entry.name)
            # One may be gone by now: its process has ended, or another has swept, too.
            with contextlib.suppress(FileNotFoundError):
                if match is not None and _is_left(entry, *map(int, match.groups())):
                    shutil.rmtree(entry.path, ignore_errors=True)


def _is_left(entry: os.DirEntry[str], pid: int, started: int) -> bool:
    """Whether it is a directory of ours whose process is not there any more."""
    if (
        not entry.is_dir(follow_symlinks=False)
        or entry.stat(follow_symlinks=False).st_uid != os.geteuid()
    ):
        return False
    with contextlib.suppress(OSError, ValueError):
        return process_start(pid) != started
    return True

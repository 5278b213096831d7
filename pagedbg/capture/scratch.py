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
            if (
                match is None
                or not entry.is_dir(follow_symlinks=False)
                or entry.stat(follow_symlinks=False).st_uid != os.geteuid()
            ):
                continue
            started = None
            with contextlib.suppress(OSError, ValueError):
                started = process_start(int(match[1]))
            if started != int(match[2]):
                shutil.rmtree(entry.path, ignore_errors=True)

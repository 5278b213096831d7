# SPDX-License-Identifier: GPL-2.0-or-later
"""A file that is there as a whole, or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from typing import BinaryIO

__all__ = ("whole_file",)


@contextlib.contextmanager
def whole_file(path: str) -> Iterator[BinaryIO]:
    """
    Write a file for the time of a block. What is at the path is replaced at its end,
    and stays if it fails; a pipe or a device is written to as it comes.

    :raises OSError: if it cannot be written; its ``filename`` is the path
    """
    try:
        found = os.stat(path) if os.path.exists(path) else None
        if found is not None and not stat.S_ISREG(found.st_mode):
            with open(path, "wb") as out:
                yield out
            return
        # A link stays one.
        real = os.path.realpath(path)
        made = f"{real}.{secrets.token_hex(4)}"
        with _new(made, found) as out:
            try:
                yield out
                out.flush()
                os.replace(made, real)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(made)
                raise
    except OSError as error:
        if error.filename is not None or error.filename2 is not None:
            raise type(error)(error.errno, error.strerror, path) from error
        raise


def _new(path: str, former: os.stat_result | None) -> BinaryIO:
    """Make a file, with the mode of a former one."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o666)
    if former is not None:
        os.fchmod(descriptor, stat.S_IMODE(former.st_mode))
    return open(descriptor, "wb")

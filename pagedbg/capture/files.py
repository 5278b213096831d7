# SPDX-License-Identifier: GPL-2.0-or-later
"""
The files of a capture, which may be from a stranger: regular ones, in the directory
itself.

A link would have root read or write what it leads to, and a FIFO is waited for without
an end. So each file is opened below the directory, which is held open, and looked at
before anything is read from it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from pagedbg.errors import PagedbgError

_SAFELY = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


META, EVENTS, STACKS, PAGES = "meta.json", "events.bin", "stacks.jsonl", "pages.npy"
"""What is in a capture; of the events the first segment, of which there may be more."""

META_SYNCED = "meta.json.synced"
"""
What ``meta.json`` said when all that it counts was on the disk: for a machine
that lost its power.
"""


class CaptureError(PagedbgError):
    """A directory that is no capture, or one that cannot be read."""


class NotAFile(OSError):
    """There is something else under that name: a link, a FIFO, a device."""


class Folder:
    """
    A directory that is held open until :meth:`close`, or nobody has it any more;
    whatever its path may come to mean, this is the one that was opened.
    """

    def __init__(self, path: Path) -> None:
        """:raises OSError: if it cannot be opened"""
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._end = weakref.finalize(self, os.close, self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of it."""
        self._descriptor = -1
        self._end()

    @property
    def owner(self) -> int:
        """Whose it is: a uid."""
        return os.fstat(self._descriptor).st_uid

    def lock(self, wait: bool) -> bool:
        """
        Have it be locked for as long as it is open; return whether it is, which it is
        not where another has it locked, or the file system knows no locks.
        """
        try:
            fcntl.flock(
                self._descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB)
            )
        except OSError:
            return False
        return True

    def is_at(self, path: Path) -> bool:
        """Whether a path leads to it."""
        try:
            return os.path.samestat(os.fstat(self._descriptor), os.stat(path))
        except FileNotFoundError:
            return False

    def names(self) -> list[str]:
        """What is in it."""
        return os.listdir(self._descriptor)

    def open(self, name: str, flags: int = os.O_RDONLY) -> int:
        """
        Open a file in it; one that is made is for its owner alone.

        :return: a descriptor
        :raises NotAFile: if there is no regular file of that name, but something else
        :raises OSError: if it cannot be opened
        """
        try:
            descriptor = os.open(name, flags | _SAFELY, 0o600, dir_fd=self._descriptor)
        except OSError as error:
            # A link; a FIFO that nobody reads; a socket.
            if error.errno in (errno.ELOOP, errno.ENXIO):
                raise NotAFile(errno.EINVAL, "is not a regular file", name) from None
            raise
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise NotAFile(errno.EINVAL, "is not a regular file", name)
        return descriptor

    @contextlib.contextmanager
    def opened(self, name: str, flags: int = os.O_RDONLY) -> Iterator[int]:
        """:meth:`open`, for as long as a block lasts."""
        descriptor = self.open(name, flags)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def read(self, name: str, most: int) -> bytes:
        """
        Read a whole file.

        :raises OSError: if it cannot be read, or has more than ``most`` bytes
        """
        with self.opened(name) as descriptor:
            size = os.fstat(descriptor).st_size
            if size > most:
                raise OSError(
                    errno.EFBIG,
                    f"has {size} bytes, which is more than it can need",
                    name,
                )
            found = bytearray()
            while piece := os.read(descriptor, most + 1 - len(found)):
                found += piece
            return bytes(found)

    def rename(self, name: str, to: str) -> None:
        """Put a file in the place of another."""
        os.rename(name, to, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)

    def remove(self, name: str) -> bool:
        """Remove a file; return whether it was there."""
        try:
            os.unlink(name, dir_fd=self._descriptor)
        except FileNotFoundError:
            return False
        return True

    def size(self, name: str) -> int | None:
        """How many bytes a file has; None if it is not there."""
        try:
            return os.stat(name, dir_fd=self._descriptor, follow_symlinks=False).st_size
        except FileNotFoundError:
            return None

    def sync(self) -> None:
        """Have the names in it on the disk."""
        os.fsync(self._descriptor)

# SPDX-License-Identifier: GPL-2.0-or-later
"""
Writing a capture: at any moment what is there can be read, and what it says of itself
is no more than what is there.

Events are appended to a segment until it is full, and then to the next; full ones may
be sealed meanwhile. ``meta.json`` is replaced as a whole, and counts nothing that is
not in a segment by then. On a full disk it is written over in place, in room that was
taken when the capture began. After a power cut the newest files may be empty: so now
and then the events are brought to the disk, and behind them a copy of ``meta.json``
that counts no more than these.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pagedbg.capture.files import (
    EVENTS,
    META,
    META_SYNCED,
    STACKS,
    CaptureError,
    Folder,
)
from pagedbg.capture.held_file import is_held_file, put_head, remove_held
from pagedbg.capture.held_reader import HeldFiles
from pagedbg.capture.segments import (
    FULL,
    is_segment,
    raw_name,
    sealed_name,
    segments_in,
)
from pagedbg.capture.summary import Summary
from pagedbg.schema.capture_meta import Meta, encode
from pagedbg.schema.event_record import RECORD

_NEW = META + ".new"

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL

# What meta.json may grow by before it needs room that a full disk has not.
_RESERVED = 16 << 10

# CPUs whose records are counted by their own.
_CPUS = 1 << 16


class CaptureWriter:
    """
    Writes a capture, but for the stacks: :attr:`stacks` is the descriptor that the
    resolver appends them to. ``written`` counts the records of each CPU that are in the
    file, ``fault`` says why something could not be written, None while all could.
    """

    def __init__(self, path: Path, full: int | None = None) -> None:
        """
        :param path: the directory, made if it is not there; must be empty, and ours
        :param full: records in a segment when the next one begins, unless as many as
            usual
        :raises CaptureError: if there is something in it, or nothing can be written
        """
        self.path = path
        self._full_at = FULL if full is None else full
        self.written = np.zeros(_CPUS, np.int64)
        self.fault: str | None = None
        # The segment that is written, the bytes of those before, and which of them are
        # full since somebody asked.
        self._number = self._before = 0
        self._full: list[int] = []
        # Those that are not on the disk yet.
        self._unsynced: list[int] = []
        self._syncing: threading.Thread | None = None
        self._made = not path.exists()
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._folder = Folder(path)
        except OSError as error:
            raise CaptureError(f"{path}: {error.strerror}.") from None
        try:
            if self._folder.owner != os.geteuid():
                raise CaptureError(
                    f"{path} belongs to somebody else: a capture needs a directory of"
                    " its own."
                )
            if self._folder.names():
                raise CaptureError(
                    f"{path} is not empty: a capture needs a directory of its own."
                )
            self._events = self._folder.open(EVENTS, _NEW_FILE)
            self.stacks = self._folder.open(STACKS, _NEW_FILE | os.O_APPEND)
        except OSError as error:
            self._folder.close()
            raise CaptureError(f"{path}: {error.strerror}.") from None
        except CaptureError:
            self._folder.close()
            raise

    def begin(self, meta: Meta) -> None:
        """
        Write what the capture says of itself for the first time: from now on it is one.

        :param meta: changed by the caller as things go on, and written by
            :meth:`write_meta`
        :raises CaptureError: if it cannot be written
        """
        self.meta = meta
        try:
            self._replace(META, sync=True)
            self._folder.sync()
        except OSError as error:
            raise CaptureError(f"{self.path}: {error.strerror}.") from None

    @property
    def size(self) -> int:
        """How many bytes the events take."""
        return self._before + os.lseek(self._events, 0, os.SEEK_CUR)

    @property
    def number(self) -> int:
        """The segment that is written."""
        return self._number

    def take_full(self) -> list[int]:
        """The numbers of the segments that are full since this was last called."""
        full, self._full = self._full, []
        return full

    def append(self, records: NDArray[Any]) -> int:
        """
        Write records.

        :return: how many of them, from the first, have found room; if not all have,
            :attr:`fault` says why
        """
        start = os.lseek(self._events, 0, os.SEEK_CUR)
        data = memoryview(np.ascontiguousarray(records).view(np.uint8).data)
        done = 0
        try:
            while done < len(data):
                done += os.write(self._events, data[done:])
        except OSError as error:
            self.fault = error.strerror
            # Part of a record would be in the way of the next one.
            done -= done % RECORD.itemsize
            with contextlib.suppress(OSError):
                os.ftruncate(self._events, start + done)
            os.lseek(self._events, start + done, os.SEEK_SET)
        whole = done // RECORD.itemsize
        counts = np.bincount(records["cpu"][:whole])
        self.written[: len(counts)] += counts
        if start + done >= self._full_at * RECORD.itemsize:
            # If it cannot be begun, there is room in the one that is there.
            with contextlib.suppress(OSError):
                self._begin_segment()
        return whole

    def take_sealed(self, descriptor: int, summary: Summary) -> None:
        """
        Take over a segment that is sealed.

        :raises OSError: if there is no room for it
        """
        if os.lseek(self._events, 0, os.SEEK_CUR):
            self._begin_segment()
        with self._folder.opened(sealed_name(self._number), _NEW_FILE) as sealed:
            with (
                open(os.dup(descriptor), "rb") as old,
                open(os.dup(sealed), "wb") as new,
            ):
                shutil.copyfileobj(old, new)
            os.fsync(sealed)
        empty = self._number
        self._begin_segment()
        self._full.remove(empty)
        self._folder.remove(raw_name(empty))
        for span in summary.cpus:
            self.written[span.cpu] += span.count

    def take_held(self, held: HeldFiles) -> None:
        """
        Take over what is kept of what is held, before anything is written.

        :raises OSError: if there is no room for it
        """
        for name in held.head.files:
            with self._folder.opened(name, _NEW_FILE) as new:
                for data in held.data(name):
                    if os.write(new, data) < len(data):
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(new)
        put_head(self._folder, msgspec.structs.replace(held.head, segments=0))
        for span in held.head.summary.cpus:
            self.written[span.cpu] += span.count

    def _begin_segment(self) -> None:
        events = self._folder.open(raw_name(self._number + 1), _NEW_FILE)
        self._unsynced.append(self._events)
        self._full.append(self._number)
        self._events, self._number = events, self._number + 1
        self._before = sum(
            self._folder.size(name) or 0
            for name in self._folder.names()
            if is_segment(name) or is_held_file(name)
        )

    def write_meta(self) -> None:
        """
        Put :attr:`meta` in the place of what was there; what is in the way of that is
        in :attr:`fault`.
        """
        try:
            self._replace(META, sync=False)
        except OSError as error:
            self._folder.remove(_NEW)
            try:
                self._overwrite()
            except OSError:
                self.fault = error.strerror

    def sync(self) -> None:
        """
        Begin to bring what is there to the disk, unless that is still going on from the
        last time.
        """
        if self._syncing is not None and self._syncing.is_alive():
            return
        data = encode(self.meta)
        full, self._unsynced = self._unsynced, []
        self._syncing = threading.Thread(
            target=self._sync, args=(data, full, self._events), daemon=True
        )
        self._syncing.start()

    def _sync(self, data: bytes, full: list[int], events: int) -> None:
        try:
            for descriptor in (*full, events, self.stacks):
                os.fdatasync(descriptor)
        except OSError as error:
            self.fault = error.strerror
            return
        finally:
            for descriptor in full:
                os.close(descriptor)
        # Without room for it the one before is good enough.
        with contextlib.suppress(OSError):
            self._replace(META_SYNCED, sync=True, data=data)
            self._folder.sync()

    def _replace(self, name: str, *, sync: bool, data: bytes | None = None) -> None:
        # A thread of its own writes the synced one.
        new = f"{name}.new"
        padded = (
            (encode(self.meta) if data is None else data) + b" " * _RESERVED + b"\n"
        )
        with open(
            self._folder.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb"
        ) as file:
            file.write(padded)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        self._folder.rename(new, name)

    def _overwrite(self) -> None:
        """The last resort: not at one blow, but without room."""
        data = encode(self.meta)
        with open(self._folder.open(META, os.O_WRONLY), "wb") as file:
            size = os.fstat(file.fileno()).st_size
            if len(data) >= size:
                raise OSError(f"{META} has no room left")
            file.write(data.ljust(size - 1) + b"\n")

    def forget(self) -> int:
        """
        Count the events in the file no more, and return how many they were.
        :attr:`meta` is written then, and :meth:`clear` follows.
        """
        count = int(self.written.sum())
        self.written[:] = 0
        return count

    def clear(self) -> None:
        """
        Drop the events that are forgotten: last, so that whoever looks meanwhile finds
        too many of them rather than too few.
        """
        if self._syncing is not None:
            self._syncing.join()
        os.ftruncate(self._events, 0)
        os.lseek(self._events, 0, os.SEEK_SET)
        # Raw before sealed: what seals one meanwhile sees that it is gone.
        for number in segments_in(self._folder):
            if number != self._number:
                self._folder.remove(raw_name(number))
                self._folder.remove(sealed_name(number))
        remove_held(self._folder)
        self._before = 0
        self._full.clear()

    def close(self) -> None:
        """Write what is left, and have all of it on the disk."""
        if self._syncing is not None:
            self._syncing.join()
        try:
            for descriptor in (*self._unsynced, self._events, self.stacks):
                os.fdatasync(descriptor)
        except OSError as error:
            self.fault = error.strerror
        self.write_meta()
        with contextlib.suppress(OSError):
            with self._folder.opened(META) as descriptor:
                os.fsync(descriptor)
            self._folder.remove(META_SYNCED)
            self._folder.sync()
        self._let_go()

    def abandon(self) -> None:
        """Remove what was made: nothing was recorded."""
        for name in (EVENTS, STACKS, META, _NEW):
            self._folder.remove(name)
        self._let_go()
        if self._made:
            with contextlib.suppress(OSError):
                self.path.rmdir()

    def _let_go(self) -> None:
        for descriptor in (*self._unsynced, self._events, self.stacks):
            os.close(descriptor)
        self._folder.close()

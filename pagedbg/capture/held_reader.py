# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading what a recorder keeps that keeps only what is still held."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO

from numpy.typing import NDArray

from pagedbg.capture.database import open_database
from pagedbg.capture.files import CaptureError, Folder
from pagedbg.capture.freed_sums import FreedSums, read_freed
from pagedbg.capture.held_file import (
    HEAD,
    HeldHead,
    Kept,
    joined_kept,
    read_head,
    read_piece,
)
from pagedbg.capture.memory_room import lacking_room
from pagedbg.capture.sealed import SealedReader, SealError
from pagedbg.capture.summary import Summary
from pagedbg.schema.event_record import RECORD

# The recorder puts others in the place of files that somebody is about to open, but not
# so often.
_TRIES = 100


class HeldFiles:
    """
    The files that ``head`` stands for, held open: the recorder puts others in their
    place. ``raw`` has the segments that are not folded yet, by number.
    """

    def __init__(
        self, head: HeldHead, files: Mapping[str, BinaryIO], raw: list[int]
    ) -> None:
        self.head, self._files, self.raw = head, files, raw
        self._reader = SealedReader()

    def descriptor(self, name: str) -> int | None:
        """A file that is open; None if it is none of these."""
        file = self._files.get(name)
        return None if file is None else file.fileno()

    def data(self, name: str) -> Iterator[bytes]:
        """The bytes of a file, some at a time."""
        descriptor, at = self._files[name].fileno(), 0
        while data := os.pread(descriptor, 1 << 20, at):
            at += len(data)
            yield data

    @property
    def size(self) -> int:
        """How many bytes the files have that the head stands for."""
        return sum(
            os.fstat(file.fileno()).st_size
            for name, file in self._files.items()
            if name in self.head.files
        )

    def summaries(self) -> list[Summary]:
        """
        What the events that are kept sum up to, by file.

        :raises SealError: if one is damaged
        """
        return [self._reader.summary(each) for each in self._pieces]

    def piece(self, index: int) -> int:
        """The file of some of the events, which is open."""
        return self._files[self.head.piece(index)].fileno()

    @property
    def _pieces(self) -> list[int]:
        return [self.piece(index) for index in range(self.head.pieces)]

    def kept(self) -> Kept:
        """
        The events that are kept.

        :raises SealError: if a file is damaged
        :raises CaptureError: if there is no memory for them
        """
        count = sum(summary.records for summary in self.summaries())
        if lacking := lacking_room(count * RECORD.itemsize):
            raise CaptureError(f"the events that are kept {lacking}")
        return joined_kept([read_piece(self._reader, each) for each in self._pieces])

    def freed(self) -> dict[str, NDArray[Any]]:
        """
        The sums of what was freed, as columns.

        :raises SealError: if the file is damaged
        """
        return read_freed(open_database(), self._files[self.head.freed].fileno())

    def freed_sums(self) -> FreedSums:
        """
        The sums of what was freed, to go on with.

        :raises SealError: if the file is damaged
        """
        sums = FreedSums()
        sums.read(self._files[self.head.freed].fileno())
        return sums


def open_held(folder: Folder, raw: Callable[[], Mapping[int, str]]) -> HeldFiles | None:
    """
    Open what there is at one moment; None if nothing was folded yet.

    :param raw: finds the raw segments, by number the name of each
    :raises SealError: if what there is is damaged
    :raises OSError: if it cannot be read
    """
    for _ in range(_TRIES):
        head = read_head(folder)
        if head is None:
            return None
        found = {
            number: name for number, name in raw().items() if number >= head.segments
        }
        with contextlib.suppress(FileNotFoundError):
            files = {
                name: os.fdopen(folder.open(name), "rb")
                for name in (*head.files, *found.values())
            }
            if read_head(folder) == head:
                return HeldFiles(head, files, sorted(found))
    raise SealError(f"{HEAD} names files that are not there")

# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading rings that somebody goes on writing into: what was read is whole, and what was not is counted."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pagedbg.capture.layout import RECORD

# As much as fits into a CPU's cache: a piece is copied, looked at and written out.
_PIECE = 4096


@dataclasses.dataclass
class Ring:
    """
    The ring of one CPU.

    ``slots`` is an array of :data:`~pagedbg.capture.layout.RECORD`, a power of two of them; ``head`` an array of one element with the number
    of the newest record. Both may be in memory that is being written. ``next`` is the number of the first record that is not read yet.
    ``read`` and ``lost`` count the records that were read, and those that were overwritten before (or while) they could be: together they
    are all up to ``next``.
    """

    slots: NDArray[Any]
    head: NDArray[np.uint64]
    next: int = 1
    read: int = 0
    lost: int = 0
    _unfinished: int = 0

    @property
    def waiting(self) -> int:
        """How many records are there to be read, or already lost."""
        return int(self.head[0]) + 1 - self.next

    def drain(self) -> Iterator[NDArray[Any]]:
        """
        Iterate over copies of the records up to the one that is the newest now, in order and in pieces.

        A record that its writer has not finished is left for the next time, with those behind it. If it is not whole then, it never will be:
        its writer was held up for so long that two wrote into one slot, or longer than anybody wants to wait.
        """
        size = len(self.slots)
        end = int(self.head[0]) + 1
        while self.next < end:
            # One that is being written may be the one after head: the oldest slot is not safe.
            oldest = int(self.head[0]) + 1 - size
            if self.next < oldest:
                self.lost += oldest - self.next
                self.next = oldest
                continue
            first = (self.next - 1) % size
            count = min(end - self.next, size - first, _PIECE)
            # As bytes: NumPy copies an array of structures member by member.
            piece = self.slots[first : first + count].view(np.uint8).copy().view(RECORD)
            numbers = np.arange(self.next, self.next + count, dtype=np.uint64)
            whole = (piece["seq"] == numbers) & (piece["check"] == ~numbers)
            # Whoever wrote meanwhile has moved head before it touched a slot.
            oldest = int(self.head[0]) + 1 - size
            over = min(max(oldest - self.next, 0), count)
            stop = count if whole[over:].all() else over + int(np.argmin(whole[over:]))
            piece = piece[over:stop]
            self.lost += over
            self.read += len(piece)
            self.next += stop
            if len(piece):
                yield piece
            if stop == count:
                continue
            if self._unfinished != self.next:
                self._unfinished = self.next
                break
            self.next += 1
            self.lost += 1


def whole_records(data: NDArray[np.uint8]) -> tuple[NDArray[Any], int]:
    """
    View the bytes of a file of records, in which a part of the last may be missing.

    :return: the records that are whole, and how many are not
    """
    count, rest = divmod(len(data), RECORD.itemsize)
    records = data[: count * RECORD.itemsize].view(RECORD)
    whole = (records["check"] == ~records["seq"]) & (records["seq"] != 0)
    torn = int(count - np.count_nonzero(whole)) + (rest > 0)
    return (records if whole.all() else records[whole]), torn

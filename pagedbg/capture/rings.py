# SPDX-License-Identifier: GPL-2.0-or-later
"""
Reading rings that somebody goes on writing into: what was read is whole, and what was
not is counted.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pagedbg.schema.event_record import MOST_RECORDS, RECORD, check_of, plausible

# As much as fits into a CPU's cache: a piece is copied, looked at and written out.
_PIECE = 4096

# A record may be interrupted by another, that by an interrupt, and that by an NMI.
_MOST_UNFINISHED = 4


@dataclasses.dataclass
class Ring:
    """
    The ring of one CPU.

    ``slots`` is an array of :data:`~pagedbg.schema.event_record.RECORD`, a power of two
    of them; ``head`` an array of one element with the number of the newest record. Both
    may be in memory that is being written. ``next`` is the number of the first record
    that is not read yet. ``read`` and ``lost`` count the records that were read, and
    those that were overwritten before (or while) they could be: together they are all
    up to ``next``.
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
        Iterate over copies of the records up to the one that is the newest now, in
        order and in pieces.

        A record that its writer has not finished is left for the next time, with those
        behind it. If it is not whole then, it never will be: its writer was held up for
        so long that two wrote into one slot, or longer than anybody wants to wait.
        """
        size = len(self.slots)
        end = int(self.head[0]) + 1
        while self.next < end:
            # One that is being written may be the one after head: the oldest slot is
            # not safe.
            oldest = int(self.head[0]) + 1 - size
            if self.next < oldest:
                self.lost += oldest - self.next
                self.next = oldest
                continue
            first = (self.next - 1) % size
            count = min(end - self.next, size - first, _PIECE)
            # As bytes: NumPy copies an array of structures member by member.
            piece = self.slots[first : first + count].view(np.uint8).copy().view(RECORD)
            # Two may have written into one slot: to have a `check` is not enough.
            numbers = np.arange(self.next, self.next + count, dtype=np.uint64)
            whole = (piece["seq"] == numbers) & (piece["check"] == check_of(piece))
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


@dataclasses.dataclass
class Settled:
    """
    What is in a ring that nobody writes any more: ``records`` in the order of their
    numbers, of which ``newest`` is the last.

    ``overwritten`` counts those before the oldest slot's, ``left_out`` those in memory
    that could not be read, ``damaged`` those that are not whole: their writer was
    stopped, or somebody else wrote there. ``head_damaged`` says that the number of the
    newest had to be told from the records, so that there may have been more.
    """

    records: NDArray[Any]
    newest: int
    overwritten: int
    left_out: int
    damaged: int
    head_damaged: bool


def settled_records(
    slots: NDArray[Any],
    known: NDArray[np.bool_],
    head: int | None,
    cpu: int,
    check: NDArray[np.uint64],
) -> Settled:
    """
    Take apart the ring of a CPU that has stopped.

    :param slots: an array of :data:`~pagedbg.schema.event_record.RECORD`, a power of
        two of them
    :param known: which of them could be read
    :param head: the number of the newest record, None if it could not be read
    :param check: what ``check`` of each has to be
    """
    size = len(slots)
    index = np.arange(size, dtype=np.uint64)
    seq = slots["seq"]
    # By themselves: a record tells in which slot it belongs.
    sound = known & (slots["check"] == check) & plausible(slots) & (slots["cpu"] == cpu)
    sound &= (seq - np.uint64(1)) & np.uint64(size - 1) == index
    latest = int(seq[sound].max(initial=0))
    head_damaged = (
        head is None
        or not latest <= head < MOST_RECORDS
        or _contradicted(slots, known, sound, head)
    )
    newest = latest if head is None or head_damaged else head
    numbers = _numbers(index, newest)
    whole = sound & (seq == numbers.astype(np.uint64))
    used = numbers > 0
    chosen = np.flatnonzero(whole)
    return Settled(
        records=slots[chosen[np.argsort(numbers[chosen])]],
        newest=newest,
        overwritten=max(newest - size, 0),
        left_out=int(np.count_nonzero(used & ~known)),
        damaged=int(np.count_nonzero(used & known & ~whole)),
        head_damaged=head_damaged,
    )


def _contradicted(
    slots: NDArray[Any], known: NDArray[np.bool_], sound: NDArray[np.bool_], head: int
) -> bool:
    """
    Whether more records than can be unfinished at once are not yet where a number of
    the newest would have them.
    """
    numbers = _numbers(np.arange(len(slots), dtype=np.uint64), head)
    older = (sound & (slots["seq"].astype(np.int64) < numbers)) | (
        known & (slots["seq"] == 0) & (slots["check"] == 0) & (numbers > 0)
    )
    return int(np.count_nonzero(older)) > _MOST_UNFINISHED


def _numbers(index: NDArray[np.uint64], newest: int) -> NDArray[np.int64]:
    """
    The number of the record in each slot: 0 and less for those that were never used.
    """
    numbers: NDArray[np.int64] = newest - (
        (newest - 1 - index.astype(np.int64)) % len(index)
    )
    return numbers

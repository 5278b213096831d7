# SPDX-License-Identifier: GPL-2.0-or-later
"""
Reading raw segments of events: what is sound of them, and by CPU how much of what
should be there is.
"""

from __future__ import annotations

import dataclasses
import errno
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pagedbg.capture.summary import Summary
from pagedbg.schema.event_record import RECORD, VERSION, plausible, taken
from pagedbg.schema.former_rings import expected_check

# Records that are looked at together: as many as a CPU's cache holds.
_PIECE = 1 << 12

# Records that are handed on together: more than a recorder's segment has, so that
# those of one need not be put together.
_TOGETHER = 1 << 19

# `cpu` has 16 bits.
_CPUS = 1 << 16


@dataclasses.dataclass
class Contents:
    """
    What was found in a file of events, by CPU where it is an array.

    ``next`` is the number of the first record that the capture does not account for.
    ``older`` counts the sound records before that and ``newer`` those from there on;
    ``last`` is the greatest number. ``damaged`` counts what is no sound record,
    ``repeated`` what was there before, or should have been: records of a CPU come in
    the order of their numbers. ``bytes`` is how much was read,
    ``version`` which version of ``bpf/ring.h`` the records are of.
    """

    next: NDArray[np.uint64] = dataclasses.field(
        default_factory=lambda: np.full(_CPUS, 1 << 63, np.uint64)
    )
    older: NDArray[np.int64] = dataclasses.field(
        default_factory=lambda: np.zeros(_CPUS, np.int64)
    )
    newer: NDArray[np.int64] = dataclasses.field(
        default_factory=lambda: np.zeros(_CPUS, np.int64)
    )
    last: NDArray[np.uint64] = dataclasses.field(
        default_factory=lambda: np.zeros(_CPUS, np.uint64)
    )
    damaged: int = 0
    repeated: int = 0
    bytes: int = 0
    version: int = VERSION

    @classmethod
    def of(cls, next_: Sequence[int], version: int) -> Contents:
        """
        For a capture that accounts for the records before these numbers, by CPU; of all
        CPUs for all, if it does not say.
        """
        contents = cls(version=version)
        if next_:
            contents.next[:] = 0
            contents.next[: len(next_)] = next_
        return contents

    @property
    def records(self) -> int:
        """How many sound records there are."""
        return int(self.older.sum() + self.newer.sum())

    def add(self, records: NDArray[Any]) -> NDArray[Any]:
        """Count sound records, and return those that are not there a second time."""
        by_cpu = np.argsort(records["cpu"], kind="stable")
        cpu, seq = records["cpu"][by_cpu], records["seq"][by_cpu]
        cpus, start = np.unique(cpu, return_index=True)
        # Nearly always: a look at each CPU would take longer than at all records.
        ascend = seq[1:] > seq[:-1]
        ascend[start[1:] - 1] = True
        if ascend.all() and np.all(seq[start] > self.last[cpus]):
            newer = np.add.reduceat(seq >= self.next[cpu], start, dtype=np.int64)
            self.newer[cpus] += newer
            self.older[cpus] += np.diff(start, append=len(seq)) - newer
            self.last[cpus] = np.maximum.reduceat(seq, start)
            return records
        return self._add_mixed(records, by_cpu, cpus, start)

    def _add_mixed(
        self,
        records: NDArray[Any],
        by_cpu: NDArray[np.intp],
        cpus: NDArray[Any],
        start: NDArray[np.intp],
    ) -> NDArray[Any]:
        """Count records of which some may be there a second time."""
        fresh = np.ones(len(records), np.bool_)
        for cpu, first, end in zip(
            cpus.tolist(),
            start.tolist(),
            [*start[1:].tolist(), len(records)],
            strict=True,
        ):
            which = by_cpu[first:end]
            seq = records["seq"][which]
            before = np.maximum.accumulate(
                np.concatenate((self.last[cpu : cpu + 1], seq[:-1]))
            )
            new = seq > before
            fresh[which] = new
            newer = int(np.count_nonzero(new & (seq >= self.next[cpu])))
            self.newer[cpu] += newer
            self.older[cpu] += int(np.count_nonzero(new)) - newer
            self.last[cpu] = max(int(before[-1]), int(seq[-1]))
        self.repeated += len(records) - int(np.count_nonzero(fresh))
        return records if fresh.all() else records[fresh]

    def follows(self, summary: Summary) -> bool:
        """Whether the records of a piece come behind all that was counted."""
        return all(span.first > self.last[span.cpu] for span in summary.cpus)

    def add_summary(
        self, summary: Summary, records: Callable[[], NDArray[Any]] | None
    ) -> None:
        """
        Count the records of a piece that :meth:`follows`.

        :param records: reads them, where it has to be told which are newer; None where
            that cannot be: then nothing was lost among these
        """
        if records is not None and any(
            self.last[span.cpu] < span.first < self.next[span.cpu] <= span.last
            for span in summary.cpus
        ):
            self.add(records())
        else:
            for span in summary.cpus:
                newer = span.last + 1 - max(int(self.next[span.cpu]), span.first)
                newer = min(max(newer, 0), span.count)
                self.newer[span.cpu] += newer
                self.older[span.cpu] += span.count - newer
                self.last[span.cpu] = span.last
        self.damaged += summary.damaged
        self.repeated += summary.repeated


def read_events(
    descriptor: int,
    at: int,
    contents: Contents,
    *,
    whole: bool,
    end: int | None = None,
) -> Iterator[NDArray[Any]]:
    """
    Iterate over the sound records of a file, in the order in which they were written.

    :param at: the place to begin at
    :param contents: counts what is found
    :param whole: whether nothing is written any more: a part of a record at the end is
        damaged then, and not one that comes
    :param end: the place to end at, if not that of the file
    """
    begin = at
    if end is None:
        end = os.fstat(descriptor).st_size
    while at < end:
        room = np.empty(min((end - at) // RECORD.itemsize, _TOGETHER), RECORD)
        before = at
        filled, at = _fill(room, descriptor, at, end, contents)
        if filled:
            yield room[:filled]
        if at == before:
            break
    if whole and at < end:
        contents.damaged += 1
        at = end
    contents.bytes = at - begin


def _fill(
    room: NDArray[Any], descriptor: int, at: int, end: int, contents: Contents
) -> tuple[int, int]:
    """Read sound records: how many there are in ``room``, and the place behind them."""
    filled = 0
    while filled < len(room):
        # A hole may be of any size, and has nothing in it.
        skipped = (_data_after(descriptor, at, end) - at) // RECORD.itemsize
        contents.damaged += skipped
        at += skipped * RECORD.itemsize
        records = room[filled : filled + _PIECE][: (end - at) // RECORD.itemsize]
        size = os.preadv(descriptor, [records.view(np.uint8).data], at)
        count = size // RECORD.itemsize
        if not count:
            break
        at += count * RECORD.itemsize
        records = records[:count]
        sound = plausible(records)
        sound &= records["check"] == expected_check(records, contents.version)
        good = int(np.count_nonzero(sound))
        contents.damaged += count - good
        if good:
            kept = contents.add(records if good == count else taken(records, sound))
            if len(kept) < count:
                records[: len(kept)] = kept
            filled += len(kept)
    return filled, at


def _data_after(descriptor: int, at: int, end: int) -> int:
    """Where the next piece of a file is that is no hole."""
    try:
        return min(os.lseek(descriptor, at, os.SEEK_DATA), end)
    except OSError as error:
        # There is none; or the file system knows no holes.
        return end if error.errno == errno.ENXIO else at

# SPDX-License-Identifier: GPL-2.0-or-later
"""
Reading ``events.bin``: what is sound of it, and by CPU how much of what should be there
is.
"""

from __future__ import annotations

import dataclasses
import errno
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pagedbg.schema.event_record import RECORD, check_of, plausible

# Records that are looked at together.
_PIECE = 1 << 16

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
    the order of their numbers. ``bytes`` is how much was read.
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

    @classmethod
    def of(cls, next_: Sequence[int]) -> Contents:
        """
        For a capture that accounts for the records before these numbers, by CPU; of all
        CPUs for all, if it does not say.
        """
        contents = cls()
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
        fresh = np.ones(len(records), np.bool_)
        by_cpu = np.argsort(records["cpu"], kind="stable")
        cpus, start = np.unique(records["cpu"][by_cpu], return_index=True)
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


def read_events(
    descriptor: int, at: int, contents: Contents, *, whole: bool
) -> Iterator[NDArray[Any]]:
    """
    Iterate over the sound records of a file, in the order in which they were written.

    :param at: the place to begin at
    :param contents: counts what is found
    :param whole: whether nothing is written any more: a part of a record at the end is
        damaged then, and not one that comes
    """
    begin = at
    end = os.fstat(descriptor).st_size
    while at < end:
        # A hole may be of any size, and has nothing in it.
        skipped = (_data_after(descriptor, at, end) - at) // RECORD.itemsize
        contents.damaged += skipped
        at += skipped * RECORD.itemsize
        data = os.pread(descriptor, min(_PIECE * RECORD.itemsize, end - at), at)
        count = len(data) // RECORD.itemsize
        if not count:
            break
        records = np.frombuffer(data, RECORD, count)
        sound = plausible(records)
        sound &= records["check"] == check_of(records)
        good = int(np.count_nonzero(sound))
        contents.damaged += count - good
        at += count * RECORD.itemsize
        if good:
            yield contents.add(records if good == count else records[sound])
    if whole and at < end:
        contents.damaged += 1
        at = end
    contents.bytes = at - begin


def _data_after(descriptor: int, at: int, end: int) -> int:
    """Where the next piece of a file is that is no hole."""
    try:
        return os.lseek(descriptor, at, os.SEEK_DATA)
    except OSError as error:
        # There is none; or the file system knows no holes.
        return end if error.errno == errno.ENXIO else at

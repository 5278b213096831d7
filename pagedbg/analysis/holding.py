# SPDX-License-Identifier: GPL-2.0-or-later
"""
Folding full segments of a capture into what is still held: at any moment, whoever ends
this or the machine, the capture reads the same.

What is held is in memory, and on the disk as it was some segments ago, with these
segments raw beside it. They go when what is held has been written again, which is when
there are as many events in them as were kept: so the capture is not much larger than
what is held, and what is written does not grow faster than what is recorded.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from pagedbg.analysis.held_allocations import HeldAllocations
from pagedbg.capture.directory import Capture
from pagedbg.capture.events import Contents, read_events
from pagedbg.capture.files import Folder
from pagedbg.capture.held_file import (
    HeldHead,
    remove_held,
    remove_others,
    write_kept,
)
from pagedbg.capture.held_reader import open_held
from pagedbg.capture.sealed import SealedWriter
from pagedbg.capture.segments import raw_name, segments_in
from pagedbg.capture.summary import Summary, summary_of
from pagedbg.schema.event_record import joined


@dataclasses.dataclass
class _Segment:
    """A segment that was read: its sound records, and what they sum up to."""

    records: NDArray[Any]
    summary: Summary


class Holding:
    """Folds segments of one capture."""

    def __init__(self, directory: Path) -> None:
        """
        :raises OSError: if it cannot be read
        :raises SealError: if what was kept before is damaged
        """
        self._folder = Folder(directory)
        self._writer = SealedWriter()
        there = open_held(self._folder, dict)
        meta = Capture(directory).meta
        if there is None:
            first = min(segments_in(self._folder), default=0)
            self._held = HeldAllocations(meta, HeldHead(0, first, 0, Summary()))
        else:
            self._held = HeldAllocations(
                meta, there.head, there.kept(), there.freed_sums()
            )
        remove_others(self._folder, there.head if there else None)
        # The first segment that is not on the disk as what is held.
        self._raw = self._held.segments
        # Whoever wrote what is held may have been ended before they were gone.
        for number in segments_in(self._folder):
            if number < self._raw:
                self._folder.remove(raw_name(number))
        self._contents = Contents()
        for span in self._held.summary.cpus:
            self._contents.last[span.cpu] = span.last
        self._waiting: deque[_Segment] = deque()
        self._events = self._kept = 0

    def fold(self, upto: int, known: int) -> None:
        """
        Fold the segments before ``upto``.

        :param known: those before this are full, and what has to do with the former is
            in none of the others
        :raises OSError: if one cannot be read, or what is held not be written
        :raises SealError: likewise
        """
        waiting = self._waiting
        for number in range(self._held.segments + len(waiting), known):
            waiting.append(self._read(number))
        while self._held.segments < upto:
            segment = waiting.popleft()
            behind = [each.records for each in waiting]
            self._held.fold(segment.records, segment.summary, behind)
            self._events += segment.summary.records
            if self._events > self._kept:
                self._write()

    def _read(self, number: int) -> _Segment:
        contents = self._contents
        damaged, repeated = contents.damaged, contents.repeated
        with self._folder.opened(raw_name(number)) as raw:
            records = joined(list(read_events(raw, 0, contents, whole=True)))
        return _Segment(
            records,
            summary_of(
                records, contents.damaged - damaged, contents.repeated - repeated
            ),
        )

    def _write(self) -> None:
        head, kept = self._held.kept()
        write_kept(self._folder, head, kept, self._held.freed, self._writer)
        folded = range(self._raw, self._held.segments)
        there = [self._folder.remove(raw_name(number)) for number in folded]
        if not all(there):
            # The recorder was told to forget what was in them.
            remove_held(self._folder)
        self._raw = self._held.segments
        self._events, self._kept = 0, len(kept.records)

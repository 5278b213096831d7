# SPDX-License-Identifier: GPL-2.0-or-later
"""
The allocations of a recording that are still held, as its segments become full: what is
over is summed up, and its events are forgotten.

It is :mod:`pagedbg.analysis.correlation_pieces` while the recording goes on. What that
looks up in the whole capture is looked up here in the segments behind: by how the rings
are drained, nothing that has to do with a segment comes later than in these.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pagedbg.analysis.correlation_open import KINDS, Events, followed_by, resumed
from pagedbg.analysis.evidence import Evidence
from pagedbg.analysis.held_over import find_over
from pagedbg.capture.event_clock import EventClock, both_clocks
from pagedbg.capture.event_members import Members
from pagedbg.capture.event_order import EventOrder
from pagedbg.capture.freed_sums import FreedSums
from pagedbg.capture.held_file import (
    OPEN,
    RELATED,
    SAMPLES,
    SPECIAL,
    WAITING,
    HeldHead,
    Kept,
    add_spans,
    joined_kept,
    latest_of,
)
from pagedbg.capture.segments import in_sequence
from pagedbg.capture.summary import NEVER, Summary, about_a_page
from pagedbg.schema.capture_meta import Meta
from pagedbg.schema.event_record import SET, SPLIT, taken

# When there are so many times as many events of no simple cases, it is looked again
# which of them are over.
_LOOK_AGAIN = 1.25


class HeldAllocations:
    """
    What is held of a number of segments, and sums of what was freed (``freed``).
    """

    def __init__(
        self,
        meta: Meta,
        head: HeldHead,
        kept: Kept | None = None,
        freed: FreedSums | None = None,
    ) -> None:
        """
        :param meta: what the capture says of itself
        :param head: of which segments there is something already, or which was the
            first; with ``kept`` and ``freed`` what there is
        """
        self.freed = freed or FreedSums()
        self._meta = meta
        self._head = head
        self._order = EventOrder(None, latest_of(self._head))
        self._samples = self._head.clocks
        self._open, self._related = resumed(kept or Kept())
        self._looked_at = 0
        self._evidence = Evidence(
            # Whether any of them were lost is not known before the end.
            missing=(SET, SPLIT),
            movable={name: mask for mask, name in meta.names.gfp}.get(
                "__GFP_MOVABLE", 0
            ),
            swaps_handles=meta.kernel.swaps_handles,
        )

    @property
    def segments(self) -> int:
        """How many segments were taken in."""
        return self._head.segments

    @property
    def summary(self) -> Summary:
        """What all their events sum up to."""
        return self._head.summary

    def fold(
        self, records: NDArray[Any], summary: Summary, behind: Sequence[NDArray[Any]]
    ) -> None:
        """
        Take in the next segment.

        :param records: its sound records
        :param summary: what they sum up to
        :param behind: the records of the next segments: all that may have to do with
            these
        """
        head = self._head
        head.segments += 1
        cpus = add_spans(head.summary.cpus, summary.cpus)
        head.summary += summary
        head.summary.cpus = cpus

        events = self._placed(records, behind)
        pieces = (events.records, *behind)
        self._open.follow(*followed_by((self._related.records, *pieces)))
        bound = min(
            (
                int(piece["ts_nsec"][piece["event"] == SET].min(initial=NEVER))
                for piece in behind
            ),
            default=NEVER,
        )
        rest, _ = self._open.step(
            Members.of(events.records), events.places, bound, self._settle
        )
        self._related = Events.join([self._related, rest])
        self._forget(bound, behind)

    def _placed(self, records: NDArray[Any], behind: Sequence[NDArray[Any]]) -> Events:
        """The events that tell something, with their times and places."""
        samples = [both_clocks(records), *map(both_clocks, behind)]
        self._order = EventOrder(
            EventClock([self._samples, *samples], self._meta.begun), self._order.latest
        )
        mono, ahead = (
            np.concatenate(each) for each in zip(self._samples, samples[0], strict=True)
        )
        last = np.argsort(mono, kind="stable")[-SAMPLES:]
        self._samples = mono[last], ahead[last]
        records = in_sequence(records)
        events = Events(records, self._order.places(records))
        return events.take(about_a_page(records) & np.isin(records["event"], KINDS))

    def _settle(self, sets: NDArray[Any], resets: NDArray[Any]) -> NDArray[np.bool_]:
        self.freed.add(
            sets,
            resets["time_nsec"].astype(np.int64),
            sets["handle"] == resets["handle"],
        )
        return np.ones(len(sets), np.bool_)

    def _forget(self, bound: int, behind: Sequence[NDArray[Any]]) -> None:
        """Sum up what is no simple case, and over."""
        special = np.flatnonzero(self._open.special())
        events = Events.join([self._open.left().take(special), self._related])
        count = len(events.records)
        if count <= self._looked_at * _LOOK_AGAIN:
            return
        # An allocation that waits may be that of a page that another was moved to.
        events = Events.join([events, self._open.waiting(), *self._sets_of(behind)])
        order = np.lexsort(
            (events.records["seq"], events.records["cpu"], events.places)
        )
        over = find_over(
            taken(events.records, order), bound, followed_by(behind)[0], self._evidence
        )
        self.freed.add(over.rows, over.rows["freed_ns"], over.same)
        self._head.targets += over.targets
        gone = np.zeros(len(order), np.bool_)
        gone[order] = over.events
        ended = np.zeros(len(self._open.special()), np.bool_)
        ended[special[gone[: len(special)]]] = True
        self._open.end(ended)
        self._related = self._related.take(~gone[len(special) : count])
        self._looked_at = int(np.count_nonzero(~gone[:count]))

    def _sets_of(self, behind: Sequence[NDArray[Any]]) -> list[Events]:
        """The sets of the next segments, with their places."""
        order, found = self._order.copy(), []
        for piece in behind:
            records = in_sequence(piece)
            places = order.places(records)
            found.append(Events(records, places).take(records["event"] == SET))
        return found

    def kept(self) -> tuple[HeldHead, Kept]:
        """What is to be written of it, and read back."""
        head = self._head
        head.number += 1
        known = np.flatnonzero(self._order.latest >= 0)
        head.latest = list(
            zip(known.tolist(), self._order.latest[known].tolist(), strict=True)
        )
        head.samples = list(
            zip(*(each.tolist() for each in self._samples), strict=True)
        )
        left, special = self._open.left(), self._open.special()
        parts = [
            (left, np.where(special, SPECIAL, OPEN)),
            (self._related, RELATED),
            (self._open.waiting(), WAITING),
        ]
        return head, joined_kept(
            [
                Kept(
                    each.records, each.places, np.full(len(each.places), mark, np.uint8)
                )
                for each, mark in parts
            ]
        )

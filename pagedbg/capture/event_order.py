# SPDX-License-Identifier: GPL-2.0-or-later
"""
The events of a capture in the order in which they happened, a piece of them at a time.

Of one CPU that is the order of their numbers, whatever their times say (a record's time
is taken when page_owner begins): nested allocations are recorded before the one that
they belong to. So the place of an event is its time, or that of one before it on its
CPU if that is later.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pagedbg.capture.event_clock import EventClock
from pagedbg.capture.event_members import Members
from pagedbg.capture.summary import NEVER, Summary
from pagedbg.schema.event_record import RECORD, joined, taken

# `cpu` has 16 bits.
_CPUS = 1 << 16

PLACED_BY = ("cpu", "seq", "ts_nsec", "time_nsec", "mono_nsec")
"""What places events in their order."""

# Behind every place.
_ALL = np.iinfo(np.int64).max


class EventOrder:
    """
    Finds the times and the places of events, of which those of a CPU have to come in
    the order of their numbers.

    ``latest`` is the greatest place of each CPU so far.

    :param clock: of captures whose times are local_clock()'s, None of others
    :param latest: what it was before the first of these events
    """

    def __init__(
        self, clock: EventClock | None, latest: NDArray[np.int64] | None = None
    ) -> None:
        self._clock = clock
        self.latest = np.full(_CPUS, -1, np.int64) if latest is None else latest

    def copy(self) -> EventOrder:
        """Another one, which goes on from here."""
        return EventOrder(self._clock, self.latest.copy())

    def times(self, records: NDArray[Any] | Mapping[str, Any]) -> NDArray[np.int64]:
        """When each event happened, in ns; −1 if that is not known."""
        if self._clock is not None:
            return self._clock.times(records)
        times = records["time_nsec"].astype(np.int64)
        mono = records["mono_nsec"].astype(np.int64)
        return np.where(times > 0, times, np.where(mono > 0, mono, -1))

    def places(
        self, records: NDArray[Any] | dict[str, NDArray[Any]]
    ) -> NDArray[np.int64]:
        """
        The place of each event.

        :param records: by CPU, and then by number; their ``time_nsec`` becomes what
            :meth:`times` says, 0 for what is not known
        """
        times = self.times(records)
        records["time_nsec"] = np.maximum(times, 0)
        cpus, starts = np.unique(records["cpu"], return_index=True)
        for cpu, of_cpu in zip(
            cpus.tolist(), np.split(times, starts[1:]), strict=False
        ):
            np.maximum.accumulate(np.maximum(of_cpu, self.latest[cpu]), out=of_cpu)
            self.latest[cpu] = of_cpu[-1]
        return times

    def places_of(self, members: Members) -> NDArray[np.int64]:
        """
        :meth:`places` of events in any order.

        :param members: their :data:`PLACED_BY`
        """
        sequence = np.lexsort((members["seq"], members["cpu"]))
        ordered = {name: members[name][sequence] for name in PLACED_BY}
        places = np.empty(len(sequence), np.int64)
        places[sequence] = self.places(ordered)
        members.columns["time_nsec"] = times = np.empty(len(sequence), np.uint64)
        times[sequence] = ordered["time_nsec"]
        return places

    def first_place(self, summaries: Sequence[Summary]) -> int:
        """A place that no event of some pieces comes before, if others did."""
        found = NEVER
        for each in summaries:
            # What has no time has the place of one before.
            if each.timeless:
                return -1
            found = min(found, each.time, each.mono + self._ahead[0])
        return found

    def last_place(self, summaries: Sequence[Summary]) -> int:
        """A place that no event of some pieces comes behind."""
        return max(
            (
                max(
                    each.latest,
                    each.time_to,
                    each.mono_to + self._ahead[1] if each.mono_to else 0,
                )
                for each in summaries
            ),
            default=-1,
        )

    @property
    def _ahead(self) -> tuple[int, int]:
        return (0, 0) if self._clock is None else self._clock.range


def in_places(
    order: EventOrder, pieces: Iterable[NDArray[Any]], summaries: Sequence[Summary]
) -> Iterator[tuple[NDArray[Any], NDArray[np.int64]]]:
    """
    Iterate over the events of pieces in their order, with their places. What is held
    back meanwhile is what later pieces may have events before.

    :param summaries: what each of the pieces sums up to
    """
    held, held_at = np.zeros(0, RECORD), np.zeros(0, np.int64)
    bounds = least_behind([order.first_place([each]) for each in summaries], _ALL)
    for records, bound in zip(pieces, bounds, strict=True):
        at = order.places(records)
        records, at = joined((held, records)), np.concatenate((held_at, at))
        by_place = _by_place(records, at)
        records, at = taken(records, by_place), at[by_place]
        end = int(np.searchsorted(at, bound))
        held, held_at = records[end:].copy(), at[end:].copy()
        if end:
            yield records[:end], at[:end]


def least_behind(values: Sequence[int], none: int) -> list[int]:
    """For each piece the least value of those behind it, of the last one ``none``."""
    found: list[int] = np.minimum.accumulate([none, *values[:0:-1]])[::-1].tolist()
    return found[: len(values)]


def in_order(records: NDArray[Any], places: NDArray[np.int64]) -> NDArray[Any]:
    """Events in the order of their places."""
    return taken(records, _by_place(records, places))


def _by_place(records: NDArray[Any], places: NDArray[np.int64]) -> NDArray[np.intp]:
    return np.lexsort((records["seq"], records["cpu"], places))

# SPDX-License-Identifier: GPL-2.0-or-later
"""
The correlation of a capture of any length: a piece of its events at a time.

Most allocations are made, freed as a whole, and that is all. Such a pair has nothing to
do with any other event, and is settled when its free comes. Left are those that are
held, migrated, split, freed in parts, or made for others to be migrated to: with their
events they are correlated at once in the end. So memory grows with what is held, and
not with what has happened.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pagedbg.analysis.correlation import Pages, correlate
from pagedbg.analysis.correlation_open import KINDS, Events, followed_by, resumed
from pagedbg.analysis.evidence import Evidence
from pagedbg.capture.event_members import Members
from pagedbg.capture.event_order import PLACED_BY, in_order, least_behind
from pagedbg.capture.event_reader import EventReader
from pagedbg.capture.summary import NEVER, about_a_page
from pagedbg.schema import owner_record
from pagedbg.schema.allocation import ALLOCATION, FREED, STATES, UNKNOWN
from pagedbg.schema.event_record import COPY, SPLIT, joined, taken

Choose = Callable[[NDArray[Any]], NDArray[np.bool_]]
"""
Says which allocations are asked for, given an array with the members of
:data:`pagedbg.schema.allocation.ALLOCATION` that the event of each fills in.
"""

Looked = Callable[[NDArray[Any]], None]
"""
Corrects what is said of allocations in an array of
:data:`pagedbg.schema.allocation.ALLOCATION`.
"""

# What a correlation needs to know of an event.
_MEMBERS = frozenset(
    [
        "event",
        "flags",
        "pfn",
        "ts_nsec",
        "span_nsec",
        "other_pfn",
        "gfp_mask",
        "handle",
        "pid",
        "tgid",
        "comm",
        "order",
    ]
)


class Summed(NamedTuple):
    """
    Sums of allocations that are over: ``rows``, an array of
    :data:`pagedbg.schema.allocation.ALLOCATION` that says what those of a sum have in
    common, and ``columns`` of :mod:`pagedbg.capture.freed_sums`.
    """

    rows: NDArray[Any]
    columns: dict[str, NDArray[Any]]


class PiecewiseCorrelation:
    """
    What became of the allocations in a capture. While :meth:`rows` goes on it is
    counted how many are in each of the ``states`` (by index of
    :data:`pagedbg.schema.allocation.STATES`), how many were ``targets`` of migrations,
    and of how many the kernel's records say otherwise (``contradicted``). What was
    freed before, of a recorder that keeps only what is held, is in ``summed``, None
    where there is none, or it cannot be chosen from.
    """

    def __init__(
        self,
        capture: EventReader,
        pages: Pages | None = None,
        evidence: Evidence | None = None,
        choose: Choose | None = None,
        *,
        sums: bool = True,
        looked: Looked | None = None,
    ) -> None:
        """
        :param pages: what is on record of pages; None where there is nothing to compare
            with
        :param looked: what corrects the states of allocations by their pages, where
            nothing is on record
        :param sums: whether ``choose`` can choose among sums of what was freed, too: it
            looks at nothing but order, flags and stack
        """
        self._capture, self._pages, self._choose = capture, pages, choose
        self._looked = looked
        summary = capture.summary
        evidence = evidence or Evidence()
        self._evidence = dataclasses.replace(
            evidence,
            missing={*evidence.missing, *(set(summary.unread) & set(KINDS))},
        )
        self.states = np.zeros(len(STATES), np.int64)
        self.targets = self.contradicted = 0
        # What comes before is kept of what is still held.
        self._first = capture.kept_pieces
        self.summed = self._sums() if sums or choose is None else None

    @property
    def counted(self) -> str:
        """How many there are of each, in words."""
        states = self.states.tolist()
        parts = [
            f"{count} {state}"
            for state, count in zip(STATES, states, strict=True)
            if count
        ]
        said = f"{sum(states)} allocations"
        said += f": {', '.join(parts)}" if parts else ""
        return said + (
            f"; besides, {self.targets} were targets of migrations."
            if self.targets
            else "."
        )

    def rows(self, *, freed: bool = True) -> Iterator[NDArray[Any]]:
        """
        Iterate over the allocations that are asked for, arrays of
        :data:`pagedbg.schema.allocation.ALLOCATION`, in no order.

        :param freed: whether those that were freed as a whole are of interest; else
            they are only counted
        """
        if self.summed is not None:
            rows, count = self.summed.rows["state"], self.summed.columns["count"]
            self.states += np.bincount(rows, count, len(STATES)).astype(np.int64)
        if self._capture.held is not None:
            self.targets += self._capture.held.head.targets
        if not self._capture.page_owner:
            # A free does not say what it is of: each is told by all before it.
            yield self._correlated(self._capture.events())
            return
        open_, related = resumed(self._capture.kept())
        open_.follow(*self._followed(related))
        left = [related]
        settled: list[tuple[NDArray[Any], NDArray[Any]]] = []

        def over(sets: NDArray[Any], resets: NDArray[Any]) -> NDArray[np.bool_]:
            told = self._over(sets)
            settled.append((taken(sets, told), taken(resets, told)))
            return told

        counted = not freed and self._all_are_freed
        for members, places, bound in self._pieces():
            rest, pairs = open_.step(members, places, bound, None if counted else over)
            left.append(rest)
            if counted:
                self.states[FREED] += pairs
            for sets, resets in settled:
                if freed:
                    yield self._correlated(joined((sets, resets)))
                else:
                    self._count(sets, resets)
            settled.clear()
        rest = Events.join([*left, open_.left()])
        yield self._correlated(in_order(*rest))

    @property
    def _all_are_freed(self) -> bool:
        """Whether allocations are over, and asked for, without being looked at."""
        return (
            self._pages is None
            and self._choose is None
            and COPY not in self._evidence.missing
        )

    def _followed(
        self, related: Events
    ) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """What the pieces, and what was kept of others, say to be followed."""
        pieces = self._capture.pieces((COPY, SPLIT), _MEMBERS, self._first)
        return followed_by(itertools.chain([related.records], pieces))

    def _pieces(self) -> Iterator[tuple[Members, NDArray[np.int64], int]]:
        """
        The events that tell something, their places, and the time from which on later
        pieces may have allocations.
        """
        first, needed = self._first, _MEMBERS.union(PLACED_BY)
        order, summaries = self._capture.order(first), self._capture.summaries()[first:]
        bounds = least_behind([each.first_set for each in summaries], NEVER)
        for members, summary, bound in zip(
            self._capture.members(needed, first), summaries, bounds, strict=True
        ):
            places = order.places_of(members)
            known = sum(summary.kinds[kind] for kind in KINDS)
            if summary.unread or known != summary.records:
                told = np.flatnonzero(
                    about_a_page(members.columns) & np.isin(members["event"], KINDS)
                )
                yield members.take(told), places[told], bound
            else:
                yield members, places, bound

    def _over(self, sets: NDArray[Any]) -> NDArray[np.bool_]:
        """Which allocations that were freed are over by the kernel's records, too."""
        if self._pages is None or not len(sets):
            return np.ones(len(sets), np.bool_)
        pages = self._pages(sets["pfn"])
        begun, times = pages["ts_nsec"], sets["ts_nsec"]
        held: NDArray[np.bool_] = (
            pages["known"]
            & (pages["state"] == owner_record.ALLOCATED)
            & (begun >= times)
            & (begun - times <= sets["span_nsec"])
        )
        return ~held

    def _correlated(self, events: NDArray[Any]) -> NDArray[Any]:
        found = correlate(events, self._pages, self._evidence, self._choose)
        rows = found.allocations
        if self._looked is not None:
            self._looked(rows)
        self.states += np.bincount(rows["state"], minlength=len(STATES))
        self.targets += found.targets
        self.contradicted += int(np.count_nonzero(rows["contradiction"]))
        return rows

    def _count(self, sets: NDArray[Any], resets: NDArray[Any]) -> None:
        """Count allocations that were freed, as correlate() would have it."""
        if self._choose is not None:
            chosen = self._choose(sets)
            sets, resets = taken(sets, chosen), taken(resets, chosen)
        states = self._states(sets["gfp_mask"], sets["handle"] == resets["handle"])
        self.states += np.bincount(states, minlength=len(STATES))

    def _states(
        self, gfp_mask: NDArray[np.uint32], same: NDArray[np.bool_]
    ) -> NDArray[np.uint8]:
        """
        What has become of allocations that were freed.

        :param same: which of them with the stack on record that they were made with
        """
        states = np.full(len(same), FREED, np.uint8)
        if COPY in self._evidence.missing:
            # The free may be that of a page that was left behind.
            movable = self._evidence.movable
            which = (gfp_mask & np.uint32(movable)) != 0 if movable else True
            states[which & ~(same & self._evidence.swaps_handles)] = UNKNOWN
        return states

    def _sums(self) -> Summed | None:
        if self._capture.held is None:
            return None
        columns = self._capture.freed()
        rows = np.zeros(len(columns["count"]), ALLOCATION)
        for name in ("handle", "gfp_mask", "order"):
            rows[name] = columns[name]
        rows["state"] = self._states(columns["gfp_mask"], columns["same"])
        if self._choose is not None:
            chosen = self._choose(rows)
            rows = rows[chosen]
            columns = {name: column[chosen] for name, column in columns.items()}
        return Summed(rows, columns)

# SPDX-License-Identifier: GPL-2.0-or-later
"""
A capture that is correlated a piece at a time: the same answers as all at once.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from made_meta import meta
from numpy.typing import NDArray
from test_correlation import History, Kernel, histories, kernel_of

from pagedbg.analysis.correlation import Pages, correlate
from pagedbg.analysis.correlation_open import OpenAllocations
from pagedbg.analysis.correlation_pieces import PiecewiseCorrelation
from pagedbg.analysis.evidence import Evidence
from pagedbg.capture.event_clock import Samples, both_clocks
from pagedbg.capture.event_members import Members
from pagedbg.capture.event_reader import EventReader
from pagedbg.capture.held_file import Kept
from pagedbg.capture.held_reader import HeldFiles
from pagedbg.capture.segments import in_sequence
from pagedbg.capture.summary import NEVER, Summary, summary_of
from pagedbg.schema.allocation import FREED, STATES, UNKNOWN
from pagedbg.schema.event_record import COPY, RECORD, RESET, SET, SPLIT

CPUS = 3


class InMemory(EventReader):
    """The events of a capture that is no file, in pieces."""

    def __init__(self, parts: list[NDArray[Any]]) -> None:
        super().__init__()
        self.path, self.meta = Path(), meta()
        self.parts = [in_sequence(part) for part in parts]

    @property
    def summary(self) -> Summary:
        return sum(self.summaries(), Summary())

    @property
    def kept_pieces(self) -> int:
        return 0

    @property
    def held(self) -> HeldFiles | None:
        return None

    def kept(self) -> Kept:
        return Kept()

    def summaries(self) -> list[Summary]:
        return [summary_of(part) for part in self.parts]

    def pieces(
        self,
        kinds: Collection[int] = (),
        members: Collection[str] = (),
        first: int = 0,
    ) -> Iterator[NDArray[Any]]:
        for part in self.parts[first:]:
            chosen = np.isin(part["event"], list(kinds)) if kinds else slice(None)
            yield part[chosen].copy()

    def members(self, members: Collection[str], first: int = 0) -> Iterator[Members]:
        return (Members.of(part, members) for part in self.pieces(first=first))

    def clock_samples(self, first: int) -> Iterator[Samples]:
        return map(both_clocks, self.parts[first:])


def drained(
    events: NDArray[Any], dice: random.Random, pieces: int
) -> list[NDArray[Any]]:
    """Events as several CPUs have written them: some are drained sooner than others."""
    events = events.copy()
    events["cpu"] = [dice.randrange(CPUS) for _ in events]
    parts: list[list[NDArray[Any]]] = [[] for _ in range(pieces)]
    for cpu in range(CPUS):
        which = np.flatnonzero(events["cpu"] == cpu)
        events["seq"][which] = np.arange(1, len(which) + 1)
        cuts = sorted(dice.randrange(len(events) + 1) for _ in range(pieces - 1))
        for part, found in zip(
            parts, np.split(events[which], np.searchsorted(which, cuts)), strict=True
        ):
            part.append(found)
    return [np.concatenate(part) for part in parts]


def in_one_order(rows: NDArray[Any]) -> NDArray[Any]:
    return rows[np.lexsort((rows["order"], rows["pfn"], rows["ts_nsec"]))]


def told(rows: NDArray[Any]) -> list[str]:
    """Rows that can be compared, and seen."""
    return [str(row) for row in rows]


def check_the_same(
    parts: list[NDArray[Any]],
    pages: Pages | None,
    evidence: Evidence,
    wanted: Collection[int] = range(16),
) -> None:
    """Whether pieces tell what all tells, with and without what was freed."""

    def choose(rows: NDArray[Any]) -> NDArray[np.bool_]:
        return np.isin(rows["pfn"] & np.uint64(15), list(wanted))

    whole = correlate(InMemory(parts).events(), pages, evidence, choose)
    counts = np.bincount(whole.allocations["state"], minlength=len(STATES)).tolist()
    found = PiecewiseCorrelation(InMemory(parts), pages, evidence, choose)
    rows = in_one_order(np.concatenate(list(found.rows())))
    expected = in_one_order(whole.allocations)
    assert told(rows) == told(expected)
    assert (found.states.tolist(), found.targets) == (counts, whole.targets)

    counted = PiecewiseCorrelation(InMemory(parts), pages, evidence, choose)
    few = in_one_order(np.concatenate(list(counted.rows(freed=False))))
    held = ~np.isin(few["state"], (FREED, UNKNOWN))
    assert told(few[held]) == told(
        expected[~np.isin(expected["state"], (FREED, UNKNOWN))]
    )
    assert (counted.states.tolist(), counted.targets) == (counts, whole.targets)
    assert counted.contradicted == found.contradicted


def parts_of(kernel: Kernel, dice: random.Random, pieces: int) -> list[NDArray[Any]]:
    return drained(kernel.captured(), dice, pieces)


@settings(max_examples=150, deadline=None)
@given(histories, st.integers(1, 6), st.booleans(), st.sets(st.integers(0, 15)))
def test_pieces_tell_what_all_tells(
    history: History, pieces: int, compare: bool, wanted: set[int]
) -> None:
    kernel, dice = kernel_of(history)
    check_the_same(
        parts_of(kernel, dice, pieces),
        kernel.pages if compare else None,
        kernel.evidence(),
        wanted or range(16),
    )


@settings(max_examples=200, deadline=None)
@given(
    histories,
    st.integers(1, 6),
    st.floats(0, 1),
    st.booleans(),
    st.sets(st.sampled_from((SET, RESET, COPY, SPLIT)), min_size=1),
)
@example((120, 120, (False, False)), 1, 0.75, True, {SET, COPY})
def test_pieces_tell_what_all_tells_where_events_were_lost(
    history: History, pieces: int, share: float, compare: bool, kinds: set[int]
) -> None:
    kernel, dice = kernel_of(history)
    events = kernel.captured()
    events = events[
        [int(one["event"]) not in kinds or dice.random() >= share for one in events]
    ]
    check_the_same(
        drained(events, dice, pieces),
        kernel.pages if compare else None,
        kernel.evidence(kinds),
    )


def test_no_events_are_no_allocations() -> None:
    found = PiecewiseCorrelation(InMemory([np.zeros(0, RECORD)]))
    assert sum(map(len, found.rows())) == sum(found.states) == 0


def test_what_was_freed_is_forgotten() -> None:
    open_ = OpenAllocations(np.zeros(0, np.uint64), np.zeros(0, np.uint64))
    times = np.arange(1, 1001, dtype=np.uint64)
    events = np.zeros(2000, RECORD)
    events["event"] = np.repeat((SET, RESET), 1000)
    events["pfn"] = np.tile(times, 2)
    for turn in range(50):
        events["ts_nsec"] = np.tile(times + np.uint64(1000 * turn), 2)
        # One of a hundred is held.
        events["event"][1000:] = np.where(times % np.uint64(100), RESET, 0)
        rest, pairs = open_.step(
            Members.of(events[events["event"] > 0]), np.arange(1990), NEVER, None
        )
        assert (len(rest.records), pairs) == (0, 990)
    left = open_.left().records
    assert (left["pfn"] % np.uint64(100)).tolist() == [0] * 500
    assert len(open_._times) < 2 * 500 + 50

# SPDX-License-Identifier: GPL-2.0-or-later
"""Events that are read a piece at a time come in the order of all of them at once."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from test_correlation_pieces import CPUS, InMemory, drained

from pagedbg.capture.event_clock import EventClock, both_clocks
from pagedbg.capture.event_members import Members
from pagedbg.capture.segments import in_sequence
from pagedbg.schema.event_record import RECORD


def events_of(dice: random.Random, count: int, timeless: float) -> NDArray[Any]:
    """Events with either clock, both, or none, nearly in the order of their times."""
    made = np.zeros(count, RECORD)
    for number, record in enumerate(made):
        now = 1000 + 10 * number + dice.randrange(-40, 40)
        record["pfn"], record["ts_nsec"] = number, max(now - dice.randrange(60), 1)
        record["event"] = dice.randrange(1, 4)
        if dice.random() < timeless:
            continue
        match dice.randrange(3):
            case 0:
                record["time_nsec"] = now
            case 1:
                record["mono_nsec"] = now + 500
            case 2:
                record["time_nsec"] = now
                record["mono_nsec"] = now + 500 + dice.randrange(9)
    return made


def all_at_once(reader: InMemory) -> NDArray[Any]:
    """The order of all events by its definition."""
    records = np.concatenate(reader.parts)
    clock = EventClock([both_clocks(records)], reader.meta.begun)
    records = records[np.lexsort((records["seq"], records["cpu"]))]
    times = clock.times(records)
    records["time_nsec"] = np.maximum(times, 0)
    for cpu in range(CPUS):
        of_cpu = records["cpu"] == cpu
        times[of_cpu] = np.maximum.accumulate(times[of_cpu])
    return records[np.argsort(times, kind="stable")]


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, 2**32),
    st.integers(0, 150),
    st.integers(1, 8),
    st.sampled_from((0, 0, 0.02)),
)
def test_pieces_come_in_the_order_of_all(
    seed: int, count: int, pieces: int, timeless: float
) -> None:
    dice = random.Random(seed)
    reader = InMemory(drained(events_of(dice, count, timeless), dice, pieces))
    found = [records for records, _ in reader.events_in_order()]
    expected = all_at_once(reader)
    assert np.concatenate([expected[:0], *found]).tobytes() == expected.tobytes()


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 300), st.integers(1, 60))
def test_a_time_is_told_by_the_events_around_that_have_both(
    seed: int, count: int, asked: int
) -> None:
    dice = np.random.default_rng(seed)
    mono = np.sort(dice.choice(10**6, count, replace=False)) + 1000
    ahead = dice.integers(-500, 500, count)
    shuffled = dice.permutation(count)
    clock = EventClock([(mono[shuffled], ahead[shuffled])], InMemory([]).meta.begun)
    records = np.zeros(asked, RECORD)
    records["mono_nsec"] = dice.integers(1000, 10**6, asked)
    expected = []
    for when in records["mono_nsec"].tolist():
        nearest = max(int(np.count_nonzero(mono < when)) - 1, 0)
        around = ahead[max(nearest - 32, 0) : nearest + 33]
        expected.append(max(when + int(around.max()), 0))
    assert clock.times(records).tolist() == expected


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 150), st.integers(1, 4))
def test_places_are_the_same_in_any_order(seed: int, count: int, pieces: int) -> None:
    dice = random.Random(seed)
    parts = drained(events_of(dice, count, 0.1), dice, pieces)
    order = InMemory(parts).order()
    again = order.copy()
    for part in parts:
        mixed = part[np.random.default_rng(seed).permutation(len(part))]
        members = Members.of(mixed)
        places = order.places_of(members)
        by_sequence = np.lexsort((mixed["seq"], mixed["cpu"]))
        expected = in_sequence(part)
        assert places[by_sequence].tolist() == again.places(expected).tolist()
        assert members.records(by_sequence).tobytes() == expected.tobytes()


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, 2**32),
    st.integers(0, 150),
    st.integers(1, 8),
    st.integers(1, 40),
    st.sets(st.integers(1, 3), min_size=1),
)
def test_the_last_ones_are_those_that_come_last(
    seed: int, count: int, pieces: int, last: int, kinds: set[int]
) -> None:
    dice = random.Random(seed)
    reader = InMemory(drained(events_of(dice, count, 0), dice, pieces))
    found, _ = reader.latest(
        last, lambda records: np.isin(records["event"], list(kinds))
    )
    expected = all_at_once(reader)
    expected = expected[np.isin(expected["event"], list(kinds))][-last:]
    assert found["pfn"].tolist() == expected["pfn"].tolist()


def test_the_last_ones_are_found_without_reading_all() -> None:
    dice = random.Random(1)
    events = events_of(dice, 4000, 0)
    events["seq"] = np.arange(1, len(events) + 1)
    reader = InMemory(np.array_split(events, 20))
    read: list[int] = []
    pieces = reader.pieces

    def counted(*args: Any, first: int = 0, **more: Any) -> Any:
        for piece in pieces(*args, first=first, **more):
            read.append(len(piece))
            yield piece

    reader.pieces = counted  # type: ignore[method-assign]
    found, _ = reader.latest(20, lambda records: np.ones(len(records), np.bool_))
    assert found["pfn"].tolist() == all_at_once(reader)["pfn"][-20:].tolist()
    assert sum(read) < 5 * 200 + 200

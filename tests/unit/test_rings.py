# SPDX-License-Identifier: GPL-2.0-or-later
"""Rings that are read while they are written: nothing false, nothing twice, and every record either read or counted as lost."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pagedbg.capture.layout import RECORD
from pagedbg.capture.rings import Ring, whole_records


class Writer:
    """Writes into a ring as bpf/ring.h says, in steps that a reader may come between."""

    def __init__(self, slots: int) -> None:
        self.slots = np.zeros(slots, RECORD)
        self.head = np.zeros(1, np.uint64)

    def begin(self) -> int:
        self.head[0] += 1
        number = int(self.head[0])
        self.slot(number)["check"] = 0
        return number

    def finish(self, number: int) -> None:
        record = self.slot(number)
        record["pfn"] = number * 7
        record["seq"] = number
        record["check"] = ~np.uint64(number)

    def write(self, count: int) -> None:
        for _ in range(count):
            self.finish(self.begin())

    def slot(self, number: int) -> Any:
        return self.slots[(number - 1) % len(self.slots)]


def drain(ring: Ring) -> list[int]:
    numbers: list[int] = []
    for piece in ring.drain():
        assert (piece["pfn"] == piece["seq"] * np.uint64(7)).all()
        numbers += piece["seq"].tolist()
    return numbers


def test_an_empty_ring_has_nothing() -> None:
    writer = Writer(8)
    assert drain(Ring(writer.slots, writer.head)) == []


def test_what_was_overwritten_is_counted() -> None:
    writer = Writer(8)
    ring = Ring(writer.slots, writer.head)
    writer.write(20)
    assert drain(ring) == list(range(13, 21))
    assert (ring.read, ring.lost) == (8, 12)


def test_an_unfinished_record_is_waited_for_once() -> None:
    writer = Writer(8)
    ring = Ring(writer.slots, writer.head)
    writer.write(2)
    number = writer.begin()
    writer.write(2)
    assert drain(ring) == [1, 2]
    writer.finish(number)
    assert drain(ring) == [3, 4, 5]
    assert ring.lost == 0


def test_a_record_that_is_never_finished_is_counted_as_lost_and_stops_nothing() -> None:
    writer = Writer(8)
    ring = Ring(writer.slots, writer.head)
    writer.write(1)
    writer.begin()
    writer.write(1)
    assert drain(ring) == [1]
    assert drain(ring) == [3]
    assert (ring.read, ring.lost) == (2, 1)


@given(
    st.integers(0, 4).map(lambda n: 4 << n), st.lists(st.one_of(st.integers(1, 100), st.just("drain"), st.just("begin"), st.just("finish")))
)
def test_every_record_is_read_once_in_order_or_lost(slots: int, steps: list[Any]) -> None:
    writer = Writer(slots)
    ring = Ring(writer.slots, writer.head)
    numbers: list[int] = []
    begun: list[int] = []
    for step in [*steps, "finish", "drain", "drain", "drain"]:
        match step:
            case "drain":
                numbers += drain(ring)
            case "begin" if len(begun) < slots // 2:
                begun.append(writer.begin())
            case "finish":
                # Interrupts end in the reverse order of their beginning.
                while begun:
                    writer.finish(begun.pop())
            case int():
                writer.write(step)
        assert ring.read + ring.lost == ring.next - 1
        assert ring.read == len(numbers)
    assert numbers == sorted(set(numbers))
    assert ring.read + ring.lost <= int(writer.head[0])


class Racing:
    """A ring that is written into while a reader copies it."""

    def __init__(self, writer: Writer, during_copy: int) -> None:
        self.writer, self.during_copy = writer, during_copy
        self.slots = writer.slots.view(_Slots)
        self.slots.racing = self


class _Slots(np.ndarray):  # type: ignore[type-arg]
    racing: Racing | None = None

    def __array_finalize__(self, other: Any) -> None:
        self.racing = getattr(other, "racing", None)

    def copy(self, *args: Any, **kwargs: Any) -> NDArray[Any]:  # type: ignore[override]
        copied = np.array(self.view(np.ndarray))
        if self.racing is not None:
            self.racing.writer.write(self.racing.during_copy)
        return copied


@given(st.integers(1, 40), st.integers(0, 40))
def test_a_record_that_may_have_been_overwritten_while_it_was_copied_is_lost(before: int, during: int) -> None:
    writer = Writer(16)
    racing = Racing(writer, during)
    ring = Ring(racing.slots, writer.head)
    writer.write(before)
    numbers = drain(ring)
    assert numbers == sorted(set(numbers))
    assert ring.read + ring.lost == ring.next - 1


@given(st.binary(max_size=2000))
def test_hostile_bytes_are_no_events_and_no_error(data: bytes) -> None:
    records, torn = whole_records(np.frombuffer(data, np.uint8))
    assert len(records) + torn >= len(data) // RECORD.itemsize
    assert (records["check"] == ~records["seq"]).all()


def test_a_file_that_is_cut_in_a_record_has_those_before_it() -> None:
    writer = Writer(4)
    writer.write(4)
    records, torn = whole_records(np.frombuffer(writer.slots.tobytes()[:-1], np.uint8))
    assert (records["seq"].tolist(), torn) == ([1, 2, 3], 1)

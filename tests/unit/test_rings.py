# SPDX-License-Identifier: GPL-2.0-or-later
"""
Rings that are read while they are written: nothing false, nothing twice, and every
record either read or counted as lost.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pagedbg.capture.rings import Ring, Settled, settled_records
from pagedbg.schema.event_record import RECORD, check_of


class Writer:
    """
    Writes into a ring as bpf/ring.h says, in steps that a reader may come between.
    """

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
        record["check"] = check_of(self.slots)[(number - 1) % len(self.slots)]

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


def test_a_record_that_two_wrote_into_is_not_read() -> None:
    writer = Writer(8)
    ring = Ring(writer.slots, writer.head)
    writer.write(3)
    writer.slot(2)["gfp_mask"] = 1
    assert drain(ring) == [1]
    assert drain(ring) == [3]
    assert (ring.read, ring.lost) == (2, 1)


@given(
    st.integers(0, 4).map(lambda n: 4 << n),
    st.lists(
        st.one_of(
            st.integers(1, 100), st.just("drain"), st.just("begin"), st.just("finish")
        )
    ),
)
def test_every_record_is_read_once_in_order_or_lost(
    slots: int, steps: list[Any]
) -> None:
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
def test_a_record_that_may_have_been_overwritten_while_it_was_copied_is_lost(
    before: int, during: int
) -> None:
    writer = Writer(16)
    racing = Racing(writer, during)
    ring = Ring(racing.slots, writer.head)
    writer.write(before)
    numbers = drain(ring)
    assert numbers == sorted(set(numbers))
    assert ring.read + ring.lost == ring.next - 1


# ---- rings that have stopped ----


class Stopped(Writer):
    """A ring whose records say what one of CPU 1 says."""

    CPU = 1

    def finish(self, number: int) -> None:
        record = self.slot(number)
        record["event"], record["cpu"], record["order"] = 1, self.CPU, 3
        super().finish(number)

    def settled(
        self, known: NDArray[np.bool_] | None = None, head: int | None = -1
    ) -> Settled:
        everything = np.ones(len(self.slots), np.bool_)
        return settled_records(
            self.slots,
            everything if known is None else known,
            int(self.head[0]) if head == -1 else head,
            self.CPU,
            check_of(self.slots),
        )


def numbers_of(settled: Settled) -> list[int]:
    return [int(number) for number in settled.records["seq"]]


@given(st.integers(0, 40))
def test_a_ring_that_has_stopped_has_its_last_records_in_order(written: int) -> None:
    ring = Stopped(8)
    ring.write(written)
    settled = ring.settled()
    assert numbers_of(settled) == list(range(max(written - 8, 0) + 1, written + 1))
    assert (settled.newest, settled.overwritten) == (written, max(written - 8, 0))
    assert (settled.left_out, settled.damaged, settled.head_damaged) == (0, 0, False)


@given(st.integers(0, 20), st.integers(1, 4))
def test_records_that_were_being_written_are_counted_as_damaged(
    written: int, begun: int
) -> None:
    ring = Stopped(8)
    ring.write(written)
    for _ in range(begun):
        ring.begin()
    settled = ring.settled()
    assert numbers_of(settled) == list(
        range(max(written + begun - 8, 0) + 1, written + 1)
    )
    assert settled.damaged == begun


@given(st.integers(1, 40), st.sets(st.integers(0, 7)))
def test_what_could_not_be_read_is_counted(written: int, missing: set[int]) -> None:
    ring = Stopped(8)
    ring.write(written)
    known = np.array([slot not in missing for slot in range(8)])
    settled = ring.settled(known)
    used = {(number - 1) % 8 for number in range(max(written - 8, 0) + 1, written + 1)}
    assert settled.left_out == len(used & missing)
    assert len(settled.records) + settled.left_out == min(written, 8)


@given(st.integers(1, 40), st.one_of(st.none(), st.integers(0, 2**64 - 1)))
def test_a_wrong_number_of_the_newest_is_told_from_the_records(
    written: int, head: int | None
) -> None:
    ring = Stopped(8)
    ring.write(written)
    settled = ring.settled(head=head)
    assert set(numbers_of(settled)) <= set(range(1, written + 1))
    if head is None or not written <= head < written + 8:
        assert settled.head_damaged
        assert numbers_of(settled) == list(range(max(written - 8, 0) + 1, written + 1))


@given(
    st.binary(min_size=8 * RECORD.itemsize, max_size=8 * RECORD.itemsize),
    st.integers(0, 2**64 - 1),
)
def test_noise_is_no_event(noise: bytes, head: int) -> None:
    slots = np.frombuffer(noise, RECORD)
    settled = settled_records(slots, np.ones(8, np.bool_), head, 0, check_of(slots))
    assert len(settled.records) == 0
    assert settled.damaged in (min(head, 8), 0)


@given(st.integers(8, 20), st.integers(0, 8 * RECORD.itemsize - 1), st.integers(1, 255))
def test_a_record_in_which_a_bit_has_changed_is_damaged(
    written: int, at: int, bits: int
) -> None:
    ring = Stopped(8)
    ring.write(written)
    ring.slots.view(np.uint8)[at] ^= bits
    settled = ring.settled()
    assert (len(settled.records), settled.damaged, settled.head_damaged) == (
        7,
        1,
        False,
    )


@given(
    st.integers(1, 20),
    st.integers(0, 7),
    st.sampled_from([("event", 0), ("event", 8), ("cpu", 0), ("order", 32)]),
)
def test_a_record_that_says_what_none_can_say_is_damaged(
    written: int, slot: int, wrong: tuple[str, int]
) -> None:
    ring = Stopped(8)
    ring.write(written)
    used = slot < written
    ring.slots[wrong[0]][slot] = wrong[1]
    ring.slots["check"][slot] = check_of(ring.slots)[slot]
    settled = ring.settled()
    assert len(settled.records) == min(written, 8) - used
    assert settled.damaged == used


def test_a_number_that_no_machine_lives_to_see_is_no_record() -> None:
    ring = Stopped(8)
    ring.write(3)
    ring.slots["seq"][3] = (1 << 63) + 4
    ring.slots["check"] = check_of(ring.slots)
    settled = ring.settled(head=None)
    assert (numbers_of(settled), settled.newest) == ([1, 2, 3], 3)

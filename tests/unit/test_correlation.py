# SPDX-License-Identifier: GPL-2.0-or-later
"""
What became of captured allocations: the same as a kernel made by hand knows it, of
which events may be lost.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Collection
from typing import Any

import numpy as np
from drgn import FaultError
from fake_kernel import PageOwnerKernel
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pagedbg.analysis import correlation_arrays
from pagedbg.analysis.correlation import Correlation, correlate
from pagedbg.analysis.evidence import Evidence
from pagedbg.mm import page_owner_bulk
from pagedbg.mm.page_owner import page_owner_of_pfn
from pagedbg.mm.page_owner_bulk import page_owners_of_pfns
from pagedbg.schema.allocation import CONTRADICTIONS, STATES
from pagedbg.schema.event_record import (
    COPY,
    NO_RECORD,
    RECORD,
    RESET,
    SET,
    SPLIT,
    TRACEPOINT,
)
from pagedbg.schema.owner_record import (
    ALLOCATED,
    FREED,
    NEVER,
    PAGE_RECORD,
    decode_comm,
)

MOVABLE = 0x8
FIRST, PAGES, MIGRATOR = 0x1000, 256, 7


@dataclasses.dataclass
class Allocation:
    """
    The truth about one allocation: where it began, and at which pages it is held now.
    """

    pfn: int
    order: int
    ts: int
    movable: bool
    handle: int
    target: bool = False
    split: bool = False
    moved_whole: bool = False
    freed_ns: int | None = None
    held: set[int] = dataclasses.field(default_factory=set)

    @property
    def state(self) -> str:
        """In the words of a correlation."""
        if not self.held:
            return "freed"
        if self.split:
            return "split"
        return (
            "live"
            if self.held <= set(range(self.pfn, self.pfn + (1 << self.order)))
            else "migrated"
        )


@dataclasses.dataclass
class Piece:
    """
    A block that is freed or moved as one: what is left of an allocation after splits.
    """

    of: Allocation
    pfn: int
    order: int
    whole: bool = True


class Kernel:
    """
    page_owner over a few hundred pages: it writes events and records as
    ``mm/page_owner.c`` does.

    ``copies_all``: ``__folio_copy_owner()`` writes the records of all pages of the
    block and leaves its own stack behind (6.9 and later), not only that of the head.
    ``tail_times``: ``__set_page_owner()`` looks at the clock for each page (before
    6.8).
    """

    def __init__(self, copies_all: bool, tail_times: bool = False) -> None:
        self.copies_all, self.tail_times = copies_all, tail_times
        # The time of the allocation that a page is of, which whoever writes events
        # finds out.
        self.begun = np.zeros(PAGES, np.uint64)
        self.records = np.zeros(PAGES, PAGE_RECORD)
        self.records["pfn"] = np.arange(FIRST, FIRST + PAGES)
        self.records["known"] = True
        self.events: list[NDArray[Any]] = []
        self.allocations: list[Allocation] = []
        self.pieces: list[Piece] = []
        self.free = set(range(FIRST, FIRST + PAGES))
        self.now = 1000

    # ---- page_owner.c ----

    def _event(self, kind: int, pfn: int, order: int, pid: int, **more: int) -> None:
        record, event = self.records[pfn - FIRST], np.zeros((), RECORD)
        for name in ("gfp_mask", "handle"):
            event[name] = record[name]
        event["ts_nsec"] = self.begun[pfn - FIRST]
        event["owner_pid"] = record["pid"]
        (
            event["event"],
            event["pfn"],
            event["order"],
            event["record_order"],
            event["pid"],
        ) = (
            kind,
            pfn,
            order,
            record["order"],
            pid,
        )
        event["mono_nsec"], event["time_nsec"] = (
            self.now,
            {SET: record["ts_nsec"], RESET: record["free_ts_nsec"]}.get(kind, 0),
        )
        for name, value in more.items():
            event[name] = value
        self.events.append(event)

    def _block(self, pfn: int, order: int) -> NDArray[Any]:
        return self.records[pfn - FIRST : pfn - FIRST + (1 << order)]

    def _set(self, pfn: int, order: int, pid: int, gfp: int, handle: int) -> int:
        block = self._block(pfn, order)
        for name, value in {
            "state": ALLOCATED,
            "ts_nsec": self.now,
            "order": order,
            "pid": pid,
            "gfp_mask": gfp,
            "handle": handle,
        }.items():
            block[name] = value
        begun, span = self.now, 0
        if self.tail_times:
            span = (1 << order) - 1
            block["ts_nsec"] += np.arange(span + 1, dtype=np.uint64)
            self.now += span
        self.begun[pfn - FIRST : pfn - FIRST + (1 << order)] = begun
        self._event(SET, pfn, order, pid, span_nsec=span)
        return begun

    def _reset(self, pfn: int, order: int, pid: int) -> None:
        block = self._block(pfn, order)
        block["state"], block["free_ts_nsec"], block["free_pid"] = FREED, self.now, pid
        self._event(RESET, pfn, order, pid)
        self.free |= set(range(pfn, pfn + (1 << order)))

    def _copy(self, new: int, old: int) -> None:
        source = self.records[old - FIRST]
        order, stack = int(source["order"]), int(self.records[new - FIRST]["handle"])
        for page in self._block(new, order if self.copies_all else 0):
            for name in ("ts_nsec", "order", "pid", "gfp_mask", "handle"):
                page[name] = source[name]
        self.begun[new - FIRST : new - FIRST + (1 << order)] = self.begun[old - FIRST]
        if self.copies_all:
            self._block(old, order)["handle"] = stack
        self._event(COPY, new, order, MIGRATOR, other_pfn=old)

    # ---- what a machine does ----

    def _place(self, order: int, dice: random.Random) -> int | None:
        size = 1 << order
        places = [
            pfn
            for pfn in range(FIRST, FIRST + PAGES, size)
            if all(page in self.free for page in range(pfn, pfn + size))
        ]
        return dice.choice(places[:4]) if places else None

    def _take(self, pfn: int, order: int) -> None:
        self.free -= set(range(pfn, pfn + (1 << order)))

    def _new(
        self, pfn: int, order: int, movable: bool, handle: int, pid: int
    ) -> Allocation:
        self._take(pfn, order)
        ts = self._set(pfn, order, pid, 0xCC0 | MOVABLE * movable, handle)
        one = Allocation(
            pfn, order, ts, movable, handle, held=set(range(pfn, pfn + (1 << order)))
        )
        self.allocations.append(one)
        return one

    def allocate(self, order: int, dice: random.Random) -> None:
        pfn = self._place(order, dice)
        if pfn is not None:
            one = self._new(
                pfn,
                order,
                dice.random() < 0.7,
                dice.randrange(10, 14),
                dice.randrange(100, 105),
            )
            self.pieces.append(Piece(one, pfn, order))

    def allocate_twins(self, dice: random.Random) -> None:
        """
        Two CPUs allocate in one nanosecond. Neither is moved, so that no page has been
        in both.
        """
        for _ in range(2):
            pfn = self._place(0, dice)
            if pfn is not None:
                self.pieces.append(Piece(self._new(pfn, 0, False, 20, 106), pfn, 0))

    def free_piece(self, piece: Piece, dice: random.Random) -> None:
        self._reset(piece.pfn, piece.order, dice.randrange(100, 105))
        self._gone(piece, piece.pfn, piece.order)
        self.pieces.remove(piece)

    def _gone(self, piece: Piece, pfn: int, order: int) -> None:
        piece.of.held -= set(range(pfn, pfn + (1 << order)))
        if not piece.of.held:
            piece.of.freed_ns = self.now

    def free_tails(self, piece: Piece) -> None:
        """
        ``__free_pages()`` of a block whose head somebody else still holds: the tails
        go, halves of ever lower orders.
        """
        for order in reversed(range(piece.order)):
            self._reset(piece.pfn + (1 << order), order, 107)
            self._gone(piece, piece.pfn + (1 << order), order)
            self.now += 1
        piece.order, piece.whole = 0, False

    def split(self, piece: Piece, new_order: int) -> None:
        self._block(piece.pfn, piece.order)["order"] = new_order
        self._event(SPLIT, piece.pfn, piece.order, 108, new_order=new_order)
        self.pieces.remove(piece)
        for pfn in range(piece.pfn, piece.pfn + (1 << piece.order), 1 << new_order):
            self.pieces.append(Piece(piece.of, pfn, new_order))
        piece.of.split = True

    def migrate(
        self, piece: Piece, dice: random.Random, compaction: bool, fails: bool
    ) -> None:
        """
        Move a piece.

        :param compaction: to a page of a larger block that was isolated and split, as
            compaction does up to 6.8
        """
        order = dice.randrange(1, 3) if compaction and piece.order == 0 else piece.order
        new = self._place(order, dice)
        if new is None:
            return
        target = self._new(new, order, True, 99, MIGRATOR)
        parts = [new]
        if order > piece.order:
            self.now += 1
            self._block(new, order)["order"] = 0
            self._event(SPLIT, new, order, MIGRATOR, new_order=0)
            parts = list(range(new, new + (1 << order)))
            new = dice.choice(parts)
        self.now += 1
        if not fails:
            target.target = True
            self._copy(new, piece.pfn)
            self.now += 1
            self._reset(piece.pfn, piece.order, MIGRATOR)
            size = 1 << piece.order
            piece.of.held = piece.of.held - set(
                range(piece.pfn, piece.pfn + size)
            ) | set(range(new, new + size))
            piece.pfn = new
            piece.of.moved_whole |= piece.order > 0
            parts.remove(new)
        for part in parts:
            self.now += 1
            self._reset(part, piece.order, MIGRATOR)
        target.held = set()
        target.split = False
        target.freed_ns = self.now

    def live(self, steps: int, dice: random.Random) -> None:
        """A random history."""
        for _ in range(steps):
            self.now += dice.randrange(1, 4)
            piece = dice.choice(self.pieces) if self.pieces else None
            match dice.randrange(10):
                case 0 | 1 | 2:
                    self.allocate(dice.choice((0, 0, 0, 1, 2, 4)), dice)
                case 3:
                    self.allocate_twins(dice)
                case 4 | 5 if piece:
                    self.free_piece(piece, dice)
                case 6 if piece and piece.order and piece.whole:
                    self.split(piece, dice.randrange(piece.order))
                case 7 if piece and piece.order and not piece.of.movable:
                    self.free_tails(piece)
                case 8 | 9 if piece and piece.of.movable and piece.whole:
                    self.migrate(
                        piece,
                        dice,
                        not self.copies_all and dice.random() < 0.5,
                        dice.random() < 0.2,
                    )
                case _:
                    pass

    # ---- what is seen of it ----

    def pages(self, pfns: NDArray[np.uint64]) -> NDArray[Any]:
        """
        The records of some pages, tails with the time of their head as
        :func:`page_owners_of_pfns` gives it to them.
        """
        found = self.records[pfns.astype(np.int64) - FIRST]
        if self.tail_times:
            heads = self.records[
                (found["pfn"] >> found["order"] << found["order"]).astype(np.int64)
                - FIRST
            ]
            tails = (heads["pfn"] < found["pfn"]) & (
                heads["ts_nsec"] <= found["ts_nsec"]
            )
            for name in ("order", "handle", "pid", "gfp_mask"):
                tails &= heads[name] == found[name]
            found["ts_nsec"][tails] = heads["ts_nsec"][tails]
        return found

    def captured(self, upto: int | None = None) -> NDArray[Any]:
        """The events."""
        return np.array(self.events[:upto], RECORD)

    def evidence(
        self,
        missing: Collection[int] = (),
        current: bool = True,
        until: int | None = None,
    ) -> Evidence:
        """What may be believed of the capture."""
        return Evidence(
            missing,
            self.now if until is None else until,
            current,
            MOVABLE,
            self.copies_all,
        )


def key(row: Any) -> tuple[int, int]:
    return int(row["pfn"]), int(row["ts_nsec"])


def truth(kernel: Kernel) -> dict[tuple[int, int], Allocation]:
    return {(one.pfn, one.ts): one for one in kernel.allocations}


def check_exact(kernel: Kernel, found: Correlation) -> None:
    """All rows say what is true, and no row is missing."""
    wanted = {at: one for at, one in truth(kernel).items() if not one.target}
    assert [key(row) for row in found.allocations] == list(wanted)
    assert found.targets == len(kernel.allocations) - len(wanted)
    for row, one in zip(found.allocations, wanted.values(), strict=True):
        state = STATES[row["state"]]
        if kernel.tail_times and one.moved_whole and one.split and state == "unknown":
            # Its tails have times of a target's tails on record, alone.
            continue
        assert state == one.state, (row, one)
        assert row["held"] == len(one.held)
        assert row["contradiction"] == 0
        if state == "freed":
            assert row["freed_ns"] == one.freed_ns
        away = one.held - set(range(one.pfn, one.pfn + (1 << one.order)))
        assert row["now_pfn"] == (min(away) if away else -1)


def check_nothing_false(kernel: Kernel, found: Correlation) -> None:
    """What is said is true, or that it is not known."""
    wanted = truth(kernel)
    for row in found.allocations:
        one, state = wanted[key(row)], STATES[row["state"]]
        if one.target:
            assert state in ("unknown", "reused", "freed"), (row, one)
        elif state in ("freed", "reused"):
            assert not one.held, (row, one)
        elif state != "unknown":
            assert one.held, (row, one)
            assert row["held"] <= len(one.held)
            assert state == one.state or one.state == "split", (row, one)


# Seed, steps, and which kernel: of 6.9 and later, of before that, and of before 6.8.
History = tuple[int, int, tuple[bool, bool]]
histories = st.tuples(
    st.integers(0, 2**32),
    st.integers(1, 120),
    st.sampled_from([(True, False), (False, False), (False, True)]),
)


def kernel_of(history: History) -> tuple[Kernel, random.Random]:
    seed, steps, which = history
    kernel, dice = Kernel(*which), random.Random(seed)
    kernel.live(steps, dice)
    return kernel, dice


@settings(max_examples=200, deadline=None)
@given(histories)
def test_a_whole_capture_and_the_pages_of_now_tell_all(history: History) -> None:
    kernel, _ = kernel_of(history)
    check_exact(kernel, correlate(kernel.captured(), kernel.pages, kernel.evidence()))


@settings(max_examples=200, deadline=None)
@given(histories)
def test_a_whole_capture_tells_all_without_pages(history: History) -> None:
    kernel, _ = kernel_of(history)
    found = correlate(kernel.captured(), None, kernel.evidence())
    assert not found.compared
    check_exact(kernel, found)


@settings(max_examples=100, deadline=None)
@given(histories)
def test_looking_at_few_pages_at_a_time_changes_nothing(history: History) -> None:
    kernel, _ = kernel_of(history)
    before = correlation_arrays._PIECE
    correlation_arrays._PIECE = 5
    try:
        check_exact(
            kernel, correlate(kernel.captured(), kernel.pages, kernel.evidence())
        )
    finally:
        correlation_arrays._PIECE = before


@settings(max_examples=300, deadline=None)
@given(
    histories,
    st.floats(0, 1),
    st.booleans(),
    st.sets(st.sampled_from((SET, RESET, COPY, SPLIT)), min_size=1),
)
def test_nothing_false_is_said_where_events_were_lost(
    history: History, share: float, compare: bool, kinds: set[int]
) -> None:
    kernel, dice = kernel_of(history)
    events = kernel.captured()
    events = events[
        [
            int(event["event"]) not in kinds or dice.random() >= share
            for event in kernel.events
        ]
    ]
    found = correlate(events, kernel.pages if compare else None, kernel.evidence(kinds))
    check_nothing_false(kernel, found)
    begun = {key(event) for event in events if event["event"] == SET}
    left_out = begun - {key(row) for row in found.allocations}
    assert not any(truth(kernel)[at].held for at in left_out)


@settings(max_examples=200, deadline=None)
@given(histories, st.floats(0, 1))
def test_nothing_false_is_said_of_what_happened_after_the_capture(
    history: History, share: float
) -> None:
    kernel, _ = kernel_of(history)
    events = kernel.captured()[: int(len(kernel.events) * share)]
    until = int(
        max(events["ts_nsec"].max(initial=0), events["time_nsec"].max(initial=0))
    )
    found = correlate(events, kernel.pages, kernel.evidence(current=False, until=until))
    check_nothing_false(kernel, found)
    assert not found.allocations["contradiction"].any()


# ---- one thing at a time ----


def event(kind: int, pfn: int, ts: int, order: int = 0, **more: int) -> NDArray[Any]:
    """One event; of a reset ``time_nsec`` says when."""
    made = np.zeros((), RECORD)
    made["event"], made["pfn"], made["ts_nsec"], made["order"] = kind, pfn, ts, order
    for name, value in more.items():
        made[name] = value
    return made


def record(pfn: int, state: int, ts: int, **more: int) -> NDArray[Any]:
    """What is on record of one page."""
    made = np.zeros((), PAGE_RECORD)
    made["pfn"], made["state"], made["ts_nsec"], made["known"] = pfn, state, ts, True
    for name, value in more.items():
        made[name] = value
    return made


def one(
    events: list[NDArray[Any]], pages: list[NDArray[Any]] | None = None, **evidence: Any
) -> Any:
    """
    The first allocation of a correlation with a few pages; of others nothing can be
    read.
    """

    def read(pfns: NDArray[np.uint64]) -> NDArray[Any]:
        found = np.zeros(len(pfns), PAGE_RECORD)
        for page in pages or ():
            found[pfns == page["pfn"]] = page
        return found

    return correlate(
        np.array(events, RECORD),
        read if pages is not None else None,
        Evidence(movable=MOVABLE, **evidence),
    ).allocations[0]


def told(row: Any) -> tuple[str, str | None]:
    return STATES[row["state"]], CONTRADICTIONS[row["contradiction"]]


def test_states_of_records_have_the_numbers_that_captures_have() -> None:
    assert (NEVER, FREED, ALLOCATED) == (0, 1, 2)


def test_no_events_are_no_allocations() -> None:
    found = correlate(np.zeros(0, RECORD))
    assert len(found.allocations) == 0 and found.targets == 0


def test_a_page_on_record_whose_free_was_captured_is_live_and_contradicts() -> None:
    events = [event(SET, 4, 100, 1), event(RESET, 4, 100, 1, time_nsec=150)]
    row = one(
        events,
        [record(4, ALLOCATED, 100, order=1), record(5, ALLOCATED, 100, order=1)],
        until=200,
        current=True,
    )
    assert (
        told(row) == ("live", CONTRADICTIONS[1])
        and row["held"] == 2
        and row["freed_ns"] == -1
    )


def test_a_free_that_was_not_captured_contradicts_and_a_later_one_does_not() -> None:
    for free_ts, said in ((150, CONTRADICTIONS[2]), (250, None)):
        row = one(
            [event(SET, 4, 100)],
            [record(4, FREED, 100, free_ts_nsec=free_ts, free_pid=9)],
            until=200,
        )
        assert told(row) == ("freed", said)
        assert (row["freed_ns"], row["free_pid"]) == (free_ts, 9)


def test_a_page_with_another_owner_is_reused_by_them() -> None:
    for ts, said in ((150, CONTRADICTIONS[3]), (250, None)):
        row = one(
            [event(SET, 4, 100)],
            [record(4, ALLOCATED, ts, pid=9)],
            until=200,
            current=True,
        )
        assert told(row) == ("reused", said) and row["reused_pid"] == 9
    row = one(
        [event(SET, 4, 100)],
        [record(4, ALLOCATED, 150, pid=9)],
        until=200,
        missing={RESET},
    )
    assert told(row) == (
        "reused",
        None,
    ), "what cannot be moved is over, whatever was lost"


def test_a_page_that_cannot_be_read_is_unknown() -> None:
    assert told(one([event(SET, 4, 100)], [], until=200)) == ("unknown", None)


def test_what_is_held_on_a_capture_with_losses_is_unknown_without_pages() -> None:
    assert told(one([event(SET, 4, 100)])) == ("live", None)
    assert told(one([event(SET, 4, 100)], missing={RESET})) == ("unknown", None)
    lost = [event(SET, 4, 100), event(RESET, 9, 0, flags=NO_RECORD)]
    assert told(one(lost)) == (
        "unknown",
        None,
    ), "whose page was freed could not be read"


def test_a_page_that_was_freed_and_later_migrated_away_unseen_is_unknown() -> None:
    events = [
        event(SET, 4, 100, 1, handle=1, gfp_mask=MOVABLE),
        event(SPLIT, 4, 100, 1, handle=1),
        event(RESET, 4, 100, handle=1, time_nsec=110),
        event(SET, 4, 120, handle=9, pid=7, gfp_mask=MOVABLE),
        event(COPY, 4, 100, handle=1, pid=7, other_pfn=5),
        event(RESET, 5, 100, handle=9, pid=7, time_nsec=130),
        # And on, by a copy that is lost: the migration's stack is on record.
        event(RESET, 4, 100, handle=9, pid=7, time_nsec=140),
    ]
    lost = {"missing": {COPY}, "until": 200, "current": True, "swaps_handles": True}
    assert told(one(events, **lost)) == ("unknown", None)
    events[-1]["handle"] = 1
    assert told(one(events, **lost)) == ("freed", None)


def test_allocations_that_are_not_asked_for_are_not_looked_at() -> None:
    looked: list[int] = []

    def pages(pfns: NDArray[np.uint64]) -> NDArray[Any]:
        looked.extend(pfns.tolist())
        return np.zeros(len(pfns), PAGE_RECORD)

    events = np.array(
        [
            event(SET, 4, 100),
            event(SET, 8, 101, 1),
            event(SET, 16, 102),
            event(RESET, 16, 102, time_nsec=110),
        ],
        RECORD,
    )
    found = correlate(events, pages, choose=lambda rows: rows["pfn"] > 4)
    assert found.allocations["pfn"].tolist() == [8, 16]
    assert sorted(looked) == [8, 9, 16]


# ---- tracepoints ----


def seen(kind: int, pfn: int, at: int, order: int = 0) -> NDArray[Any]:
    """
    An event of a kernel without page_owner: a free does not say whose page it was.
    """
    return event(
        kind,
        pfn,
        at if kind == SET else 0,
        order,
        time_nsec=at,
        mono_nsec=at,
        flags=TRACEPOINT | NO_RECORD,
    )


def outcomes(*events: NDArray[Any]) -> list[tuple[str, int, int]]:
    """State, pages held and time of the free of each allocation."""
    found = correlate(np.array(list(events), RECORD)).allocations
    return [
        (STATES[row["state"]], int(row["held"]), int(row["freed_ns"])) for row in found
    ]


def test_without_page_owner_a_free_is_of_the_latest_allocation_of_its_page() -> None:
    assert outcomes(
        seen(RESET, 4, 1),
        seen(SET, 4, 2, 1),
        seen(RESET, 4, 3, 1),
        seen(SET, 4, 4, 1),
        seen(SET, 8, 5),
        seen(RESET, 4, 6, 1),
    ) == [("freed", 0, 3), ("freed", 0, 6), ("live", 1, -1)]


def test_without_page_owner_a_block_may_be_freed_in_pieces() -> None:
    assert outcomes(seen(SET, 4, 1, 2), seen(RESET, 5, 2), seen(RESET, 6, 3, 1)) == [
        ("live", 1, -1)
    ]
    assert outcomes(seen(SET, 4, 1, 1), seen(RESET, 5, 2), seen(RESET, 4, 3)) == [
        ("freed", 0, 3)
    ]


def test_without_page_owner_an_allocation_ends_where_another_begins() -> None:
    assert outcomes(seen(SET, 4, 1), seen(SET, 4, 2)) == [
        ("freed", 0, -1),
        ("live", 1, -1),
    ]
    assert outcomes(seen(SET, 5, 1), seen(SET, 4, 2, 2)) == [
        ("freed", 0, -1),
        ("live", 4, -1),
    ]
    assert outcomes(seen(SET, 4, 1, 2), seen(SET, 6, 2, 1)) == [
        ("live", 2, -1),
        ("live", 2, -1),
    ]
    assert outcomes(seen(SET, 4, 1, 1), seen(RESET, 4, 2), seen(SET, 5, 3)) == [
        ("freed", 0, -1),
        ("live", 1, -1),
    ]


# ---- reading records ----


@given(
    st.lists(st.integers(0, 5 * 256 - 1), max_size=40),
    st.integers(0, 3),
    st.integers(1, 600),
)
def test_records_of_some_pages_are_those_that_each_page_has(
    pfns: list[int], missing: int, near: int
) -> None:
    kernel = PageOwnerKernel()
    sections: dict[int, bytes | None] = {
        nr: b"".join(
            kernel.record(
                i % 3 > 0,
                i % 3 > 1,
                order=i % 4,
                ts_nsec=256 * nr + i,
                pid=nr,
                free_pid=7,
                comm=b"c%d" % i,
            )
            for i in range(256)
        )
        for nr in range(1, 5)
        if nr != missing
    }
    addresses = kernel.add_sections(sections)
    kernel.forget(addresses[4] + 4096, addresses[4] + 8192)
    before, page_owner_bulk._NEAR = page_owner_bulk._NEAR, near
    try:
        found = page_owners_of_pfns(kernel.prog, np.array(pfns, np.uint64))
    finally:
        page_owner_bulk._NEAR = before
    assert found["pfn"].tolist() == pfns
    for row in found:
        try:
            wanted = page_owner_of_pfn(kernel.prog, int(row["pfn"]))
        except FaultError:
            wanted = None
        assert bool(row["known"]) == (wanted is not None)
        if wanted is None:
            assert row["state"] == NEVER and row["ts_nsec"] == 0
            continue
        for name in ("state", "order", "ts_nsec", "pid", "free_pid", "handle"):
            assert row[name] == getattr(wanted, name)
        assert decode_comm(row["comm"]) == wanted.comm

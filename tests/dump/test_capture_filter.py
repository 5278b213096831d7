# SPDX-License-Identifier: GPL-2.0-or-later
"""
Filters as they are typed, and what the kernel is told; the words are those of the
dump's kernel.
"""

from __future__ import annotations

import argparse
import shlex
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from known import ORDINARY

from pagedbg.capture.kernel_description import names_of
from pagedbg.errors import UsageError
from pagedbg.schema import event_record
from pagedbg.schema.event_filter import (
    EVERYTHING,
    OPTIONS,
    EventFilter,
    describe,
    filter_of,
)
from pagedbg.schema.filter_record import pack, unpack
from pagedbg.schema.filter_words import (
    parse_names,
    parse_orders,
    participates,
    participation_hash,
)
from pagedbg.schema.recorded_names import RecordedNames
from pagedbg.session import Session
from pagedbg.shell.recording_options import filter_asked
from pagedbg.target.opening import open_target


@pytest.fixture(scope="module")
def names() -> RecordedNames:
    return names_of(open_target(str(ORDINARY)).prog)


def told(names: RecordedNames, typed: dict[str, str]) -> np.ndarray[Any, Any]:
    """What the kernel is told."""
    return pack(filter_of(typed, names), names)


def test_what_a_command_line_asks_takes_the_place_of_what_was_asked_before() -> None:
    session = Session(open_target(str(ORDINARY)))

    def asked(base: EventFilter, **typed: str) -> EventFilter:
        args = argparse.Namespace(**{**dict.fromkeys(OPTIONS), **typed})
        return filter_asked(session, args, base)

    first = asked(EVERYTHING, orders="4", zone="dma*")
    assert describe(first) == "--orders 4 --zone DMA,DMA32"
    assert describe(asked(first, orders=">=3", gfp="__GFP_COMP")) == (
        "--orders '>=3' --gfp __GFP_COMP --zone DMA,DMA32"
    )
    with pytest.raises(UsageError, match="--zone: there is no zone 'Normal' here"):
        asked(first, zone="Normal")


def test_no_options_let_everything_pass_but_reads(names: RecordedNames) -> None:
    filter_ = told(names, {})
    assert (filter_["threshold"][: event_record.MOST_ORDER + 1] == 1 << 32).all()
    assert filter_["orders"] == event_record.MOST_ORDER + 1
    for kind in event_record.EVENT_NAMES:
        assert filter_["events"] >> kind & 1 == (kind != event_record.READ)
    every = told(names, {"events": "all"})
    assert every["events"] == filter_["events"] | 1 << event_record.READ
    assert not filter_["more"]


@given(
    st.integers(0, 10),
    st.integers(0, 10),
    st.floats(0, 100),
    st.lists(st.integers(0, 2**63), min_size=1, max_size=50),
)
def test_a_threshold_chooses_whom_the_other_commands_choose(
    low: int, more: int, percent: float, keys: list[int]
) -> None:
    text = f"{low}-{low + more}:{percent:f}"
    filter_ = told(RecordedNames(), {"orders": text})
    orders = parse_orders(text)
    words = np.array(keys, np.uint64)
    for order in range(22):
        there = participation_hash(words) < filter_["threshold"][order]
        assert (there == orders.mask(np.full(len(words), order), words)).all()
    assert participates(words, 100).all()


def test_the_greatest_order_is_noted(names: RecordedNames) -> None:
    assert told(names, {"orders": "0:20,4"})["orders"] == 5
    assert told(names, {"orders": "4:0"})["orders"] == 0


def test_the_larger_share_counts_where_two_name_an_order(names: RecordedNames) -> None:
    assert told(names, {"orders": "0-3:10,2:50"})["threshold"][:4].tolist() == [
        int(2**32 * p / 100) for p in (10, 10, 50, 10)
    ]


def test_events_become_a_mask(names: RecordedNames) -> None:
    assert (
        told(names, {"events": "set, migrate"})["events"]
        == 1 << event_record.SET | 1 << event_record.SET_MIGRATE
    )


def test_flags_and_migratetypes_are_the_kernels(names: RecordedNames) -> None:
    filter_ = told(names, {"gfp": "__GFP_COMP|__GFP_ZERO", "migratetype": "movable"})
    assert filter_["gfp_mask"].item().bit_count() == 2
    assert filter_["migratetypes"] == 2
    assert filter_["more"]


def test_pids_and_pages_become_closed_ranges(names: RecordedNames) -> None:
    filter_ = told(names, {"pid": "1,10-20", "pfns": "0x100+16"})
    assert filter_["pid"][:2].tolist() == [(1, 1), (10, 20)]
    assert (filter_["ranges"], filter_["range"][0].tolist()) == (1, (0x100, 0x10F))


def test_a_zone_and_a_range_are_both_required(names: RecordedNames) -> None:
    everywhere = told(names, {"zone": "DMA*"})
    here = told(names, {"zone": "DMA*", "pfns": "0-0xff"})
    assert everywhere["range"][0]["end"] > here["range"][0]["end"] == 0xFF


def test_pages_outside_of_the_zone_leave_nothing(names: RecordedNames) -> None:
    filter_ = told(names, {"zone": "DMA", "pfns": "0x100000-0x200000"})
    start, end = filter_["range"][0].tolist()
    assert filter_["ranges"] == 1
    assert start > end


def matches(pattern: str, comm: str) -> bool:
    """As bpf/capture.bpf.c compares."""
    filter_ = told(RecordedNames(), {"comm": pattern})
    words = np.frombuffer(comm.encode()[:15].ljust(16, b"\0"), "<u8")
    return any(
        ((words & name["mask"]) == name["value"]).all()
        for name in filter_["comm"][: int(filter_["comms"])]
    )


NAMES = st.text(st.sampled_from("ab?"), min_size=1, max_size=16)


@given(NAMES, st.booleans(), st.text(st.sampled_from("abc"), min_size=1, max_size=15))
def test_names_match_in_the_kernel_as_elsewhere(
    pattern: str, star: bool, comm: str
) -> None:
    typed = pattern + "*" * star
    if len(pattern) <= 15:
        # A "?" may also stand for the end of the name, which no filter of a shell's
        # kind can say of a fixed number of bytes.
        if "?" in pattern[len(comm) :]:
            return
        assert matches(typed, comm) == parse_names(typed)(comm)


def test_a_name_that_is_too_long_is_cut_as_the_kernel_cuts_it() -> None:
    assert matches("a-very-long-program-name", "a-very-long-pro")
    assert not matches("a-very-long-program-name", "a-very-long-pr")


@pytest.mark.parametrize(
    ("option", "text", "said"),
    [
        ("orders", "x", "--orders: 'x' names no orders"),
        ("orders", "40", "--orders: no allocation has an order of 40"),
        ("events", "fork", "--events: there is no event 'fork'"),
        ("comm", "a*b", "--comm: 'a*b' cannot be matched in the kernel"),
        ("comm", ",".join("abcdefghi"), "--comm: 9 names are more than the 8"),
        ("pid", ",".join(map(str, range(9))), "--pid: 9 ranges are more than the 8"),
        ("pid", str(1 << 80), "is more than any process can have for a number"),
        ("gfp", "0x100000000", "has more than the 32 bits"),
        (
            "migratetype",
            "CMA",
            "--migratetype: there is no migratetype that an allocation asks for 'CMA'",
        ),
        ("zone", "Nowhere", "there is no zone 'Nowhere' here"),
        ("gfp", "__GFP_NONSENSE", "--gfp: "),
    ],
)
def test_what_cannot_be_told_is_refused_in_a_sentence(
    names: RecordedNames, option: str, text: str, said: str
) -> None:
    with pytest.raises(UsageError) as refused:
        told(names, {option: text})
    assert said in str(refused.value)


def test_options_are_described_as_they_would_be_typed() -> None:
    typed = {"comm": "sh", "orders": ">=3"}
    assert describe(filter_of(typed, RecordedNames())) == "--orders '>=3' --comm sh"
    assert describe(EVERYTHING) == "everything but read"
    assert "age" not in OPTIONS


@pytest.mark.parametrize(
    "options",
    [
        {"orders": "4"},
        {"orders": "0:20,1-2:0.5,4-6"},
        {"orders": ">=3"},
        {"events": "set,reset,migrate"},
        {"gfp": "__GFP_COMP|__GFP_ZERO", "migratetype": "Movable"},
        {"pid": "1,10-20", "comm": "sh,kworker*,a?c,a-name-as-long*"},
        {"orders": "4", "pfns": "0x100-0x10f"},
    ],
)
def test_a_filter_in_a_dump_is_described_as_it_would_be_typed(
    names: RecordedNames, options: dict[str, str]
) -> None:
    filter_ = told(names, options)
    words = describe(unpack(filter_, names))
    typed = {
        name.removeprefix("--"): text
        for name, text in zip(*[iter(shlex.split(words))] * 2, strict=True)
    }
    assert typed == options
    assert told(names, typed) == filter_

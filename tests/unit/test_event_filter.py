# SPDX-License-Identifier: GPL-2.0-or-later
"""
What is recorded is one value, whichever way it goes: typed, in JSON, packed for the
kernel and taken out of a dump, and in words.
"""

from __future__ import annotations

import contextlib
import shlex
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagedbg.errors import UsageError
from pagedbg.schema import event_filter
from pagedbg.schema.event_filter import (
    COMMS,
    OPTIONS,
    PIDS,
    EventFilter,
    OrderShare,
    describe,
    filter_of,
)
from pagedbg.schema.event_record import KINDS_BY_WORD, MOST_ORDER, USUAL_WORDS
from pagedbg.schema.filter_record import FILTER, pack, unpack
from pagedbg.schema.recorded_names import RecordedNames, Zone

NAMES = RecordedNames(
    gfp=[
        (0xCC0, "GFP_KERNEL"),
        (0x8, "__GFP_MOVABLE"),
        (0x10, "__GFP_RECLAIMABLE"),
        (0x40, "__GFP_IO"),
        (0x80, "__GFP_FS"),
        (0xC00, "__GFP_RECLAIM"),
        (0x40000, "__GFP_COMP"),
    ],
    migratetype=["Unmovable", "Movable", "Reclaimable", "HighAtomic", "CMA"],
    zones=[
        Zone(0, "DMA", 1, 0x1000),
        Zone(0, "DMA32", 0x1000, 0x100000),
        Zone(0, "Normal", 0x100000, 0x200000),
        Zone(1, "Normal", 0x200000, 0x400000),
    ],
)


def listed(each: st.SearchStrategy[str], most: int = 4) -> st.SearchStrategy[str]:
    return st.lists(each, min_size=1, max_size=most).map(",".join)


def spans(most: int) -> st.SearchStrategy[str]:
    number = st.integers(0, most)
    return st.one_of(
        number.map(str),
        number.map(hex),
        number.map(lambda low: f">={low}"),
        st.tuples(number, number).map(lambda two: f"{min(two)}-{max(two)}"),
    )


percents = st.one_of(
    st.just(""),
    st.integers(0, 100).map(lambda percent: f":{percent}"),
    st.floats(0, 100).map(lambda percent: f":{percent!r}"),
)
orders = st.tuples(spans(MOST_ORDER), percents).map("".join)
flags = st.one_of(
    st.sampled_from([name for _, name in NAMES.gfp] + ["gfp_kernel"]),
    st.integers(0, (1 << 32) - 1).map(hex),
)
comms = st.tuples(
    st.text("ab?-:'é\udcff", min_size=1, max_size=20),
    st.sampled_from(["", "*"]),
).map("".join)
pages = st.integers(0, 1 << 22)

TYPED = st.fixed_dictionaries(
    {},
    optional={
        "orders": listed(orders),
        "events": listed(st.sampled_from(list(KINDS_BY_WORD))),
        "gfp": st.lists(flags, min_size=1, max_size=3).map("|".join),
        "migratetype": listed(st.sampled_from(["movable", "Un*", "*e", "HighAtomic"])),
        "zone": listed(st.sampled_from(["DMA*", "normal", "DMA32", "*"])),
        "node": listed(spans(3)),
        "pid": listed(spans(event_filter.MOST_NUMBER), PIDS),
        "comm": listed(comms, COMMS),
        "pfns": st.one_of(
            st.tuples(pages, pages).map(lambda two: f"{min(two):#x}-{max(two):#x}"),
            pages.map(lambda first: f"{first}+1"),
        ),
    },
)


@given(TYPED)
def test_a_filter_comes_back_from_json_from_the_kernel_and_from_words(
    typed: dict[str, str],
) -> None:
    made = filter_of(typed, NAMES)
    assert msgspec.json.decode(msgspec.json.encode(made), type=EventFilter) == made
    packed = pack(made, NAMES)
    found = unpack(packed, NAMES)
    assert pack(found, NAMES) == packed
    if made.zone is made.node is None:
        assert found == made
    else:
        # The kernel is told pages.
        without = {"zone": None, "node": None, "pfns": None}
        assert msgspec.structs.replace(found, pfns=None) == msgspec.structs.replace(
            made, **without
        )
    words = shlex.split(describe(made))
    if made == EventFilter():
        assert words == ["everything", "but", "read"]
    else:
        again = zip(*[iter(words)] * 2, strict=True)
        retyped = {name.removeprefix("--"): text for name, text in again}
        assert filter_of(retyped, NAMES) == made


@given(
    st.lists(
        st.tuples(
            st.text(
                st.sampled_from("a?*[],' é\n\\") | st.characters(codec="utf-8"),
                max_size=15,
            ),
            st.sampled_from(["", "*"]),
        ).map("".join),
        min_size=1,
        max_size=COMMS,
    )
)
def test_what_is_said_of_names_that_others_told_the_kernel_can_be_typed(
    patterns: list[str],
) -> None:
    try:
        made = EventFilter(comm=tuple(patterns))
    except ValueError:
        assert any(
            not each or "\0" in each or len(each.encode(errors="replace")) > 15
            for each in patterns
        )
        return
    _, typed = shlex.split(describe(made))
    again = filter_of({"comm": typed}, NAMES)
    assert pack(again, NAMES) == pack(made, NAMES)
    assert filter_of({"comm": shlex.split(describe(again))[1]}, NAMES) == again


@given(TYPED, TYPED)
def test_options_take_the_place_of_what_was_set_for_them_before(
    first: dict[str, str], second: dict[str, str]
) -> None:
    assert filter_of(second, NAMES, filter_of(first, NAMES)) == filter_of(
        {**first, **second}, NAMES
    )


@given(st.sampled_from(OPTIONS), st.text(max_size=12) | st.text("09a:-,>=*?|[\udc80"))
def test_any_text_makes_a_filter_or_a_sentence(option: str, text: str) -> None:
    try:
        made = filter_of({option: text}, NAMES)
    except UsageError as error:
        assert str(error).startswith(f"--{option}: ")
        assert "\n" not in str(error).replace(repr(text), "")
        return
    assert msgspec.json.decode(msgspec.json.encode(made), type=EventFilter) == made
    with contextlib.suppress(UsageError):
        pack(made, NAMES)


def test_each_option_is_a_word_with_a_value() -> None:
    assert tuple(event_filter._WORDS) == OPTIONS


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ({"orders": "4"}, EventFilter(orders=(OrderShare(4, 4),))),
        ({"orders": ">=0"}, EventFilter()),
        ({"orders": "4:0"}, EventFilter(orders=())),
        (
            {"orders": "2:50,0-3:20,1:10"},
            EventFilter(
                orders=(
                    OrderShare(0, 1, 20.0),
                    OrderShare(2, 2, 50.0),
                    OrderShare(3, 3, 20.0),
                )
            ),
        ),
        ({"events": "reset,set,set"}, EventFilter(events=("set", "reset"))),
        ({"events": "all"}, EventFilter(events=tuple(KINDS_BY_WORD))),
        ({"events": ",".join(USUAL_WORDS)}, EventFilter()),
        ({"events": "read"}, EventFilter(events=("read",))),
        (
            {"gfp": "__GFP_FS|__GFP_IO|__GFP_RECLAIM"},
            EventFilter(gfp=("GFP_KERNEL",)),
        ),
        ({"migratetype": "mov*"}, EventFilter(migratetype=("Movable",))),
        ({"zone": "dma*"}, EventFilter(zone=("DMA", "DMA32"))),
        ({"pid": "7,>=9"}, EventFilter(pid=((7, 7), (9, None)))),
        ({"comm": "Web Content, a?*"}, EventFilter(comm=("Web Content", "a*"))),
        ({"comm": "a-very-long-program"}, EventFilter(comm=("a-very-long-pro",))),
        ({"pfns": "0x10+16"}, EventFilter(pfns=((16, 31),))),
    ],
)
def test_what_means_the_same_is_the_same_value(
    typed: dict[str, str], value: EventFilter
) -> None:
    assert filter_of(typed, NAMES) == value


@pytest.mark.parametrize(
    ("filter_", "words"),
    [
        (EventFilter(orders=()), "--orders 0:0"),
        (EventFilter(orders=(OrderShare(3, MOST_ORDER),)), "--orders '>=3'"),
        (EventFilter(orders=(OrderShare(0, 0, 0.5),)), "--orders 0:0.5"),
        (EventFilter(gfp=("GFP_KERNEL", "0x10")), "--gfp 'GFP_KERNEL|0x10'"),
        (EventFilter(comm=("it's",)), "--comm 'it'\\''s'"),
        (EventFilter(pfns=((16, 16), (32, 63))), "--pfns 0x10,0x20-0x3f"),
        (EventFilter(pfns=()), "--pfns none"),
        (EventFilter(), "everything but read"),
        (EventFilter(events=tuple(KINDS_BY_WORD)), "--events all"),
        (None, "(the filter could not be read)"),
    ],
)
def test_a_filter_in_words(filter_: EventFilter | None, words: str) -> None:
    assert describe(filter_) == words


@pytest.mark.parametrize(
    ("zones", "said"),
    [
        (
            [Zone(0, "DMA", 0, 10), Zone(1, "Normal", 5, 20)],
            "lie interleaved",
        ),
        (
            [Zone(node, "DMA", 100 * node, 100 * node + 9) for node in range(17)],
            "17 pieces of memory are more than the 16",
        ),
    ],
)
def test_memory_that_the_kernel_cannot_be_told_is_refused(
    zones: list[Zone], said: str
) -> None:
    names = RecordedNames(zones=zones)
    with pytest.raises(UsageError, match=said):
        pack(filter_of({"zone": "DMA"}, names), names)


def test_zones_that_have_none_of_the_pages_leave_none() -> None:
    packed = pack(filter_of({"zone": "DMA", "pfns": "0x100000"}, NAMES), NAMES)
    assert unpack(packed, NAMES) == EventFilter(pfns=())


def test_where_no_name_is_known_numbers_stand_for_them() -> None:
    packed = pack(filter_of({"gfp": "GFP_KERNEL", "migratetype": "Mov*"}, NAMES), NAMES)
    assert unpack(packed, RecordedNames()) == EventFilter(
        gfp=("0xcc0",), migratetype=("1",)
    )


@given(st.binary(min_size=FILTER.itemsize))
def test_any_bytes_in_a_dump_are_a_filter_that_can_be_kept_or_a_damaged_one(
    noise: bytes,
) -> None:
    packed = np.frombuffer(noise, FILTER, 1)[0]
    try:
        found = unpack(packed, NAMES)
    except ValueError:
        return
    assert msgspec.json.decode(msgspec.json.encode(found), type=EventFilter) == found
    assert describe(found)


@pytest.mark.parametrize("count", ["pids", "comms", "ranges"])
def test_more_than_there_is_room_for_is_damaged(count: str) -> None:
    packed = pack(EventFilter(), NAMES)
    packed[count] = 1 << 31
    with pytest.raises(ValueError, match="damaged"):
        unpack(packed, NAMES)


@pytest.mark.parametrize(
    "value",
    [
        {"orders": [{"low": 0, "high": 21}]},
        {"orders": [{"low": 0, "high": 1, "percent": 0}]},
        {"events": ["fork"]},
        {"gfp": []},
        {"pid": [[-1, 3]]},
        {"pfns": [[0, 1 << 53]]},
        {"stack": "x"},
        "everything",
    ],
)
def test_what_is_no_filter_is_refused(value: Any) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode(value), type=EventFilter)

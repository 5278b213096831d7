# SPDX-License-Identifier: GPL-2.0-or-later
"""
The words of the filters: what they choose, and that what means nothing is refused in
one sentence.
"""

from __future__ import annotations

import contextlib
import fnmatch
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagedbg.errors import UsageError
from pagedbg.schema.filter_words import (
    number,
    parse_age,
    parse_all_of_orders,
    parse_kinds,
    parse_names,
    parse_numbers,
    parse_orders,
    parse_pfns,
    parse_regex,
    participates,
)

PARSERS: dict[str, Callable[[str], Any]] = {
    "numbers": parse_numbers,
    "orders": parse_orders,
    "pfns": parse_pfns,
    "age": parse_age,
    "names": parse_names,
    "regex": parse_regex,
}
numbers = st.integers(0, 1 << 40)


# ---- numbers ----------


@given(numbers)
def test_a_number_is_decimal_or_hexadecimal(value: int) -> None:
    assert (
        number(str(value)) == number(f"0x{value:x}") == number(f"0X{value:X}") == value
    )
    # A dump's listing has addresses without 0x: a letter tells.
    assert number(f"f{value:x}") == int(f"f{value:x}", 16)


def test_leading_zeros_do_not_make_a_number_octal() -> None:
    assert number("010") == 10


@given(
    st.lists(st.tuples(numbers, numbers), min_size=1, max_size=4),
    st.lists(numbers, max_size=20),
)
def test_ranges_are_closed_and_several_add_up(
    pairs: list[tuple[int, int]], more: list[int]
) -> None:
    ranges = [(min(pair), max(pair)) for pair in pairs]
    values = more + [
        edge + step for pair in ranges for edge in pair for step in (-1, 0, 1)
    ]
    mask = parse_numbers(", ".join(f"{low}-{high}" for low, high in ranges)).mask(
        np.array(values)
    )
    assert mask.tolist() == [
        any(low <= value <= high for low, high in ranges) for value in values
    ]


@given(numbers.filter(bool), st.lists(numbers, min_size=1))
def test_comparisons_choose_one_side(limit: int, more: list[int]) -> None:
    values = [*more, limit - 1, limit, limit + 1]
    for sign, chosen in {
        ">=": limit.__le__,
        ">": limit.__lt__,
        "<=": limit.__ge__,
        "<": limit.__gt__,
    }.items():
        assert parse_numbers(f"{sign}{limit}").mask(np.array(values)).tolist() == [
            chosen(value) for value in values
        ]
        assert parse_numbers(f"{sign} {limit:#x}").mask(np.array(values)).tolist() == [
            chosen(value) for value in values
        ]


def test_a_number_may_be_greater_than_the_column_can_hold() -> None:
    for dtype in (np.int16, np.int32, np.uint32, np.uint64):
        values = np.array([0, 5], dtype)
        assert parse_numbers("5, 99999999999999999999999").mask(values).tolist() == [
            False,
            True,
        ]
        assert parse_numbers(">=0").mask(values).tolist() == [True, True]


@pytest.mark.parametrize("text", ["abc", "1,abc", ">=abc", "1-f", "-x", "1f"])
def test_a_word_is_no_number_of_a_process_even_if_it_could_be_in_hexadecimals(
    text: str,
) -> None:
    with pytest.raises(UsageError, match="is not a number; write"):
        parse_numbers(text)
    assert parse_numbers("0xabc").mask(np.array([0xABC])).all()


# ---- orders and participation ----------

keys = st.integers(0, (1 << 64) - 1)


@given(st.lists(keys, min_size=1, max_size=50), st.floats(0, 100), st.floats(0, 100))
def test_whoever_takes_part_at_a_percentage_takes_part_at_every_greater_one(
    times: list[int], a: float, b: float
) -> None:
    low, high = sorted((a, b))
    array = np.array(times, np.uint64)
    assert not (participates(array, low) & ~participates(array, high)).any()


@given(st.lists(keys, min_size=1, max_size=50), st.floats(0, 100))
def test_whether_one_takes_part_does_not_depend_on_its_neighbours(
    times: list[int], percent: float
) -> None:
    together = participates(np.array(times, np.uint64), percent).tolist()
    assert together == [
        bool(participates(np.array([time], np.uint64), percent)[0]) for time in times
    ]


def test_participation_is_by_the_hash_of_ring_h() -> None:
    # In Python's own numbers: C has the same, see test_capture_layout.
    def mixed(time: int) -> int:
        first = time * 0x61C8864680B583EB & (1 << 64) - 1
        return ((first ^ first >> 32) * 0x61C8864680B583EB & (1 << 64) - 1) >> 32

    times = [0, 1, 12345, 19462246624, (1 << 64) - 1, *range(7, 10**12, 10**12 // 997)]
    for percent in (0, 0.5, 20, 50, 99.9, 100):
        expected = [mixed(time) < int(2**32 * percent / 100) for time in times]
        assert participates(np.array(times, np.uint64), percent).tolist() == expected


@pytest.mark.parametrize("percent", [1, 20, 50, 90])
@pytest.mark.parametrize("step", [1, 8, 977, 4096, 9_973, 250_000, 1_000_003, 1 << 20])
def test_about_the_percentage_takes_part_however_regular_the_times(
    percent: int, step: int
) -> None:
    times = np.arange(0, 50_000, dtype=np.uint64) * np.uint64(step) + np.uint64(
        16_267_110_684
    )
    # Within four standard deviations of chance.
    assert (
        abs(participates(times, percent).mean() - percent / 100)
        < 4 * (percent / 100 * (1 - percent / 100) / 50_000) ** 0.5
    )


@given(st.lists(st.tuples(st.integers(0, 20), keys), max_size=40), st.integers(0, 100))
def test_orders_with_a_percentage_are_thinned_and_the_others_are_whole(
    blocks: list[tuple[int, int]], percent: int
) -> None:
    orders = np.array([order for order, _ in blocks], np.uint64)
    times = np.array([time for _, time in blocks], np.uint64)
    chosen = parse_orders(f"0:{percent},3-4").mask(orders, times)
    for (order, time), there in zip(blocks, chosen.tolist(), strict=True):
        whole = 3 <= order <= 4
        thinned = order == 0 and (
            percent == 100
            or bool(participates(np.array([time], np.uint64), percent)[0])
        )
        assert there == (whole or thinned)


def test_none_of_zero_per_cent_and_all_of_a_hundred_take_part() -> None:
    orders, times = np.zeros(1000, np.uint64), np.arange(1000, dtype=np.uint64)
    assert not parse_orders("0:0").mask(orders, times).any()
    assert parse_orders("0:100").mask(orders, times).all()


# ---- pages ----------


@given(numbers, st.integers(1, 1 << 20))
def test_pages_are_one_or_a_closed_range_or_a_count(first: int, count: int) -> None:
    assert parse_pfns(f"{first:#x}+{count}") == (first, first + count)
    assert parse_pfns(f"{first}-{first + count - 1:#x}") == (first, first + count)
    assert parse_pfns(str(first)) == (first, first + 1)


# ---- ages ----------


@given(
    st.sampled_from(
        [
            ("ns", 1),
            ("us", 10**3),
            ("ms", 10**6),
            ("s", 10**9),
            ("m", 60 * 10**9),
            ("h", 3600 * 10**9),
            ("d", 86400 * 10**9),
        ]
    ),
    st.integers(1, 1000),
)
def test_ages_have_units(unit: tuple[str, int], value: int) -> None:
    limit = value * unit[1]
    ages = np.array([limit - 1, limit, limit + 1])
    assert parse_age(f">{value}{unit[0]}").mask(ages).tolist() == [False, True, True]
    assert parse_age(f"<{value}{unit[0]}").mask(ages).tolist() == [True, True, False]
    assert parse_age(f"{value}{unit[0]}").mask(ages).tolist() == [False, True, True]
    assert parse_age(f"{value}{unit[0]}-{value + 1}{unit[0]}").mask(ages).tolist() == [
        False,
        True,
        limit + 1 <= limit + unit[1],
    ]


def test_an_age_without_a_unit_is_in_seconds_and_may_have_a_fraction() -> None:
    assert parse_age("3") == parse_age("3s") == parse_age("3000ms")
    assert parse_age("1.5h") == parse_age("90m")


def test_what_is_younger_than_now_has_no_negative_age_to_trip_over() -> None:
    # On a running kernel the clock was read before the last records were written.
    assert parse_age("<1s").mask(np.array([-5, 5])).tolist() == [True, True]
    assert parse_age(">0s").mask(np.array([-5, 5])).tolist() == [False, True]


# ---- names ----------


@given(
    st.lists(st.text("abkworker/0:", min_size=1), min_size=1, max_size=3),
    st.text("abkworker/0:", min_size=1),
)
def test_a_name_has_to_match_as_a_whole(patterns: list[str], name: str) -> None:
    assert parse_names(",".join(patterns))(name) == (name in patterns)


@pytest.mark.parametrize(
    "pattern, name",
    [
        ("kworker/*", "kworker/0:1"),
        ("k?worker", "k-worker"),
        ("[ab]sh", "ash"),
        ("*", ""),
        ("a, b", "b"),
    ],
)
def test_names_match_as_in_a_shell(pattern: str, name: str) -> None:
    assert parse_names(pattern)(name)
    assert not parse_names(pattern)(f"{name}\n{name}") or "*" in pattern


def test_comms_are_told_apart_by_case_and_zones_are_not() -> None:
    assert not parse_names("bash")("Bash")
    assert parse_kinds("normal", ["DMA", "Normal"], "zone")("Normal")


def test_no_name_is_not_the_empty_name() -> None:
    assert not parse_names("*")(None)


@given(st.text(max_size=20))
def test_a_kind_that_matches_none_of_those_there_are_is_refused_with_the_list(
    text: str,
) -> None:
    known = ["DMA", "DMA32", "Normal"]
    words = [word.strip().lower() for word in text.split(",") if word.strip()]
    if words and all(
        any(fnmatch.fnmatchcase(name.lower(), word) for name in known) for word in words
    ):
        parse_kinds(text, known, "zone")
    else:
        with pytest.raises(UsageError) as refusal:
            parse_kinds(text, known, "zone")
        assert "DMA, DMA32, Normal" in str(refusal.value) or "missing" in str(
            refusal.value
        )


# ---- stacks ----------


def test_a_regular_expression_is_looked_for_in_every_frame() -> None:
    stack = [
        "get_page_from_freelist+0x141d/0x15a0",
        "pagedbg_alloc_order9+0x15/0x20 [pagedbg_blocks]",
    ]
    assert parse_regex("order[0-9]")(stack)
    assert parse_regex(r"\[pagedbg_")(stack)
    assert parse_regex("^get_page")(stack)
    assert not parse_regex("^order9")(stack)
    assert not parse_regex("freelist.*order9")(stack)
    assert not parse_regex("")([])


# ---- refusals ----------


@pytest.mark.parametrize(
    "parser, text",
    [
        *(
            ("numbers", text)
            for text in (
                "",
                "x",
                "4-",
                "-",
                "9-4",
                "4..9",
                "1,,2",
                ">=",
                "<0",
                ">x",
                "0x",
                "1.5",
                "--1",
                "=4",
            )
        ),
        *(
            ("orders", text)
            for text in (
                "",
                "x",
                "4:",
                ":5",
                "4:x",
                "4:101",
                "4:-1",
                "4:nan",
                "4:inf",
                "9-4",
                "4:5:6",
                "1;2",
            )
        ),
        *(
            ("pfns", text)
            for text in (
                "",
                "x",
                "5-4",
                "1+0",
                "1+",
                "+1",
                "1+-1",
                "1-",
                "1+1+1",
                "0xffffffffffffffff",
                ">=3",
                "1,2",
            )
        ),
        *(
            ("age", text)
            for text in (
                "",
                "x",
                "10",
                "-1s",
                "1.s",
                "10 parsecs",
                "1m-10s",
                ">",
                "1s-",
                "1e3s",
            )
            if text != "10"
        ),
        *(("names", text) for text in ("", ",", " , ")),
        *(
            ("regex", text)
            for text in (
                "(",
                "[",
                "*",
                "a{2,1}",
                "(?P<",
                "\\",
                "a{1,99999999999}",
                "[0-\n",
            )
        ),
    ],
)
def test_what_means_nothing_is_refused_in_one_sentence(parser: str, text: str) -> None:
    with pytest.raises(UsageError) as refusal:
        PARSERS[parser](text)
    sentence = str(refusal.value)
    assert sentence
    assert "\n" not in sentence
    assert not sentence.endswith(".")


@given(
    st.sampled_from(list(PARSERS)),
    st.text("0123456789abcfxX+-><=,.:%smhd _٣\n*[(", max_size=12)
    | st.text(max_size=12),
)
def test_any_text_is_taken_or_refused(parser: str, text: str) -> None:
    try:
        taken = PARSERS[parser](text)
    except UsageError as error:
        assert "\n" not in str(error)
        return
    # What was taken can be used.
    if parser == "numbers":
        taken.mask(np.arange(3))
    elif parser == "orders":
        taken.mask(np.arange(3), np.arange(3, dtype=np.uint64))
    elif parser == "pfns":
        assert 0 <= taken[0] < taken[1] <= 1 << 63
    elif parser == "age":
        taken.mask(np.arange(3))
    elif parser == "names":
        taken("bash")
    else:
        taken(["frame+0x1/0x2"])


@pytest.mark.parametrize("parser", PARSERS)
def test_absurdly_long_input_is_no_reason_to_fail(parser: str) -> None:
    for text in ("9" * 10_000, "f" * 10_000, "9" * 400 + "d", "(" * 5_000):
        with contextlib.suppress(UsageError):
            PARSERS[parser](text)


# ---- what is on record is not sampled ----------


@pytest.mark.parametrize("text", ["0:20", "0:20,1:50,4", "4:100", ">=3:5"])
def test_a_share_of_what_is_on_record_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_all_of_orders(text)
    plain = ",".join(part.split(":")[0] for part in text.split(","))
    assert str(raised.value).endswith(f"here write {plain}")
    assert parse_all_of_orders(plain) == parse_orders(plain)


def test_a_number_may_be_negative() -> None:
    # page_owner's pid of what was allocated before there were processes.
    assert parse_numbers("-1").mask(np.array([-1, 0, 1])).tolist() == [
        True,
        False,
        False,
    ]
    with pytest.raises(UsageError, match="names no orders"):
        parse_orders("-1")


@pytest.mark.parametrize("text", ("abc", "4,b", ">=c", "1-f"))
def test_a_word_that_could_be_a_hexadecimal_number_is_no_order(text: str) -> None:
    with pytest.raises(UsageError, match="names no orders"):
        parse_orders(text)

# SPDX-License-Identifier: GPL-2.0-or-later
"""Histograms: every value is counted once, in its class, and bars are in proportion."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagedbg.analysis.histogram import LifetimeClasses, TimeClasses, ValueCounts
from pagedbg.analysis.undrawn import Undrawn
from pagedbg.output.histogram import bar, histogram
from pagedbg.output.render import render
from pagedbg.schema.table import Column

TIMES = st.lists(st.lists(st.integers(0, 1 << 62), max_size=20), max_size=5)


def array(numbers: list[int]) -> Any:
    return np.array(numbers, np.int64)


@given(TIMES)
def test_times_are_counted_in_classes_of_one_round_width(
    parts: list[list[int]],
) -> None:
    classes = TimeClasses()
    for part in parts:
        classes.add(array([*part, -1]))
    rows = classes.rows()
    times = [time for part in parts for time in part]
    assert [count for *_, count in rows] == [
        sum(start <= time < end for time in times) for start, end, _ in rows
    ]
    assert sum(count for *_, count in rows) == len(times)
    assert len(rows) <= 20
    widths = {end - start for start, end, _ in rows}
    assert len(widths) == bool(times)
    assert all(str(width).rstrip("0") in ("1", "2", "5") for width in widths)
    assert [end for _, end, _ in rows[:-1]] == [start for start, *_ in rows[1:]]


def test_a_width_is_the_least_that_suffices() -> None:
    classes = TimeClasses()
    classes.add(array([31_392_126_713, 64_815_569_377]))
    first, *_, last = classes.rows()
    assert first == (30_000_000_000, 32_000_000_000, 1)
    assert last == (64_000_000_000, 66_000_000_000, 1)


@given(st.lists(st.tuples(st.integers(0, 1 << 62), st.integers(1, 1000)), max_size=30))
def test_lifetimes_are_counted_in_doublings(lasted: list[tuple[int, int]]) -> None:
    classes = LifetimeClasses()
    classes.add(
        array([time for time, _ in lasted]), array([many for _, many in lasted])
    )
    rows = classes.rows()
    # A float has 53 bits: what is rounded up to a power of two is counted there.
    sharp = [(int(float(time)), many) for time, many in lasted]
    assert [count for *_, count in rows] == [
        sum(many for time, many in sharp if start <= time < end)
        for start, end, _ in rows
    ]
    assert sum(count for *_, count in rows) == sum(many for _, many in lasted)
    assert [end for _, end, _ in rows[:-1]] == [start for start, *_ in rows[1:]]
    assert all(end == max(2 * start, 1) for start, end, _ in rows)


def test_what_one_word_stands_for_is_counted_together() -> None:
    counts = ValueCounts()
    for numbers in ([1, 2, 3], [2]):
        counts.add(Undrawn(array(numbers), word=lambda n: "odd" if n % 2 else "even"))
    assert counts.rows() == [("even", 2), ("odd", 2)]
    numbers = ValueCounts()
    numbers.add(Undrawn(array([10, 9, 9])))
    assert numbers.rows() == [(9, 2), (10, 1)]


@given(st.integers(0, 1000), st.integers(1, 1000), st.integers(1, 60), st.booleans())
def test_a_bar_is_in_proportion(
    number: int, most: int, width: int, unicode: bool
) -> None:
    number = min(number, most)
    drawn = bar(number, most, width, unicode=unicode)
    assert (len(drawn) > 0) == (number > 0)
    assert len(drawn) <= width
    assert drawn.isascii() == (not unicode or not number)
    if number:
        assert abs(len(drawn) - width * number / most) <= 1
    if number == most:
        assert drawn == ("█" if unicode else "#") * width


COLUMNS = (
    Column("at_least", "ns", 1),
    Column("below", "ns", 3),
    Column("count", "int", 1),
)
ROWS = [(0, 1_000_000, 5), (1_000_000, 2_000_000, 0), (2_000_000, 4_000_000, 10)]


class Ascii(io.StringIO):
    encoding = "ascii"


class Utf8(io.StringIO):
    encoding = "utf-8"


@pytest.mark.parametrize("width", [20, 40, 80, 200])
@pytest.mark.parametrize("out", [Ascii, Utf8])
def test_it_fits_into_any_window(width: int, out: type[io.StringIO]) -> None:
    file = out()
    render(histogram(COLUMNS, ROWS, [], "None."), "text", file, width=width)
    heading, first, second, third = file.getvalue().splitlines()
    assert all(len(line) <= width for line in (heading, first, second, third))
    assert ("below" in heading) == (width >= 40)
    sign = "#" if out is Ascii else "█"
    longest = min(width - (18 if width < 40 else 29), 40)
    assert third.count(sign) == longest
    assert abs(first.count(sign) - longest / 2) <= 1
    assert sign not in second
    assert first.split()[0] == "0.000000s" and third.split(sign)[0].split()[-1] == "10"


def test_a_long_name_makes_room_for_the_bar() -> None:
    file = Utf8()
    columns = (Column("comm"), Column("event_count", "int"))
    table = histogram(columns, [("x" * 60, 3), ("\x1b[2J", 1)], [], "None.")
    render(table, "text", file, width=40)
    _, first, second = file.getvalue().splitlines()
    assert len(first) <= 40 and first.endswith("3  " + "█" * 8)
    assert "\x1b" not in second and "\\x1b[2J" in second


def test_without_rows_there_is_a_sentence() -> None:
    file = Utf8()
    render(histogram(COLUMNS, [], [], "None."), "text", file, width=40)
    assert file.getvalue() == "None.\n"

# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the cells of a map lie."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagedbg.output.map_layout import (
    LAYOUTS,
    Layout,
    beginnings,
    fit,
    grid,
    lines_of,
)
from pagedbg.output.palette import color_names, rgb


@given(
    st.integers(1, 3000),
    st.integers(1, 200),
    st.sampled_from(LAYOUTS),
)
def test_every_cell_is_on_the_map_once(
    count: int, columns: int, layout: Layout
) -> None:
    cells = grid(count, columns, layout)
    assert cells.shape == (lines_of(count, columns, layout), columns)
    assert sorted(cells[cells >= 0].tolist()) == list(range(count))


def test_lines_are_read_as_text() -> None:
    assert grid(5, 3, "lines").tolist() == [[0, 1, 2], [3, 4, -1]]


@given(st.integers(1, 3000), st.sampled_from((8, 16, 32, 64, 128)))
def test_along_the_curve_neighbours_touch(count: int, columns: int) -> None:
    cells = grid(count, columns, "hilbert")
    places = np.argwhere(cells >= 0)
    places = places[np.argsort(cells[tuple(places.T)])]
    steps = np.abs(np.diff(places, axis=0)).sum(axis=1)
    # From the end of a line of squares it goes back to the left.
    side = min(16, 1 << ((count.bit_length() - 1) // 2), columns)
    line = columns // side * side * side
    apart = np.flatnonzero(steps != 1) + 1
    assert set(apart.tolist()) <= set(range(line, count, line))


@given(
    st.lists(st.tuples(st.integers(0, 1 << 30), st.integers(1, 1 << 24)), min_size=1),
    st.integers(8, 200),
    st.integers(1, 100),
    st.sampled_from(LAYOUTS),
)
def test_a_map_fits_and_smaller_cells_would_not(
    spans: list[tuple[int, int]], columns: int, lines: int, layout: Layout
) -> None:
    ends = [(start, start + length) for start, length in spans]

    def needed(order: int) -> int:
        return sum(
            lines_of(((end - 1) >> order) - (start >> order) + 1, columns, layout)
            for start, end in ends
        )

    order = fit(ends, columns, lines, layout)
    room = max(lines, len(ends))
    assert needed(order) <= room
    assert order == 0 or needed(order - 1) > room


def test_lines_say_with_which_cell_they_begin() -> None:
    assert list(beginnings(grid(10, 4, "lines"), 1)) == [0, 4, 8]
    assert list(beginnings(grid(10, 4, "lines"), 2)) == [0, 8]
    # Of a square only the upper edge has a first cell.
    assert list(beginnings(grid(16, 4, "hilbert"), 1)) == [0, None, None, None]


@pytest.mark.parametrize("number", range(16, 256))
def test_colours_are_those_of_terminals(number: int) -> None:
    from rich.color import Color

    assert rgb(number) == Color.from_ansi(number).get_truecolor().hex


def test_no_two_values_have_one_colour() -> None:
    kinds = ["free", *(f"kind {i}" for i in range(11))]
    assert len(set(color_names(kinds, None))) == len(kinds)
    orders = [str(i) for i in range(11)]
    found = color_names(["free", *orders], orders)
    assert len(set(found)) == len(found)

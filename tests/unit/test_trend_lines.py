# SPDX-License-Identifier: GPL-2.0-or-later
"""Lines through what was held: against NumPy's, one boot after the other."""

from __future__ import annotations

import math

import duckdb
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pagedbg.analysis.trend import Trend
from pagedbg.output.sparkline import sparkline

HOUR = 3600 * 10**9

sizes = st.integers(0, 1 << 40)
boots = st.lists(
    st.lists(
        st.tuples(st.integers(0, 1000), sizes, sizes),
        min_size=1,
        max_size=8,
        unique_by=lambda time: time[0],
    ),
    min_size=1,
    max_size=3,
)


def lines(
    db: duckdb.DuckDBPyConnection, told: list[list[tuple[int, int, int]]]
) -> tuple[Trend, list[list[int]]]:
    """A trend of two keys, whose sizes are told of each hour of each boot."""
    times = [
        (str(boot), hour * HOUR) for boot, at in enumerate(told) for hour, *_ in at
    ]
    held = [list(row[1:]) for at in told for row in at]
    rows = [
        (key, time, size)
        for time, row in enumerate(held)
        for key, size in zip((None, "a"), row, strict=True)
        # What is not there has no row.
        if size
    ]
    db.execute("CREATE TABLE held (key VARCHAR, time BIGINT, bytes BIGINT)")
    if rows:
        db.executemany("INSERT INTO held VALUES (?, ?, ?)", rows)
    return Trend(db, ["key"], times, "held"), [list(x) for x in zip(*held, strict=True)]


@settings(max_examples=60, deadline=None)
@example([[(0, 1, 0)], [(0, 0, 0)], [(0, 1, 0)]])
@example([[(0, 5, 1), (1, 5, 1)], [(0, 7, 1)], [(0, 5, 1)]])
@given(boots)
def test_a_line_is_that_of_least_squares(
    told: list[list[tuple[int, int, int]]],
) -> None:
    told = [sorted(each) for each in told]
    trend, histories = lines(duckdb.connect(), told)
    found = {row[0]: row[1:] for batch in trend.rows(None, True, None) for row in batch}
    for key, history, place in ((None, histories[0], 1), ("a", histories[1], 2)):
        if len(set(history)) == 1:
            assert key not in found
            continue
        slope, straight, first, last, said = found[key]
        assert (first, last, said) == (history[0], history[-1], history)
        # An unknown for the size that each boot begins with, and one for the slope.
        columns = [
            [float(boot == other) for other in range(len(told))] + [row[0]]
            for boot, each in enumerate(told)
            for row in each
        ]
        sizes = np.array([row[place] for each in told for row in each], float)
        if all(len(each) == 1 for each in told):
            assert (slope, straight) == (None, None)
            continue
        fit, *_ = np.linalg.lstsq(np.array(columns), sizes, rcond=None)
        scale = max(sizes.max(), 1)
        assert abs(slope - fit[-1]) <= 1e-9 * scale + 0.5
        means = np.concatenate(
            [np.full(len(each), np.mean([row[place] for row in each])) for each in told]
        )
        spread = float(((sizes - means) ** 2).sum())
        if spread > 1e-6 * scale * scale:
            left = float(((sizes - np.array(columns) @ fit) ** 2).sum())
            assert math.isclose(straight, 100 * (1 - left / spread), abs_tol=0.2)


@pytest.mark.parametrize(
    ("numbers", "drawn"),
    (
        ([], ""),
        ([0], "▁"),
        ([5], "█"),
        ([0, 0, 0], "▁▁▁"),
        ([0, 1, 2, 3, 4, 5, 6, 7], "▁▂▃▄▅▆▇█"),
        ([1 << 60, 0], "█▁"),
    ),
)
def test_numbers_become_bars(numbers: list[int], drawn: str) -> None:
    assert sparkline(numbers) == drawn


@given(st.lists(st.integers(0, 1 << 62), max_size=2000))
def test_a_picture_has_room_for_any_number_of_them(numbers: list[int]) -> None:
    drawn = sparkline(numbers)
    assert len(drawn) == min(len(numbers), 24)
    assert ("█" in drawn) == any(numbers)

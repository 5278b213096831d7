# SPDX-License-Identifier: GPL-2.0-or-later
"""Sums by key: the same as a plain loop with a dict would give."""

from __future__ import annotations

from collections import defaultdict

import duckdb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagedbg.analysis import grouping
from pagedbg.analysis.grouping import Tally, group, summarize

Row = tuple[int, int]
keys = st.tuples(
    st.integers(-3, 3), st.integers(0, 3) | st.integers((1 << 63) - 3, (1 << 63) - 1)
)
batches = st.lists(
    st.lists(st.tuples(keys, st.integers(1, 1 << 18)), max_size=30), max_size=6
)


def loop(parts: list[list[tuple[Row, int]]]) -> dict[Row, tuple[int, int]]:
    """Blocks and pages by key, the slow way."""
    sums: dict[Row, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for part in parts:
        for key, pages in part:
            blocks, total = sums[key]
            sums[key] = blocks + 1, total + pages
    return dict(sums)


def tallied(parts: list[list[tuple[Row, int]]]) -> dict[Row, tuple[int, int]]:
    """The same by :class:`Tally`."""
    sums = Tally()
    for part in parts:
        columns = [np.array([key[i] for key, _ in part], np.int64) for i in (0, 1)]
        sums.add(columns, np.array([pages for _, pages in part], np.int64))
    result = sums.result()
    if not result:
        return {}
    rows = list(zip(*(column.tolist() for column in result), strict=True))
    found = {(a, b): (blocks, pages) for a, b, blocks, pages in rows}
    assert len(found) == len(rows), "a key has two rows"
    return found


@given(batches)
def test_sums_are_those_of_a_plain_loop(parts: list[list[tuple[Row, int]]]) -> None:
    assert tallied(parts) == loop(parts)


@given(batches)
def test_joining_partial_sums_on_the_way_changes_nothing(
    parts: list[list[tuple[Row, int]]],
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grouping, "_COMPACT_AT", 2)
        assert tallied(parts) == loop(parts)


@given(batches)
def test_keys_that_have_to_share_a_slot_and_full_tables_change_nothing(
    parts: list[list[tuple[Row, int]]],
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grouping, "_SLOT_BITS", 2)
        patch.setattr(grouping, "_MOST_GROUPS", 5)
        assert tallied(parts) == loop(parts)


def test_memory_grows_with_the_keys_of_which_none_comes_again() -> None:
    sums = Tally()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grouping, "_MOST_GROUPS", 100)
        patch.setattr(grouping, "_COMPACT_AT", 400)
        for start in range(0, 10000, 50):
            sums.add([np.arange(start, start + 50) % 1000], np.ones(50, np.int64))
            assert sums._rows <= 1400
    assert [column.tolist() for column in sums.result()] == [
        list(range(1000)),
        [10] * 1000,
        [10] * 1000,
    ]


def test_partial_sums_do_not_pile_up() -> None:
    sums = Tally()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grouping, "_COMPACT_AT", 100)
        for _ in range(1000):
            sums.add([np.arange(10)], np.ones(10, np.int64))
            assert sum(len(part[0]) for part in sums._parts) <= 110
    assert [column.tolist() for column in sums.result()] == [
        list(range(10)),
        [1000] * 10,
        [1000] * 10,
    ]


@given(st.lists(keys, min_size=1, max_size=40))
def test_group_numbers_distinct_rows(rows: list[Row]) -> None:
    first, which = group([np.array([row[i] for row in rows]) for i in (0, 1)])
    assert [rows[first[number]] for number in which] == rows
    assert len(first) == len(set(rows))


@given(st.integers(2, 6), st.integers(0, 1000))
def test_group_tells_many_columns_of_many_values_apart(columns: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    arrays = [
        random.integers(0, 1 << 63, 500, np.int64) // (1 << 55) for _ in range(columns)
    ]
    first, which = group(arrays)
    rows = list(zip(*(array.tolist() for array in arrays), strict=True))
    assert [rows[first[number]] for number in which] == rows


def test_group_tells_rows_apart_by_more_than_64_bits_of_values() -> None:
    # 256 to the power of 8 is 2 to the power of 64: the first column would count for
    # nothing.
    rows = np.arange(512)
    first, which = group([rows // 256, *[rows % 256] * 8])
    assert len(first) == 512
    assert (first[which] == rows).all()


# ---- the last sum, in the database ----------

names = st.sampled_from(["bash", "kworker/0:1", "ä", "", None])
groups = st.lists(
    st.tuples(names, st.integers(0, 3), st.integers(1, 1000), st.integers(1, 1 << 40)),
    min_size=1,
    max_size=20,
)


@pytest.fixture(scope="module")
def db() -> duckdb.DuckDBPyConnection:
    """A database of our own."""
    return duckdb.connect()


@given(groups)
def test_values_that_are_the_same_are_summed_up_once_more(
    db: duckdb.DuckDBPyConnection, rows: list[tuple[str | None, int, int, int]]
) -> None:
    expected: dict[tuple[str | None, int], list[int]] = defaultdict(lambda: [0, 0])
    for name, order, blocks, pages in rows:
        expected[name, order][0] += blocks
        expected[name, order][1] += pages
    total = sum(pages for _, _, _, pages in rows)
    names, orders, blocks, pages = map(list, zip(*rows, strict=True))
    found, count = summarize(
        db,
        ["comm", "order"],
        [names, orders],
        np.array(blocks),
        np.array(pages),
        page_size=4096,
    )
    assert count == len(found) == len(expected)
    assert {row[:2]: list(row[2:4]) for row in found} == expected
    assert all(row[4] == row[3] * 4096 for row in found)
    assert all(abs(row[5] - 100 * row[3] / total) <= 0.005001 for row in found)
    assert [row[3] for row in found] == sorted((row[3] for row in found), reverse=True)


@given(groups, st.integers(1, 5))
def test_top_is_the_beginning_of_all_and_says_how_many_there_are(
    db: duckdb.DuckDBPyConnection,
    rows: list[tuple[str | None, int, int, int]],
    top: int,
) -> None:
    names, _, blocks, pages = map(list, zip(*rows, strict=True))
    arguments = (db, ["comm"], [names], np.array(blocks), np.array(pages))
    everything, count = summarize(*arguments, page_size=4096)
    assert summarize(*arguments, page_size=4096, top=top) == (everything[:top], count)


@pytest.mark.parametrize(
    "column, at",
    [("order", 0), ("blocks", 1), ("pages", 2), ("bytes", 3), ("share", 4)],
)
@pytest.mark.parametrize("descending", [False, True])
def test_any_column_sorts_both_ways(
    db: duckdb.DuckDBPyConnection, column: str, at: int, descending: bool
) -> None:
    blocks, pages = np.array([5, 1, 3]), np.array([10, 40, 20])
    found, _ = summarize(
        db,
        ["order"],
        [[2, 0, 1]],
        blocks,
        pages,
        page_size=4096,
        sort=column,
        descending=descending,
    )
    values = [row[at] for row in found]
    assert values == sorted(values, reverse=descending)


@pytest.mark.parametrize("descending", [False, True])
def test_what_is_not_known_comes_last(
    db: duckdb.DuckDBPyConnection, descending: bool
) -> None:
    ones = np.ones(3, np.int64)
    found, _ = summarize(
        db,
        ["module"],
        [["b", None, "a"]],
        ones,
        ones,
        page_size=4096,
        sort="module",
        descending=descending,
    )
    assert [row[0] for row in found] == (
        ["b", "a", None] if descending else ["a", "b", None]
    )

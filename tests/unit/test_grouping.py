# SPDX-License-Identifier: GPL-2.0-or-later
"""Sums by key: the same as a plain loop with a dict would give."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pagedbg.analysis import grouping
from pagedbg.analysis.grouping import QUANTILES, Amounts, Sums, page_amounts

PAGES = page_amounts(4096)

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


@pytest.fixture(scope="module")
def db() -> Iterator[duckdb.DuckDBPyConnection]:
    """A database of our own."""
    with duckdb.connect(config={"threads": 1}) as connection:
        yield connection


def plain(columns: Any) -> list[int]:
    """The values of a key that is a number."""
    return columns[0].tolist()  # type: ignore[no-any-return]


def taken(
    sums: Sums, keys: dict[str, Any], **how: Any
) -> tuple[list[tuple[Any, ...]], int]:
    """The rows of sums, and how many there are with those that were left out."""
    rows = [row for batch in sums.rows(keys, **how) for row in batch]
    return rows, len(rows) + sums.left


BOTH = {"a": (["a"], plain), "b": (["b"], plain)}


def added(sums: Sums, part: list[tuple[Row, int]]) -> None:
    """Add rows to sums."""
    columns = {
        name: np.array([key[i] for key, _ in part], np.int64)
        for i, name in enumerate("ab")
    }
    sums.add({**columns, "pages": np.array([pages for _, pages in part], np.int64)})


def summed(
    db: duckdb.DuckDBPyConnection, parts: list[list[tuple[Row, int]]]
) -> dict[Row, tuple[int, int]]:
    """The same by :class:`Sums`."""
    with closing(Sums(db, ["a", "b"], PAGES)) as sums:
        for part in parts:
            added(sums, part)
        rows, count = taken(sums, BOTH, sort="pages")
    found = {(a, b): (blocks, pages) for a, b, blocks, pages, *_ in rows}
    assert len(found) == len(rows) == count, "a key has two rows"
    return found


@settings(max_examples=30)
@given(batches)
def test_sums_are_those_of_a_plain_loop(
    db: duckdb.DuckDBPyConnection, parts: list[list[tuple[Row, int]]]
) -> None:
    assert summed(db, parts) == loop(parts)


@settings(max_examples=30)
@given(batches)
def test_pieces_and_partial_sums_that_are_joined_change_nothing(
    db: duckdb.DuckDBPyConnection, parts: list[list[tuple[Row, int]]]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grouping, "_ROWS", 7)
        patch.setattr(grouping, "_JOIN_AT", 2)
        patch.setattr(grouping, "_DRAWN", 3)
        assert summed(db, parts) == loop(parts)


def test_partial_sums_are_as_many_as_the_keys_and_not_the_pieces(
    db: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grouping, "_ROWS", 100)
    monkeypatch.setattr(grouping, "_JOIN_AT", 500)
    with closing(Sums(db, ["a", "b"], PAGES)) as sums:
        for _ in range(100):
            added(sums, [((number, 0), 2) for number in range(100)])
            assert sums._parts <= 500 + 2 * 100 + 100
        rows, count = taken(sums, BOTH, sort="a", descending=False)
    assert [row[:4] for row in rows] == [(i, 0, 100, 200) for i in range(100)]
    assert count == 100


def test_what_is_more_than_memory_goes_to_disk(tmp_path: Path) -> None:
    config: dict[str, Any] = {
        "threads": 1,
        "memory_limit": "80MB",
        "temp_directory": str(tmp_path / "spill"),
    }
    keys, most = 1_800_000, 0
    with (
        duckdb.connect(config=config) as db,
        closing(Sums(db, ["a", "b", "c"], PAGES)) as sums,
    ):
        for _ in range(2):
            for start in range(0, keys, 1 << 18):
                a = np.arange(start, min(start + (1 << 18), keys))
                sums.add({"a": a, "b": -a, "c": a % 3, "pages": a % 3 + 1})
            most = max(most, sum(each.stat().st_size for each in tmp_path.rglob("*")))
        rows, _ = taken(sums, {"c": (["c"], plain)}, sort="c", descending=False)
    assert [row[:3] for row in rows] == [
        (c, 2 * keys // 3, 2 * keys // 3 * (c + 1)) for c in range(3)
    ]
    assert most > 10 << 20, "nothing was too large"


# ---- what the numbers stand for ----------

names = st.sampled_from(["bash", "kworker/0:1", "ä", "", None])
groups = st.lists(
    st.tuples(names, st.integers(0, 3), st.integers(1, 1 << 40)),
    min_size=1,
    max_size=20,
)


def named(
    db: duckdb.DuckDBPyConnection,
    rows: list[tuple[str | None, int, int]],
    **how: Any,
) -> tuple[list[tuple[Any, ...]], int]:
    """
    Sums by name and order of rows of which each has a number of its own that stands for
    its name.
    """
    by_number = [name for name, _, _ in rows]
    with closing(Sums(db, ["number", "order"], PAGES)) as sums:
        sums.add(
            {
                "number": np.arange(len(rows)),
                "order": np.array([order for _, order, _ in rows], np.uint8),
                "pages": np.array([pages for *_, pages in rows]),
            }
        )
        return taken(
            sums,
            {
                "comm": (
                    ["number"],
                    lambda columns: [by_number[i] for i in columns[0].tolist()],
                ),
                "order": (["order"], plain),
            },
            **{"sort": "pages", **how},
        )


@settings(max_examples=30)
@given(groups)
def test_numbers_that_stand_for_one_word_are_summed_up_together(
    db: duckdb.DuckDBPyConnection, rows: list[tuple[str | None, int, int]]
) -> None:
    expected: dict[tuple[str | None, int], list[int]] = defaultdict(lambda: [0, 0])
    for name, order, pages in rows:
        expected[name, order][0] += 1
        expected[name, order][1] += pages
    total = sum(pages for *_, pages in rows)
    found, count = named(db, rows)
    assert count == len(found) == len(expected)
    assert {row[:2]: list(row[2:4]) for row in found} == expected
    assert all(row[4] == row[3] * 4096 for row in found)
    assert all(abs(row[5] - 100 * row[3] / total) <= 0.005001 for row in found)
    # Of equals those come first whose keys do, and what is not known last.
    assert found == sorted(
        found, key=lambda row: (-row[3], row[0] is None, row[0] or "", row[1])
    )


@settings(max_examples=30)
@given(groups, st.integers(1, 5))
def test_top_is_the_beginning_of_all_and_says_how_many_there_are(
    db: duckdb.DuckDBPyConnection,
    rows: list[tuple[str | None, int, int]],
    top: int,
) -> None:
    everything, count = named(db, rows)
    assert named(db, rows, top=top) == (everything[:top], count)


@pytest.mark.parametrize(
    "column, at",
    [("order", 1), ("blocks", 2), ("pages", 3), ("bytes", 4), ("share", 5)],
)
@pytest.mark.parametrize("descending", [False, True])
def test_any_column_sorts_both_ways(
    db: duckdb.DuckDBPyConnection, column: str, at: int, descending: bool
) -> None:
    rows: list[tuple[str | None, int, int]] = [
        ("a", 2, 10),
        ("a", 2, 5),
        ("b", 0, 40),
        ("c", 1, 20),
    ]
    found, _ = named(db, rows, sort=column, descending=descending)
    values = [row[at] for row in found]
    assert values == sorted(values, reverse=descending)


@pytest.mark.parametrize("descending", [False, True])
def test_what_is_not_known_comes_last(
    db: duckdb.DuckDBPyConnection, descending: bool
) -> None:
    rows = [("b", 0, 1), (None, 0, 1), ("a", 0, 1)]
    found, _ = named(db, rows, sort="comm", descending=descending)
    assert [row[0] for row in found] == (
        ["b", "a", None] if descending else ["a", "b", None]
    )


def test_without_rows_there_are_no_sums(db: duckdb.DuckDBPyConnection) -> None:
    with closing(Sums(db, ["a", "b"], PAGES)) as sums:
        added(sums, [])
        assert taken(sums, BOTH, sort="a") == ([], 0)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), min_size=1))
def test_rows_that_have_to_be_kept_are_kept(
    db: duckdb.DuckDBPyConnection, rows: list[tuple[int, int]]
) -> None:
    amounts = Amounts(
        {"lasted": "lasted"}, None, {"all": "list_sort(list(lasted))::BIGINT[]"}
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grouping, "_ROWS", 5)
        with closing(Sums(db, ["a"], amounts)) as sums:
            sums.add(
                {
                    "a": np.array([a for a, _ in rows]),
                    "lasted": np.array([lasted for _, lasted in rows]),
                }
            )
            found, _ = taken(sums, {"a": (["a"], plain)}, sort="a", descending=False)
    assert found == [
        (a, sorted(lasted for key, lasted in rows if key == a))
        for a in sorted({key for key, _ in rows})
    ]


def test_quantiles_are_those_of_the_nearest_rank(
    db: duckdb.DuckDBPyConnection,
) -> None:
    counts = [1, 2, 9, 10, 11, 99, 100, 101, 700]
    with closing(Sums(db, ["a"], QUANTILES)) as sums:
        for count in counts:
            sums.add(
                {"a": np.full(count, count), "lasted": np.arange(count)[::-1] * 10}
            )
        rows, _ = taken(sums, {"a": (["a"], plain)}, sort="a", descending=False)
    assert rows == [
        (
            count,
            count,
            0,
            *(10 * (-(-count * share // 100) - 1) for share in (50, 90, 99)),
            10 * (count - 1),
        )
        for count in counts
    ]

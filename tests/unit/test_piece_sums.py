# SPDX-License-Identifier: GPL-2.0-or-later
"""Partial sums of a piece without a query: the same as a plain loop would give."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pagedbg.analysis.piece_sums import distinct_rows, piece_sums

ADDS = {"blocks": None, "pages": "pages", "fixed": "held"}

# Handles of the stack depot: the pool below, the offset above it.
handles = st.builds(
    lambda pool, offset: pool | offset << 17, st.integers(1, 5), st.integers(0, 3)
)
rows = st.lists(
    st.tuples(handles, st.integers(-2, 1), st.integers(0, 3), st.integers(-1, 1 << 18)),
    min_size=1,
    max_size=200,
)


def columns(found: list[tuple[int, ...]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The keys, and what is added up."""
    handle, zone, kind, pages = (np.array(each) for each in zip(*found, strict=True))
    keys = {
        "handle": handle.astype(np.uint32),
        "zone": zone.astype(np.int16),
        "kind": kind.astype(np.uint8),
    }
    return keys, {"pages": pages, "held": (pages % 2).astype(np.uint8)}


@given(rows)
def test_sums_are_those_of_a_plain_loop(found: list[tuple[int, ...]]) -> None:
    keys, more = columns(16 * found)
    sums = piece_sums(keys, ADDS, more)
    expected: dict[tuple[int, ...], list[int]] = defaultdict(lambda: [0, 0, 0])
    for *key, pages in 16 * found:
        of = expected[tuple(key)]
        of[0], of[1], of[2] = of[0] + 1, of[1] + pages, of[2] + pages % 2
    if sums is None:
        # Of few rows, with keys of many bits.
        assert len(found) < 1 << 8
        return
    assert {name: sums[name].dtype for name in keys} == {
        name: column.dtype for name, column in keys.items()
    }
    names = (*keys, *ADDS)
    listed = list(zip(*(sums[name].tolist() for name in names), strict=True))
    assert sorted(listed) == sorted((*key, *of) for key, of in expected.items())


def test_all_rows_of_one_key_are_one() -> None:
    keys = {"order": np.full(1000, 9, np.uint8), "pid": np.full(1000, -1, np.int32)}
    sums = piece_sums(keys, {"pages": "pages"}, {"pages": np.full(1000, 512)})
    assert sums is not None
    found = {name: column.tolist() for name, column in sums.items()}
    assert found == {"order": [9], "pid": [-1], "pages": [512000]}


def test_the_highest_bits_are_bits_as_any() -> None:
    keys = {"word": np.array(4 * [0, 1 << 63, (1 << 64) - 1, 1 << 63], np.uint64)}
    assert piece_sums(keys, {"n": None}, {}) is None
    keys = {"word": np.array(4 * [5, 5 | 1 << 63], np.uint64)}
    sums = piece_sums(keys, {"n": None}, {})
    assert sums is not None
    assert sums["word"].tolist() == [5, 5 | 1 << 63] and sums["n"].tolist() == [4, 4]


def test_what_would_take_more_places_than_rows_is_left_to_the_engine() -> None:
    keys = {"pfn": np.arange(1 << 12) << 3, "pid": np.arange(1 << 12) % 7}
    assert piece_sums(keys, {"n": None}, {}) is None
    assert piece_sums({"pfn": keys["pfn"]}, {"n": None}, {}) is not None


def test_a_sum_that_may_not_be_exact_is_left_to_the_engine() -> None:
    keys = {"order": np.zeros(3, np.uint8)}
    more = {"pages": np.array([1 << 53, 1, 1])}
    assert piece_sums(keys, {"pages": "pages"}, more) is None


@given(
    st.integers(1, 60).flatmap(
        lambda rows: st.tuples(
            *(
                st.lists(st.sampled_from(values), min_size=rows, max_size=rows)
                for values in ([0, 1, 7], [5], [0, 1 << 40, (1 << 63) + 5], range(99))
            )
        )
    ),
    st.sampled_from((1, 50)),
)
def test_distinct_rows_are_those_of_a_set(
    columns: tuple[list[int], ...], behind_each_other: int
) -> None:
    given_rows = zip(*columns, strict=True)
    rows = [row for row in given_rows for _ in range(behind_each_other)]
    given_ = {
        str(i): np.array(column, np.uint64 if i == 2 else np.uint32)
        for i, column in enumerate(zip(*rows, strict=True))
    }
    place, values = distinct_rows(given_)
    # The last column comes first.
    expected = sorted(set(rows), key=lambda row: row[::-1])
    found = list(zip(*(column.tolist() for column in values.values()), strict=True))
    assert (list(values), found) == (list(given_), expected)
    assert [found[i] for i in place.tolist()] == rows

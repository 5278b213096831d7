# SPDX-License-Identifier: GPL-2.0-or-later
"""Who holds which pageblock: the same as plain loops with sets would find."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pagedbg.analysis.pageblock_holders import (
    NO_RECORD,
    ON_RECORD,
    UNKNOWN,
    PageblockHolders,
)

# Two handles whose stacks end in one function are one holder.
FUNCTIONS = {1: "fill", 2: "fill", 3: "grow", 4: "pin", 5: None}
NAMES: Any = SimpleNamespace(
    function=FUNCTIONS.__getitem__, stacks=lambda handles: None
)
WORST_FIRST = (("sole_pageblocks", True), ("pageblocks", True), ("pages", True))

# Span, block, what is known of it, handle, and whether it can be moved.
pages = st.tuples(
    st.integers(0, 1),
    st.integers(0, 4),
    st.sampled_from([ON_RECORD] * 6 + [NO_RECORD, UNKNOWN]),
    st.sampled_from(sorted(FUNCTIONS)),
    st.booleans(),
)
Page = tuple[int, int, int, int, bool]


@pytest.fixture(scope="module")
def db() -> Iterator[duckdb.DuckDBPyConnection]:
    """A database of our own."""
    with duckdb.connect(config={"threads": 1}) as connection:
        yield connection


def columns(rows: list[Page]) -> dict[str, Any]:
    """The columns of some pages."""
    table = np.array(rows, np.int64).reshape(-1, 5)
    known = table[:, 2] != UNKNOWN
    return {
        "span": table[:, 0],
        "block": table[:, 1] * 512,
        "recorded": table[:, 2],
        "handle": np.where(table[:, 2] == ON_RECORD, table[:, 3], 0),
        "pages": known.astype(np.int64),
        # What is not known may be anything.
        "fixed": np.where(known, table[:, 4], 1),
    }


def holder(page: Page) -> str | None:
    """Whom a page belongs to."""
    _, _, recorded, handle, _ = page
    return {NO_RECORD: "(not on record)", UNKNOWN: "(unknown)"}.get(
        recorded, FUNCTIONS[handle]
    )


def held(rows: list[Page]) -> dict[tuple[int, int], frozenset[str | None]]:
    """Who keeps each block from being free, the slow way."""
    found: dict[tuple[int, int], set[str | None]] = defaultdict(set)
    for page in rows:
        if page[4] or page[2] == UNKNOWN:
            found[page[:2]].add(holder(page))
    return {block: frozenset(who) for block, who in found.items()}


@settings(max_examples=60, deadline=None)
@given(parts=st.lists(st.lists(pages, max_size=25), max_size=4))
def test_holders_are_those_of_plain_loops(
    db: duckdb.DuckDBPyConnection, parts: list[list[Page]]
) -> None:
    # Blocks come in order, and one may come in several parts.
    rows = sorted(page for part in parts for page in part)
    cuts = np.cumsum([0, *(len(part) for part in parts)]).tolist()
    blocks = held(rows)
    counted: dict[str | None, list[Any]] = defaultdict(lambda: [set(), 0])
    for page in rows:
        if page[2] != UNKNOWN:
            counted[holder(page)][0].add(page[:2])
            counted[holder(page)][1] += 1
    sole = Counter(next(iter(who)) for who in blocks.values() if len(who) == 1)
    expected = {
        (name, len(where), count, sole[name])
        for name, (where, count) in counted.items()
    }
    with closing(
        PageblockHolders(db, NAMES, ("function",), owners=True, together=3)
    ) as holders:
        for start, end in itertools.pairwise(cuts):
            holders.add(columns(rows[start:end]))
        found = [row for batch in holders.rows(WORST_FIRST) for row in batch]
        assert (set(found), len(found), holders.left) == (expected, len(expected), 0)
        ranks = [(row[3], row[1], row[2]) for row in found]
        assert ranks == sorted(ranks, reverse=True)
        assert holders.held_by() == Counter(
            0 if "(unknown)" in who else len(who) for who in blocks.values()
        )
        which = sorted(blocks)
        told = holders.owners(
            [span for span, _ in which], [block * 512 for _, block in which]
        )
        assert [{who for (who,) in each} for each in told] == [
            blocks[block] - {"(unknown)"} for block in which
        ]
        freed: set[str | None] = set()
        total = at_once = 0
        moved = {page[:2] for page in rows if page[2] != UNKNOWN and not page[4]}
        for step in holders.let_go(3):
            freed |= {who for (who,) in step.owners}
            total += step.pageblocks
            at_once += step.at_once
            free_now = [block for block, who in blocks.items() if who <= freed]
            assert (step.total, total) == (len(free_now), len(free_now))
            assert at_once == len(set(free_now) - moved)
            assert step.first_pfn in {block * 512 for _, block in free_now}
        assert len(freed) <= 3
        assert not freed & {"(not on record)", "(unknown)"}


def test_who_is_asked_first_frees_most_for_each_who_is_asked(
    db: duckdb.DuckDBPyConnection,
) -> None:
    # Two of them hold four blocks together and none alone; a third holds one alone.
    rows: list[Page] = [
        *(
            (0, block, ON_RECORD, handle, True)
            for block in range(4)
            for handle in (1, 3)
        ),
        (0, 4, ON_RECORD, 4, True),
        (0, 5, ON_RECORD, 4, True),
        (0, 5, NO_RECORD, 0, True),
    ]
    holders = PageblockHolders(db, NAMES, ("function",), together=3)
    with closing(holders):
        holders.add(columns(rows))
        steps = holders.let_go(3)
        assert [(step.owners, step.pageblocks, step.total) for step in steps] == [
            ((("fill",), ("grow",)), 4, 4),
            ((("pin",),), 1, 5),
        ]
        assert [step.owners for step in holders.let_go(1)] == [(("pin",),)]


def test_all_of_a_few_owners_are_found_whoever_is_asked_for(
    db: duckdb.DuckDBPyConnection,
) -> None:
    with closing(PageblockHolders(db, NAMES, ("function",))) as holders:
        assert [list(batch) for batch in holders.rows(WORST_FIRST)] == []
        assert holders.held_by() == {}
        assert holders.let_go(2) == []
        assert list(itertools.chain(*holders.owners([0], [0]))) == []

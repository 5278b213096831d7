# SPDX-License-Identifier: GPL-2.0-or-later
"""Tables that are drawn again and again: what is marked, and what has grown."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagedbg.analysis.table_growth import TableGrowth
from pagedbg.errors import UsageError
from pagedbg.output.redraw import Redrawn, marked
from pagedbg.schema.table import Column, Row, Table

COLUMNS = (
    Column("comm"),
    Column("order", "int"),
    Column("pages", "int"),
    Column("bytes", "bytes"),
    Column("share", "share"),
)

lines = st.text(st.characters(codec="ascii", categories=("L", "N", "Zs")), max_size=40)


def table(*rows: Row) -> Table:
    return Table.of(COLUMNS, rows)


def grown(first: Table, then: Table) -> list[Row]:
    found = TableGrowth(first).since(then)
    assert [column.name for column in found.columns] == [
        *("comm", "order", "pages", "bytes")
    ]
    return [row for batch in found.batches for row in batch]


def test_rows_that_have_changed_are_told_by_how_much() -> None:
    first = table(("sh", 0, 10, 40960, 50.0), ("dd", 4, 16, 65536, 50.0))
    then = table(("dd", 4, 32, 131072, 76.2), ("sh", 0, 10, 40960, 23.8))
    assert grown(first, then) == [("dd", 4, 16, 65536)]


def test_rows_that_come_and_go_have_had_nothing_or_have_nothing() -> None:
    first = table(("gone", 0, 3, 12288, 100.0))
    then = table(("new", 0, 2, 8192, 100.0), (None, 0, 5, 20480, 0.0))
    assert grown(first, then) == [
        (None, 0, 5, 20480),
        ("new", 0, 2, 8192),
        ("gone", 0, -3, -12288),
    ]


def test_rows_with_stacks_are_told_apart_by_them() -> None:
    columns = (Column("stack", "stack"), Column("pages", "int"))
    first = Table.of(columns, [(["a", "b"], 1), (["a"], 1)])
    then = Table.of(columns, [(["a", "b"], 2), (["a"], 1)])
    (batch,) = TableGrowth(first).since(then).batches
    assert list(batch) == [(("a", "b"), 1)]


def test_what_is_never_counted_cannot_grow() -> None:
    with pytest.raises(UsageError, match="nothing in this table is counted"):
        TableGrowth(Table.of((Column("comm"), Column("order", "int")), [("sh", 1)]))


@given(lines, lines)
def test_marks_are_all_that_is_added(old: str, new: str) -> None:
    drawn = marked(old, new)
    assert re.sub(r"\x1b\[2?7m", "", drawn) == new
    assert (drawn == new) == (
        all(a == b or not a.strip() for a, b in zip(new, old, strict=False))
        and not new[len(old) :].strip()
    )


def test_a_low_window_says_how_much_it_leaves_out() -> None:
    out = io.StringIO()
    Redrawn(out, mark=True).draw([f"line {i}" for i in range(10)], 5)
    assert out.getvalue() == (
        "\x1b[2J\x1b[Hline 0\x1b[K\nline 1\x1b[K\nline 2\x1b[K\n"
        "7 more lines: make the window higher.\x1b[K\n\x1b[J"
    )


def test_only_the_first_picture_clears_the_screen() -> None:
    out = io.StringIO()
    screen = Redrawn(out, mark=True)
    screen.draw(["free 10"], 5)
    screen.draw(["free 12"], 5)
    assert out.getvalue().count("\x1b[2J") == 1
    assert out.getvalue().endswith("\x1b[Hfree 1\x1b[7m2\x1b[27m\x1b[K\n\x1b[J")

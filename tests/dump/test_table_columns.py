# SPDX-License-Identifier: GPL-2.0-or-later
"""
The columns that are offered behind a command's words are those of the table that it
gives.
"""

from __future__ import annotations

import pytest
from known import SAMPLE

from pagedbg.errors import UsageError
from pagedbg.schema.table import Table
from pagedbg.session import Session
from pagedbg.shell.command import NAMESPACE
from pagedbg.shell.table_columns import columns, sortable
from pagedbg.target.opening import open_target

# Columns of one kernel or key only, which may be named all the same: those of counters
# of allocation tags, and those of slab caches.
MORE = {"tag_calls", "tag_bytes", "objects", "active"}


@pytest.fixture(scope="module")
def session() -> Session:
    """A dump with a recording."""
    return Session(open_target(str(SAMPLE)))


def table_of(session: Session, line: list[str]) -> Table:
    command = NAMESPACE.get(line[0])
    return command.table_of(session, command.parser.parse_line(line[1:]))


@pytest.mark.parametrize(
    "line",
    [
        "owners",
        "owners --by comm,stack",
        "memory",
        "memory --by holder",
        "memory --by cache",
        "blocks",
        "blocks --by=module,function",
        "pageblocks --pinned",
        "correlate",
        "correlate --by state",
        "correlate --leaked",
        "correlate --leaked --by module",
        "correlate --lifetimes",
        "correlate --lifetimes --by stack",
        "correlate --lifetimes --histogram",
    ],
)
def test_what_is_offered_is_what_there_is(line: str, session: Session) -> None:
    words = line.split()
    offered = columns(words) or {}
    there = [column.name for column in table_of(session, words).columns]
    assert {*offered} - MORE == {*there} - MORE
    assert {*there} <= {*offered}
    if "--pinned" in words or "--histogram" in words:
        # They have an order of their own.
        return
    sorts = sortable(words) or {}
    for name in there:
        if name in sorts:
            table_of(session, [*words, "--sort", name])
        else:
            with pytest.raises(UsageError, match="no column"):
                table_of(session, [*words, "--sort", name])


def test_what_depends_on_the_rows_is_not_known() -> None:
    for line in ("memory --section largest", "diff a b --section=memory", "zones"):
        assert columns(line.split()) is None

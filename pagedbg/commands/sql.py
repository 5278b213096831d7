# SPDX-License-Identifier: GPL-2.0-or-later
"""``sql``: any question at all, of the relations of what is open."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing

from pagedbg.analysis.query import Query
from pagedbg.analysis.stored_rows import sql_type
from pagedbg.analysis.used_columns import Used
from pagedbg.capture.scratch import scratch
from pagedbg.errors import PagedbgError, UsageError
from pagedbg.schema.query_columns import SQL_COLUMNS
from pagedbg.schema.relations import RELATIONS
from pagedbg.schema.snapshot_columns import OWNER_KEYS, OWNER_SUMS, STACK_NAMES
from pagedbg.schema.table import Column, Row, Table
from pagedbg.session import Session
from pagedbg.shell.command import NAMESPACE, argument, command
from pagedbg.shell.option_values import values


def _pages(session: Session, used: Used) -> Sequence[str]:
    last = session.prog["max_pfn"].value_() - 1
    start, end = used.pfns
    # There has to be one.
    start = min(start, last)
    end = last + 1 if end is None else min(max(end, start + 1), last + 1)
    return ("inspect", "pfn", f"{start}+{end - start}")


def _sums(columns: Sequence[Column]) -> Sequence[str]:
    names = [column.name for column in columns]
    keys = [name for name in names if name in OWNER_KEYS]
    return ("owners", "--by", ",".join(keys), "--columns", ",".join(names))


_LINES: dict[str, Sequence[str] | Callable[[Session, Used], Sequence[str]]] = {
    "pages": _pages,
    "blocks": ("owners",),
    "owner_sums": _sums(OWNER_SUMS),
    "stack_names": _sums(STACK_NAMES),
    "memory": ("memory", "--section", "kinds"),
    "unaccounted": ("memory", "--section", "unaccounted"),
    "pools": ("memory", "--section", "pools"),
    "largest": ("memory", "--section", "largest"),
    "processes": ("memory", "--section", "processes"),
    "health": ("memory", "--section", "health"),
    "stacks": ("stacks",),
    "zones": ("zones",),
    "free_areas": ("free", "--by", "migratetype"),
    "pageblocks": ("blocks",),
    "pinned_pages": ("blocks", "--pinned"),
    "events": ("trace show",),
    "allocations": ("correlate",),
    "trace": ("trace status",),
    "recorders": ("trace recover",),
    "kernel": ("status",),
    "capabilities": ("doctor",),
    "messages": ("log",),
    "failures": ("explain",),
}
"""
The command that gives a relation. The others are what these are summed up by, or cells
of them.
"""

_TABLES = {name: RELATIONS[name] for name in _LINES}


@values("RELATION")
def _names(session: Session) -> Sequence[str]:
    return list(_TABLES)


@command(
    "sql",
    long_description="""
Ask a question in SQL, as DuckDB has it, of the relations of what is open: the kernel, a
dump, a capture, a snapshot. Each is what a command gives: blocks those of owners,
stacks, zones, free_areas, memory, pageblocks, pages, events, allocations, kernel and
others; --schema lists them with their columns. Only what a query names is read, and of
columns that it does not use nothing is made. pages is a row for each page there is: say
which, as in FROM pages WHERE pfn BETWEEN 4096 AND 8191, or be patient.

Nothing can be changed, and neither files nor the network can be reached. Without a
query there is a prompt for them, which has ; at the end of each.
""",
    arguments=(
        argument(
            "query",
            metavar="QUERY",
            nargs="*",
            help="one SELECT, in quotes",
        ),
        argument(
            "--schema",
            metavar="RELATION",
            nargs="?",
            const="",
            help="list the relations and their columns, or the columns of one",
        ),
    ),
    examples=(
        (
            'sql "SELECT comm, sum(pages) AS pages FROM blocks GROUP BY ALL'
            ' ORDER BY pages DESC LIMIT 5"',
            "which programs hold the most",
        ),
        (
            'sql "SELECT module, function, count(*) AS blocks FROM blocks'
            " JOIN stacks USING (handle) WHERE module IS NOT NULL GROUP BY ALL"
            ' ORDER BY blocks DESC"',
            "which functions of modules hold how many blocks",
        ),
        ("sql --schema zones", "what there is to know of a zone"),
    ),
    table=True,
    kernel=False,
)
def sql(session: Session, args: argparse.Namespace) -> Table | None:
    """Run the command."""
    if args.schema is not None:
        if args.query:
            raise UsageError("--schema lists relations: leave the query out")
        return _schema(args.schema)
    if args.query:
        return ask(session, " ".join(args.query))
    if not sys.stdin.isatty():
        raise UsageError('write the query behind it, in quotes: sql "SELECT ..."')
    from pagedbg.shell.sql_prompt import run_sql_prompt

    run_sql_prompt(session, _TABLES)
    return None


def _schema(relation: str) -> Table:
    if relation and relation not in _TABLES:
        raise UsageError(
            f"--schema: there is no relation {relation!r}; choose from"
            f" {', '.join(_TABLES)}"
        )
    rows = [
        (name, column.name, sql_type(column), column.unit or None, column.meaning)
        for name, columns in _TABLES.items()
        if relation in ("", name)
        for column in columns
    ]
    return Table.of(SQL_COLUMNS, rows)


def ask(session: Session, text: str) -> Table:
    """
    The table that a query gives.

    :raises UsageError: if it is wrong
    :raises PagedbgError: if what it needs cannot be had
    """
    try:
        folder = scratch()
    except OSError as error:
        raise PagedbgError(f"a temporary directory: {error.strerror}.") from None
    try:
        query = Query(text, _TABLES, folder.name)
    except BaseException:
        folder.cleanup()
        raise
    notes: list[str] = []

    def batches() -> Iterator[Sequence[Row]]:
        with folder, closing(query):
            for relation in _TABLES:
                if relation in query.used.tables:
                    table = _given(session, relation, query.used)
                    query.fill(relation, table)
                    notes.extend(each for each in table.notes if each not in notes)
            yield from query.rows()

    return Table(query.columns, batches(), notes=notes, empty="No row.")


def _given(session: Session, relation: str, used: Used) -> Table:
    line = _LINES[relation]
    if callable(line):
        NAMESPACE.get("inspect").check(session)
        line = line(session, used)
    name, *words = line
    given = NAMESPACE.get(name)
    return given.table_of(session, given.parser.parse_line(words))

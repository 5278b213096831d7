# SPDX-License-Identifier: GPL-2.0-or-later
"""``sql``: any question at all, of the relations of what is open."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing

from pagedbg.analysis.query import Query
from pagedbg.analysis.stored_rows import sql_type
from pagedbg.analysis.used_columns import Used
from pagedbg.capture.scratch import scratch
from pagedbg.errors import PagedbgError, UsageError
from pagedbg.output.printable import printable
from pagedbg.schema.columns import DETAIL
from pagedbg.schema.page_columns import KEPT_PAGES, PAGES
from pagedbg.schema.query_columns import SAVED_QUERIES, SQL_COLUMNS
from pagedbg.schema.relations import RELATIONS
from pagedbg.schema.snapshot_columns import OWNER_KEYS, OWNER_SUMS, STACK_NAMES
from pagedbg.schema.table import Column, Row, Table
from pagedbg.session import Session
from pagedbg.shell.command import NAMESPACE, argument, command
from pagedbg.shell.given_name import could_be_name
from pagedbg.shell.option_values import values
from pagedbg.shell.saved_queries import forget_query, save_query, saved_queries
from pagedbg.shell.snapshot_answers import LAST_PFN


def _pages(session: Session, used: Used) -> Sequence[str]:
    kept = session.snapshot is not None
    last = LAST_PFN if kept else session.prog["max_pfn"].value_() - 1
    start, end = used.pfns
    # There has to be one.
    start = min(start, last)
    end = last + 1 if end is None else min(max(end, start + 1), last + 1)
    line = ("inspect", "pfn", f"{start}+{end - start}")
    return (*line, "--columns", ",".join(_KEPT_PAGES)) if kept else line


def _sums(columns: Sequence[Column]) -> Sequence[str]:
    names = [column.name for column in columns]
    keys = [name for name in names if name in OWNER_KEYS]
    return ("owners", "--by", ",".join(keys), "--columns", ",".join(names))


# Of a page as a snapshot has it, what is the same in the relation of all pages.
_KEPT_PAGES = [
    column.name for column in PAGES if column in KEPT_PAGES and column is not DETAIL
]

_LINES: dict[str, Sequence[str] | Callable[[Session, Used], Sequence[str]]] = {
    "pages": _pages,
    "blocks": ("owners",),
    "owner_sums": _sums(OWNER_SUMS),
    "stack_names": _sums(STACK_NAMES),
    "memory": ("memory", "--section", "kinds"),
    "unaccounted": ("memory", "--section", "unaccounted"),
    "slab_sums": ("memory", "--section", "objects"),
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


@values("QUERY")
def _saved(session: Session) -> Sequence[str]:
    return list(saved_queries(session.config))


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

--save gives a query a name, by which sql asks it from then on, until --forget removes
it. It is kept in the table [queries] of ~/.config/pagedbg/config.toml, where it can be
changed, too; as root only root's own file is read.
""",
    arguments=(
        argument(
            "query",
            metavar="QUERY",
            nargs="*",
            help="one SELECT, in quotes, or the name of one that is saved",
        ),
        argument(
            "--schema",
            metavar="RELATION",
            nargs="?",
            const="",
            help="list the relations and their columns, or the columns of one",
        ),
        argument(
            "--save",
            metavar="NAME",
            help="give the query a name in place of asking it",
        ),
        argument(
            "--saved", action="store_true", help="list the queries that have a name"
        ),
        argument(
            "--forget",
            metavar="QUERY",
            help="remove the query that has this name",
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
        (
            'sql --save nodes "SELECT node, sum(pages) AS pages FROM blocks GROUP BY'
            ' ALL"',
            "have sql nodes ask this",
        ),
        ("sql --forget nodes", "and no longer"),
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
    text = " ".join(args.query)
    if args.forget is not None:
        if text or args.saved or args.save is not None:
            raise UsageError("--forget removes a query: leave the rest out")
        path = forget_query(session.config, args.forget)
        print(printable(f"{args.forget} is no query any more: {path}."))
        return None
    if args.saved:
        if text or args.save:
            raise UsageError("--saved lists queries: leave the rest out")
        rows = sorted(saved_queries(session.config).items())
        return Table.of(SAVED_QUERIES, rows, empty="No query is saved.")
    if args.save is not None:
        _save(session, args.save, text)
        return None
    if text:
        return ask(session, _named(session, text))
    if not sys.stdin.isatty():
        raise UsageError('write the query behind it, in quotes: sql "SELECT ..."')
    from pagedbg.shell.sql_prompt import run_sql_prompt

    run_sql_prompt(session, _TABLES)
    return None


def _named(session: Session, text: str) -> str:
    """The query of a name, or the query itself."""
    name = text.rstrip("; ")
    if not could_be_name(name):
        return text
    found = saved_queries(session.config).get(name)
    if found is None:
        raise UsageError(
            f"{name!r} is no query, and none of that name is saved: sql --saved lists"
            " those that are"
        )
    return found


def _save(session: Session, name: str, text: str) -> None:
    if not text:
        raise UsageError("--save: write the query behind it, in quotes")
    # One that is wrong is not saved.
    with ExitStack() as stack:
        _query(text, stack)
    file = save_query(session.config, name, text)
    print(printable(f"sql {name} asks it: {file}."))


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
    stack = ExitStack()
    query = _query(text, stack)
    notes: list[str] = []

    def batches() -> Iterator[Sequence[Row]]:
        with stack:
            for relation in _TABLES:
                if relation in query.used.tables:
                    table = _given(session, relation, query.used)
                    query.fill(relation, table)
                    notes.extend(each for each in table.notes if each not in notes)
            yield from query.rows()

    return Table(query.columns, batches(), notes=notes, empty="No row.")


def _query(text: str, stack: ExitStack) -> Query:
    """A query, and on a stack what has to be cleaned up behind it."""
    with ExitStack() as made:
        try:
            folder = made.enter_context(scratch())
        except OSError as error:
            raise PagedbgError(f"a temporary directory: {error.strerror}.") from None
        query = made.enter_context(closing(Query(text, _TABLES, folder)))
        stack.push(made.pop_all())
    return query


def _given(session: Session, relation: str, used: Used) -> Table:
    line = _LINES[relation]
    if callable(line):
        if session.snapshot is None:
            NAMESPACE.get("inspect").check(session)
        line = line(session, used)
    name, *words = line
    given = NAMESPACE.get(name)
    return given.table_of(session, given.parser.parse_line(words))

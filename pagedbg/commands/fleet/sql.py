# SPDX-License-Identifier: GPL-2.0-or-later
"""``fleet sql``: any question at all, of the snapshots of a lake."""

from __future__ import annotations

import argparse
from contextlib import closing

from pagedbg.analysis.query import cell_value
from pagedbg.capture.lake import Lake
from pagedbg.errors import UsageError
from pagedbg.schema.query_columns import query_column
from pagedbg.schema.table import Table
from pagedbg.session import Session
from pagedbg.shell.command import argument, command
from pagedbg.shell.fleet_options import ENGINE, LAKE, open_engine
from pagedbg.sources.fleet import Fleet
from pagedbg.sources.fleet_engine import EngineError


@command(
    "fleet sql",
    long_description="""
Ask a question in SQL of the snapshots of a lake: of snapshots, a row each, of when and
of which host; of owners, what they have of who holds memory, with the number of the
snapshot; and of stacks, by stack_id. Unlike the other questions, it is of all snapshots
of a day.

Nothing can be changed, and no files can be reached but those of the lake.
""",
    arguments=(
        LAKE,
        argument("query", metavar="QUERY", nargs="+", help="one SELECT, in quotes"),
        ENGINE,
    ),
    examples=(
        (
            'fleet sql /srv/lake "SELECT host, sum(owners.pages) AS pages FROM owners'
            " JOIN snapshots USING (snapshot) WHERE kind = 'slab' GROUP BY host\"",
            "how much the slab allocator has had on each host",
        ),
    ),
    table=True,
    kernel=False,
)
def fleet_sql(session: Session, args: argparse.Namespace) -> Table:
    """Run the command."""
    query = " ".join(args.query).strip().rstrip(";")
    with (
        closing(session.db.cursor()) as db,
        closing(open_engine(args)) as engine,
    ):
        fleet = Fleet(db, Lake(args.lake), engine)
        fleet.open_all()
        try:
            if not engine.is_select(query):
                raise UsageError(
                    "only one SELECT at a time can be asked: nothing can be changed"
                )
            found, rows = engine.ask(query)
        except EngineError as error:
            raise UsageError(str(error)) from None
    columns = [query_column(name, type_) for name, type_ in found]
    drawn = [
        [cell_value(column, value) for column, value in zip(columns, row, strict=True)]
        for row in rows
    ]
    return Table.of(columns, drawn, notes=fleet.notes, empty="No row.")

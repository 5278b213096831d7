# SPDX-License-Identifier: GPL-2.0-or-later
"""``fleet status``: what a lake has."""

from __future__ import annotations

import argparse
from contextlib import closing

from pagedbg.capture.lake import Lake, left_of
from pagedbg.errors import few
from pagedbg.schema.fleet_columns import LAKE_DAYS
from pagedbg.schema.table import Table
from pagedbg.session import Session
from pagedbg.shell.command import command
from pagedbg.shell.fleet_options import LAKE
from pagedbg.sources.lake_doubts import take_out_doubtful
from pagedbg.sources.lake_index import days_of, index_lake


@command(
    "fleet status",
    long_description="""
Say what a lake has, day by day: how many hosts and snapshots, how many of these are
compacted, which kernels, and how large the files are. What no question is answered from
is named: what is damaged, or not of a lake, and hosts that cannot be believed, since
their clock was wrong, or two machines have one name.
""",
    arguments=(LAKE,),
    examples=(("fleet status /srv/lake", "what has come in, and what is wrong"),),
    table=True,
    kernel=False,
)
def fleet_status(session: Session, args: argparse.Namespace) -> Table:
    """Run the command."""
    notes: list[str] = []
    with closing(session.db.cursor()) as db:
        indexed = index_lake(db, Lake(args.lake), notes)
        rows = list(days_of(db, indexed))
        take_out_doubtful(db, notes)
    notes += few(
        f"{path} is what is left of a fleet add that was killed: fleet compact removes"
        " it."
        for day in indexed.days
        for _, host in day.hosts
        for path in left_of(host)
    )
    return Table.of(LAKE_DAYS, rows, notes=notes, empty="There is no snapshot yet.")

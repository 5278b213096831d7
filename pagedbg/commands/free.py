# SPDX-License-Identifier: GPL-2.0-or-later
"""``free``: the free blocks of the buddy allocator, by order and by migratetype."""

from __future__ import annotations

import argparse

from pagedbg.schema.columns import MIGRATETYPE
from pagedbg.schema.table import Table
from pagedbg.schema.zone_columns import FREE_AREAS
from pagedbg.session import Session
from pagedbg.shell import drgn_scripts
from pagedbg.shell.command import argument, command
from pagedbg.sources.free_memory import free_area_rows, free_list_rows


@command(
    "free",
    long_description="""
List how many free blocks each zone has of each order, as /proc/buddyinfo does. Where
there are none of an order and none above it, an allocation of that order has to wait
for reclaim and compaction to make one.

With --by migratetype the lists of free blocks are followed, as /proc/pagetypeinfo does,
and those that are not empty are listed. What the CPUs keep on lists of their own is not
in there: zones says how much that is.
""",
    arguments=(
        argument(
            "--by",
            metavar="KEY",
            choices=("migratetype",),
            help="the same by migratetype, too",
        ),
    ),
    examples=(
        ("free", "is there a block of 16 pages left"),
        ("free --by migratetype", "and is it of the type that is asked for"),
        ("free --format jsonl", "the same for a script"),
    ),
    table=True,
    drgn=drgn_scripts.FREE,
)
def free(session: Session, args: argparse.Namespace) -> Table:
    """Run the command."""
    notes = list(session.target.notes)
    if args.by:
        return Table.of(FREE_AREAS, free_list_rows(session.prog, notes), notes=notes)
    columns = [column for column in FREE_AREAS if column is not MIGRATETYPE]
    return Table.of(columns, free_area_rows(session.prog), notes=notes)

# SPDX-License-Identifier: GPL-2.0-or-later
"""``pageblocks``: the units that the kernel groups pages by mobility in."""

from __future__ import annotations

import argparse

from pagedbg.schema.relations import PAGEBLOCKS
from pagedbg.schema.table import Table
from pagedbg.session import Session
from pagedbg.shell.command import command
from pagedbg.sources.free_memory import pageblock_rows


@command(
    "pageblocks",
    long_description="""
List the pageblocks, the units that the kernel groups pages by mobility in: of which
migratetype each is, and how many of its pages the buddy allocator has free. One of
movable pages that is nearly free can be compacted; a single unmovable page keeps the
rest of its pageblock from becoming one large block.
""",
    examples=(
        ("pageblocks | head -n 20", "where memory is free"),
        ("pageblocks --format csv > pageblocks.csv", "the same for a spreadsheet"),
    ),
    table=True,
)
def pageblocks(session: Session, args: argparse.Namespace) -> Table:
    """Run the command."""
    notes = list(session.target.notes)
    return Table(PAGEBLOCKS, pageblock_rows(session.prog, notes), notes=notes)

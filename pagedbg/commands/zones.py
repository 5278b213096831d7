# SPDX-License-Identifier: GPL-2.0-or-later
"""``zones``: the zones of memory, what is free in them, and their watermarks."""

from __future__ import annotations

import argparse

from pagedbg.schema.table import Table
from pagedbg.schema.zone_columns import ZONES
from pagedbg.session import Session
from pagedbg.shell import drgn_scripts
from pagedbg.shell.command import command
from pagedbg.sources.free_memory import zone_rows


@command(
    "zones",
    long_description="""
List the zones of memory as /proc/zoneinfo does: how many pages each has, how many are
free, and the watermarks below which the kernel reclaims some.

An allocation is made from a zone only if that leaves more free pages than a watermark
and, where it could be made in a higher zone, the lowmem_reserve as well. All numbers
are pages.

free is the zone's own counter, which the watermarks are compared with. What a CPU has
freed or taken is added to it some dozen pages at a time, so that it may differ by as
much from what is on the lists of free blocks, which free counts.
""",
    examples=(
        ("zones", "which zones are short of memory"),
        ("zones --format json", "the same for a script"),
    ),
    table=True,
    drgn=drgn_scripts.ZONES,
)
def zones(session: Session, args: argparse.Namespace) -> Table:
    """Run the command."""
    return Table.of(ZONES, zone_rows(session.prog), notes=list(session.target.notes))

# SPDX-License-Identifier: GPL-2.0-or-later
"""``fleet since``: who holds more since a kernel."""

from __future__ import annotations

import argparse
from functools import partial

from pagedbg.analysis.fleet_questions import since
from pagedbg.schema.fleet_columns import KERNEL_GROWTH
from pagedbg.schema.table import Table
from pagedbg.session import Session
from pagedbg.shell.command import argument, command
from pagedbg.shell.fleet_options import FLEET_OPTIONS, LAKE, fleet_table
from pagedbg.shell.table_options import refuse_no_stack
from pagedbg.sources.fleet_picks import pick_kernels


@command(
    "fleet since",
    long_description="""
Say which call paths hold a larger share of memory with a kernel than without: within
hosts, by the snapshots that a host has of it and of others, and between hosts, by
those that had it on a day and those that did not. What grows with load does so on all
hosts, and not between them; what one host does more than another, it did before. So
the lesser of the two counts, times the part of the changed hosts that bear it out:
those with more but for those with less. What the most speaks for comes first.

Each host counts as much as another, and each of its days. What did not grow by both is
left out.
""",
    arguments=(
        LAKE,
        argument(
            "kernel",
            metavar="KERNEL",
            help="its release; * and ? match as in a shell",
        ),
        *FLEET_OPTIONS,
    ),
    examples=(
        ("fleet since /srv/lake '6.12.2*' --top 3", "what that kernel has brought"),
    ),
    table=True,
    kernel=False,
)
def fleet_since(session: Session, args: argparse.Namespace) -> Table:
    """Run the command."""
    refuse_no_stack(args)
    return fleet_table(
        session,
        args,
        pick_kernels(args.kernel),
        KERNEL_GROWTH,
        lambda picked: partial(since, **picked.facts),
    )

# SPDX-License-Identifier: GPL-2.0-or-later
"""``fleet owners``: who holds how much on all hosts."""

from __future__ import annotations

import argparse
from functools import partial

from pagedbg.analysis.fleet_questions import owners
from pagedbg.schema.fleet_columns import FLEET_SUMS
from pagedbg.schema.table import Table
from pagedbg.session import Session
from pagedbg.shell.command import argument, command
from pagedbg.shell.fleet_options import FLEET_OPTIONS, LAKE, fleet_table
from pagedbg.shell.table_options import refuse_no_stack
from pagedbg.sources.fleet_picks import pick_day


@command(
    "fleet owners",
    long_description="""
Say who holds memory on all hosts of a lake on a day, and on how many of them: each
host's last snapshot of the day counts. By default stacks are summed up by their
functions (stack_shape), which are mostly the same in other builds of the kernel.
""",
    arguments=(
        LAKE,
        argument(
            "--date", metavar="DATE", help="the day, by default the last there is"
        ),
        *FLEET_OPTIONS,
    ),
    examples=(
        ("fleet owners /srv/lake --by module --top 5", "which drivers hold the most"),
        ("fleet owners /srv/lake --date 2026-11-26", "which call paths, on that day"),
    ),
    table=True,
    kernel=False,
)
def fleet_owners(session: Session, args: argparse.Namespace) -> Table:
    """Run the command."""
    refuse_no_stack(args)
    return fleet_table(
        session,
        args,
        pick_day(args.date),
        FLEET_SUMS,
        lambda picked: partial(owners, ram=picked.facts["ram"]),
    )

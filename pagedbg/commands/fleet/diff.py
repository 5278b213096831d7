# SPDX-License-Identifier: GPL-2.0-or-later
"""``fleet diff``: who holds more on a day than on another."""

from __future__ import annotations

import argparse

from pagedbg.analysis.fleet_questions import growth
from pagedbg.schema.fleet_columns import FLEET_GROWTH
from pagedbg.schema.table import Table
from pagedbg.session import Session
from pagedbg.shell.command import argument, command
from pagedbg.shell.fleet_options import FLEET_OPTIONS, LAKE, fleet_table
from pagedbg.shell.table_options import refuse_no_stack
from pagedbg.sources.fleet_picks import pick_two_days


@command(
    "fleet diff",
    long_description="""
Say who holds more memory on a day than on another, over the hosts of a lake that have
snapshots of both, and on how many of them there is more, or less.
""",
    arguments=(
        LAKE,
        argument("--before", metavar="DATE", required=True, help="the earlier day"),
        argument("--after", metavar="DATE", required=True, help="the later day"),
        *FLEET_OPTIONS,
    ),
    examples=(
        (
            "fleet diff /srv/lake --before 2026-11-25 --after 2026-11-26 --by module",
            "which drivers hold more than the day before",
        ),
    ),
    table=True,
    kernel=False,
)
def fleet_diff(session: Session, args: argparse.Namespace) -> Table:
    """Run the command."""
    refuse_no_stack(args)
    return fleet_table(
        session,
        args,
        pick_two_days(args.before, args.after),
        FLEET_GROWTH,
        lambda picked: growth,
    )

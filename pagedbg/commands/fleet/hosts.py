# SPDX-License-Identifier: GPL-2.0-or-later
"""``fleet hosts``: on which hosts there is how much of something."""

from __future__ import annotations

import argparse

from pagedbg.analysis.fleet_questions import hosts
from pagedbg.schema.fleet_columns import HOST_SUMS
from pagedbg.schema.table import Table
from pagedbg.session import Session
from pagedbg.shell.command import argument, command
from pagedbg.shell.fleet_options import HOST_OPTIONS, LAKE, fleet_table
from pagedbg.sources.fleet_picks import pick_day


@command(
    "fleet hosts",
    long_description="""
Say how much each host of a lake has on a day of what is chosen, as by --stack: each
host's last snapshot of the day counts. Hosts that have none are left out.
""",
    arguments=(
        LAKE,
        argument(
            "--date", metavar="DATE", help="the day, by default the last there is"
        ),
        *HOST_OPTIONS,
    ),
    examples=(
        (
            "fleet hosts /srv/lake --stack leaky_rx_refill --top 10",
            "which hosts hold the most from there",
        ),
    ),
    table=True,
    kernel=False,
)
def fleet_hosts(session: Session, args: argparse.Namespace) -> Table:
    """Run the command."""
    return fleet_table(
        session, args, pick_day(args.date), HOST_SUMS, lambda picked: hosts
    )

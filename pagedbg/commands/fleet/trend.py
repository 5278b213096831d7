# SPDX-License-Identifier: GPL-2.0-or-later
"""``fleet trend``: who grows on all hosts, over many days."""

from __future__ import annotations

import argparse

from pagedbg.analysis.fleet_questions import trend
from pagedbg.schema.fleet_columns import FLEET_TREND
from pagedbg.schema.table import Table
from pagedbg.session import Session
from pagedbg.shell.command import command
from pagedbg.shell.fleet_options import FLEET_OPTIONS, LAKE, fleet_table
from pagedbg.shell.table_options import refuse_no_stack
from pagedbg.sources.fleet_picks import pick_days


@command(
    "fleet trend",
    long_description="""
Say who grows on the hosts of a lake, by how many bytes an hour in all, and how
steadily, as trend does of one host: through what each held goes a straight line, with
one slope for all boots of a host, and straightness is how much of the change these
lines explain. Each host's last snapshot of a day counts.
""",
    arguments=(LAKE, *FLEET_OPTIONS),
    examples=(
        ("fleet trend /srv/lake --top 3", "which call paths grow, day after day"),
    ),
    table=True,
    kernel=False,
)
def fleet_trend(session: Session, args: argparse.Namespace) -> Table:
    """Run the command."""
    refuse_no_stack(args)
    return fleet_table(session, args, pick_days, FLEET_TREND, lambda picked: trend)

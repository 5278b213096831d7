# SPDX-License-Identifier: GPL-2.0-or-later
"""``history``: what was typed at the prompt."""

from __future__ import annotations

import argparse

from pagedbg.session import Session
from pagedbg.shell.command import argument, command
from pagedbg.shell.table_options import parse_top


@command(
    "history",
    long_description="""
List what was typed at the prompt, this time and before, the last of it at the end. !!
runs the last line again.
""",
    arguments=(
        argument(
            "count",
            metavar="N",
            nargs="?",
            type=parse_top,
            default=0,
            help="only the last N lines",
        ),
    ),
    examples=(("history 20", "the last 20 lines"),),
    kernel=False,
)
def history(session: Session, args: argparse.Namespace) -> None:
    """Run the command."""
    for line in session.typed()[-args.count :]:
        print(line)

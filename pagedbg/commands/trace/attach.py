# SPDX-License-Identifier: GPL-2.0-or-later
"""``trace attach``: taking over what records with no pagedbg."""

from __future__ import annotations

import argparse

from pagedbg.capture.recording import flight_recorder
from pagedbg.capture.recording.recording import Plan
from pagedbg.errors import PagedbgError
from pagedbg.session import Session
from pagedbg.shell.begin_recording import begin, check_none_runs
from pagedbg.shell.command import argument, command
from pagedbg.shell.limits import parse_size
from pagedbg.shell.recording_options import NEEDS, OUTPUT


@command(
    "trace attach",
    long_description="""
Take over what goes on recording with no pagedbg: what trace start --flight left, or the
module of a recorder that was killed. What is still in its rings and what happens from
now on is written into a capture; trace stop then ends it all.
""",
    arguments=(
        OUTPUT,
        argument(
            "--size",
            metavar="SIZE",
            type=parse_size,
            default=256 << 20,
            help="stop when the capture is so large (default: 256M)",
        ),
    ),
    needs=NEEDS,
    examples=(("trace attach", "see what the flight recorder has"),),
)
def trace_attach(session: Session, args: argparse.Namespace) -> None:
    """Run the command."""
    check_none_runs(session)
    found = flight_recorder.find()
    if found is None:
        raise PagedbgError(
            "nothing records by itself: trace start --flight has something do so."
        )
    begin(session, Plan(args.output, size=args.size, adopt=found))

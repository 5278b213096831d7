# SPDX-License-Identifier: GPL-2.0-or-later
"""``trace set``: which events are recorded."""

from __future__ import annotations

import argparse

from pagedbg.errors import PagedbgError
from pagedbg.schema.event_filter import EVERYTHING, describe
from pagedbg.session import Session
from pagedbg.shell.command import argument, command
from pagedbg.shell.recording_options import KERNEL_FILTERS, filter_asked


@command(
    "trace set",
    long_description="""
Say which events are recorded. The kernel drops all others before it does anything else,
so a narrow filter costs next to nothing.

Options add to what was set before, each in place of its own last value. While a trace
runs they take effect at once. The percentage behind an order says how many of its
allocations take part, chosen by when they were made: what happens to one later is in or
out with it. --stack, --module and --age cannot be looked at in the kernel: give them to
trace show or correlate.
""",
    arguments=(
        argument("--all", action="store_true", help="forget what was set before"),
        KERNEL_FILTERS,
    ),
    examples=(
        (
            "trace set --orders 4",
            "only allocations of order 4, and what becomes of them",
        ),
        (
            "trace set --orders 0:1,1-3:20,'>=4'",
            "one of a hundred single pages, a fifth of orders 1 to 3, all larger ones",
        ),
        (
            "trace set --events all",
            "reads of page_owner's text, too, which are left out otherwise",
        ),
        ("trace set --all", "everything but those again"),
    ),
)
def trace_set(session: Session, args: argparse.Namespace) -> None:
    """Run the command."""
    if session.target.elsewhere:
        raise PagedbgError(
            f"nothing can be recorded from here in {session.target.name}: trace show"
            " lists what was recorded on the machine that it is of."
        )
    base = EVERYTHING if args.all else session.filter
    session.filter = filter_asked(session, args, base)
    running = session.recording is not None and session.recording.running
    if running:
        assert session.recording is not None
        session.recording.set_filter(session.filter)
    print(f"{'Recording' if running else 'To be recorded'}: {describe(session.filter)}")

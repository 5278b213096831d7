# SPDX-License-Identifier: GPL-2.0-or-later
"""``top``: who allocates and frees how fast, on a full screen while a trace runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from pagedbg.analysis.holder_rates import HolderRates
from pagedbg.capture.directory import Capture
from pagedbg.errors import PagedbgError
from pagedbg.session import Session
from pagedbg.shell.command import argument, command
from pagedbg.shell.limits import parse_seconds
from pagedbg.shell.top_screen import BY, TopScreen, TopSource, TopState
from pagedbg.sources.capture_names import names_of, need_followed_capture


@command(
    "top",
    long_description="""
Show on a full screen, while a trace runs, who allocates and frees how many bytes a
second, and by how much each has grown since top began. What was allocated before and is
freed now makes a holder shrink.

Keys: a f g n sort by allocations, frees, growth and name; b changes between stacks,
functions and modules; Enter unfolds a stack; / chooses by a part of a name or of a
frame, Escape takes that back; q or Ctrl-C ends it. The trace goes on.
""",
    arguments=(
        argument(
            "--by",
            choices=BY,
            default="function",
            help="what holders are told apart by, function by default",
        ),
        argument(
            "-n",
            "--interval",
            metavar="SECONDS",
            type=parse_seconds,
            default=1.0,
            help="how often it is drawn, every second by default",
        ),
    ),
    examples=(("top --by module", "which drivers allocate how fast"),),
    paged=False,
    kernel=False,
)
def top(session: Session, args: argparse.Namespace) -> None:
    """Run the command."""
    capture = need_followed_capture(session)
    if not capture.page_owner:
        raise PagedbgError(
            "without page_owner a free does not say whose pages it gives back: trace"
            " follow shows the events."
        )
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise PagedbgError(
            "top needs a terminal: correlate --leaked --by function gives a table."
        )
    feed = _Feed(session, capture)
    source = TopSource(feed.drain, feed.stack, feed.said, capture.page_size)
    TopScreen(source, TopState(args.by), args.interval).run()


class _Feed:
    """What the screen is of: the events of a capture from now on."""

    def __init__(self, session: Session, capture: Capture) -> None:
        self._capture, self._now = capture, capture
        self._tail = capture.tail()
        self._names = names_of(session, capture)
        self._stacks: dict[int, Sequence[str]] = {}

    def drain(self, rates: HolderRates) -> bool:
        """Add what has happened; return whether more will."""
        # Asked first: what is written until the recorder ends is read.
        self._now = Capture(self._capture.path)
        goes_on = self._now.at_work
        rates.add(self._tail())
        return goes_on

    def stack(self, handle: int) -> Sequence[str]:
        """The stack of a handle; one that is not written yet is asked for again."""
        found = self._stacks.get(handle)
        if not found:
            found = self._names.known_stack(handle) or self._capture.stack(handle) or ()
            self._stacks[handle] = found
        return found

    def said(self, rates: HolderRates) -> Sequence[str]:
        """What is to be said below: how many events, and what is lost."""
        counts = self._now.meta.counts
        lost = counts.lost + counts.missed + counts.dropped
        said = [f"{rates.events:,} events since top began."]
        if lost:
            said.append(f"{lost:,} are lost since the trace began: trace status.")
        if rates.unknown:
            said.append(f"Of {rates.unknown:,} it is not known whose pages they are.")
        if rates.moved and not self._now.meta.kernel.swaps_handles:
            said.append(
                f"{rates.moved:,} pages were moved, which this kernel counts as"
                " allocated by whoever moved them."
            )
        return said

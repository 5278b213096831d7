# SPDX-License-Identifier: GPL-2.0-or-later
"""``trace load``: opening a capture."""

from __future__ import annotations

import argparse
from pathlib import Path

from pagedbg.capture.directory import Capture
from pagedbg.errors import PagedbgError
from pagedbg.output.printable import printable
from pagedbg.schema.event_filter import describe
from pagedbg.session import Session
from pagedbg.shell.command import argument, command
from pagedbg.sources.capture_names import what_is_missing
from pagedbg.sources.capture_notes import size


@command(
    "trace load",
    long_description=(
        "Open a capture: of this boot or another, of this machine or another."
    ),
    arguments=(
        argument(
            "directory",
            metavar="DIR",
            type=Path,
            help="what trace save, record or trace start --output wrote",
        ),
    ),
    examples=(("trace load /var/tmp/leak", "look at it again"),),
    kernel=False,
)
def trace_load(session: Session, args: argparse.Namespace) -> None:
    """Run the command."""
    if session.recording is not None and session.recording.running:
        raise PagedbgError(
            "a trace is running: trace stop ends it, and keeps what it has."
        )
    session.capture = capture = Capture(args.directory)
    meta = capture.meta
    when = meta.begun.wall or (
        f"recovered from {meta.recovered.from_}"
        if meta.recovered
        else "of an unknown time"
    )
    for sentence in (
        f"{size(capture)} of {meta.kernel.release}, {when},"
        f" {describe(meta.filters[-1].filter)}.",
        *what_is_missing(capture),
    ):
        print(printable(sentence))

# SPDX-License-Identifier: GPL-2.0-or-later
"""``trace stop`` and ``trace clear``: ending the recording, or what it has so far."""

from __future__ import annotations

import argparse

from pagedbg.errors import PagedbgError
from pagedbg.output.printable import printable
from pagedbg.session import Session
from pagedbg.shell.command import command
from pagedbg.sources.capture_names import need_capture, what_is_missing
from pagedbg.sources.capture_notes import size


@command(
    "trace stop",
    long_description=(
        "Detach, and finish the capture. It stays open, and on disk; trace save keeps"
        " it in a better place."
    ),
    examples=(("trace stop", "stop recording"),),
)
def trace_stop(session: Session, args: argparse.Namespace) -> None:
    """Run the command."""
    if session.recording is None:
        raise PagedbgError("no trace is running: trace start begins one.")
    was_running = session.recording.running
    if was_running:
        session.recording.stop()
    capture = need_capture(session)
    ended = capture.meta.ended
    why = (
        ""
        if was_running or ended is None
        else f" It had stopped by itself before: {ended.by}."
    )
    for sentence in (
        f"{size(capture)} in {capture.path}.{why}",
        *what_is_missing(capture),
    ):
        print(printable(sentence))


@command(
    "trace clear",
    long_description=(
        "Forget the events that were recorded so far, and go on recording."
    ),
    examples=(("trace clear", "begin again"),),
)
def trace_clear(session: Session, args: argparse.Namespace) -> None:
    """Run the command."""
    if session.recording is None or not session.recording.running:
        raise PagedbgError("no trace is running: trace start begins one.")
    session.recording.clear()
    print("Forgotten.")

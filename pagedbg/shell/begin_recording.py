# SPDX-License-Identifier: GPL-2.0-or-later
"""How a recording begins, one of our own or one that is taken over."""

from __future__ import annotations

from pagedbg.capture.directory import Capture
from pagedbg.capture.recording.recording import Plan, Recording
from pagedbg.errors import PagedbgError
from pagedbg.output.printable import printable
from pagedbg.schema.event_filter import describe
from pagedbg.session import Session
from pagedbg.sources.capture_notes import hooks, size
from pagedbg.sources.frozen_notes import frozen_capture

# What reading frozen rings may take, in seconds: they are detached, too.
_PATIENCE = 60.0


def check_none_runs(session: Session) -> None:
    """:raises PagedbgError: if this session is recording already"""
    if session.recording is not None and session.recording.running:
        raise PagedbgError(
            f"a trace is running already, into {session.recording.directory}: trace"
            " stop ends it."
        )


def begin(session: Session, plan: Plan) -> None:
    """Record in this session, and say so."""
    session.recording = Recording.start(session.target, plan)
    session.capture = capture = Capture(session.recording.directory)
    if capture.meta.frozen is not None:
        # It has nothing to wait for.
        session.recording.wait(_PATIENCE)
        capture.reload()
        frozen = frozen_capture(session, capture)
        why = frozen.sentence() if frozen else ""
        print(printable(f"{size(capture)} in {capture.path}. {why}"))
        return
    print(
        printable(
            f"Recording {describe(capture.meta.filters[-1].filter)} into"
            f" {capture.path}."
            f" {hooks(capture.meta.attached)}"
        )
    )

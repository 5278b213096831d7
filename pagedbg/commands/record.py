# SPDX-License-Identifier: GPL-2.0-or-later
"""``record``: a capture without a prompt, for services and scripts."""

from __future__ import annotations

import argparse
import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from pagedbg.capture.directory import Capture
from pagedbg.capture.recording.recording import Recording
from pagedbg.capture.saving import keep_pages
from pagedbg.errors import PagedbgError
from pagedbg.output.printable import printable, raw
from pagedbg.schema.event_filter import EVERYTHING, describe
from pagedbg.session import Session
from pagedbg.shell.command import argument, command
from pagedbg.shell.recording_options import (
    HELD,
    KERNEL_FILTERS,
    LIMITS,
    NEEDS,
    filter_asked,
    plan_of,
)
from pagedbg.sources.capture_names import what_is_missing
from pagedbg.sources.capture_notes import hooks, size
from pagedbg.sources.capture_saving import pages_to_keep

_PROGRESS_EVERY = 1.0


@command(
    "record",
    long_description="""
Record into a directory: while a command runs, for as long as --duration says, or until
Ctrl-C or SIGTERM. What it does and says of itself goes to standard error. When it ends,
the records of the captured pages are kept, too: correlate says of them what was still
held then. --held keeps only what is not freed yet: see trace start.
""",
    arguments=(
        argument(
            "-o",
            "--output",
            metavar="DIR",
            type=Path,
            required=True,
            help="the directory to write, which is made",
        ),
        argument(
            "--ring",
            action="store_true",
            help="keep only what fits the rings, and write that at the end",
        ),
        HELD,
        KERNEL_FILTERS,
        LIMITS,
        argument(
            "words",
            nargs="...",
            metavar="COMMAND",
            help="record while this runs (behind --)",
        ),
    ),
    needs=NEEDS,
    examples=(
        (
            "record --orders '>=3' -o /var/tmp/large --duration 5m",
            "large blocks, for five minutes",
        ),
        ("record -o /var/tmp/build -- make -j8", "everything while a build runs"),
        ("record --held -o /var/tmp/week --duration 168h", "who leaks, in a week"),
    ),
    paged=False,
)
def record(session: Session, args: argparse.Namespace) -> None:
    """Run the command."""
    words = args.words[1:] if args.words[:1] == ["--"] else args.words
    plan = plan_of(session, args, filter_asked(session, args, EVERYTHING))
    recording = Recording.start(session.target, plan)
    capture = Capture(recording.directory)
    status = 0
    try:
        _say(
            f"Recording {describe(plan.filter)} into {capture.path}."
            f" {hooks(capture.meta.attached)}"
        )
        with _sigterm():
            status = _wait(recording, capture, words)
    except KeyboardInterrupt:
        pass
    finally:
        recording.stop()
    capture.reload()
    pages = pages_to_keep(session, capture)
    if pages is not None:
        keep_pages(capture.path, pages)
    _say(f"{size(capture)} in {capture.path}.")
    for sentence in what_is_missing(capture):
        _say(sentence)
    if status:
        raise PagedbgError(
            f"{words[0]} ended with status {status}; what it did is recorded."
        )


def _wait(recording: Recording, capture: Capture, words: list[str]) -> int:
    """
    Wait for the command, or for the recorder to end by itself; returns the command's
    status.
    """
    command = None
    if words:
        try:
            command = subprocess.Popen(words)
        except OSError as error:
            raise PagedbgError(f"{words[0]}: {error.strerror}.") from None
    begun = time.monotonic()
    try:
        while not recording.wait(_PROGRESS_EVERY if command is None else 0):
            if command is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    return command.wait(_PROGRESS_EVERY)
            if sys.stderr.isatty():
                capture.reload()
                counts = capture.meta.counts
                raw(sys.stderr).write("\r\x1b[K")
                sys.stderr.write(
                    f"{time.monotonic() - begun:.0f} s, {counts.kept:,} events,"
                    f" {counts.lost} lost"
                )
                sys.stderr.flush()
    except KeyboardInterrupt:
        # The terminal has told the command, too.
        if command is not None:
            command.wait()
        raise
    finally:
        if sys.stderr.isatty():
            raw(sys.stderr).write("\r\x1b[K")
    return 0 if command is None else command.wait()


@contextlib.contextmanager
def _sigterm() -> Iterator[None]:
    """Let a service manager's SIGTERM end it as Ctrl-C does."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    kept = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, kept)


def _say(text: str) -> None:
    print(printable(text), file=sys.stderr, flush=True)

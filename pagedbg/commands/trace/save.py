# SPDX-License-Identifier: GPL-2.0-or-later
"""``trace save``: keeping a capture, or showing it to another program."""

from __future__ import annotations

import argparse
from contextlib import closing
from pathlib import Path

from pagedbg.analysis.correlation_pieces import PiecewiseCorrelation
from pagedbg.analysis.live_bytes import LiveBytes
from pagedbg.capture.directory import Capture
from pagedbg.capture.saving import copy_capture
from pagedbg.errors import PagedbgError, UsageError
from pagedbg.output.perfetto import perfetto_trace
from pagedbg.output.printable import printable
from pagedbg.output.whole_file import whole_file
from pagedbg.session import Session
from pagedbg.shell.command import argument, command
from pagedbg.sources.capture_names import (
    names_by_kernel,
    need_capture,
    what_is_missing,
)
from pagedbg.sources.capture_notes import size
from pagedbg.sources.capture_saving import pages_to_keep, stacks_left
from pagedbg.sources.comparison import comparison, evidence_of
from pagedbg.sources.event_instants import CapturedInstants

_TRACE = ".perfetto-trace"


@command(
    "trace save",
    long_description="""
Copy the capture into a directory, to be opened later and elsewhere with pagedbg
--capture DIR or trace load. On the kernel that it is of, the records of its pages as
they are now are kept with it: correlate then says what had become of them.

With -o it becomes a trace for https://ui.perfetto.dev: a track of events for each CPU,
and how many bytes were allocated, in all and in blocks of each order. A block counts
from when it was allocated until it was freed as a whole.
""",
    arguments=(
        argument(
            "directory",
            metavar="DIR",
            type=Path,
            nargs="?",
            help="a directory that is not there yet",
        ),
        argument(
            "-o",
            "--output",
            metavar="FILE",
            help="write a trace into FILE, which ends in .perfetto-trace",
        ),
    ),
    examples=(
        ("trace save /var/tmp/leak", "keep it"),
        ("trace save -o leak.perfetto-trace", "look at it in Perfetto"),
    ),
    kernel=False,
)
def trace_save(session: Session, args: argparse.Namespace) -> None:
    """Run the command."""
    if (args.directory is None) == (args.output is None):
        raise UsageError("give a directory, or -o FILE.perfetto-trace")
    capture = need_capture(session)
    if args.output is not None:
        _write_trace(session, capture, args.output)
        return
    target: Path = args.directory
    if target.exists():
        raise PagedbgError(f"{target} is there already: give a name that is not.")
    copy_capture(
        capture, target, pages_to_keep(session, capture), stacks_left(session, capture)
    )
    for sentence in (
        f"{size(capture)} in {target}.",
        *what_is_missing(capture),
    ):
        print(printable(sentence))


def _write_trace(session: Session, capture: Capture, path: str) -> None:
    """Write the capture into a file for Perfetto."""
    if not path.endswith(_TRACE):
        raise UsageError(f"-o: {path}: the name of such a file ends in {_TRACE}")
    names = names_by_kernel(session, capture)
    against = comparison(session, capture)
    evidence, said = evidence_of(capture, against.current)
    found = PiecewiseCorrelation(capture, against.pages, evidence, looked=against.held)
    events = CapturedInstants(names)
    with (
        whole_file(path) as file,
        closing(LiveBytes(session.db, capture.page_size)) as live,
    ):
        for rows in found.rows(freed=True):
            live.add(rows)
        file.writelines(perfetto_trace(events, live.moments()))
    notes = [*what_is_missing(capture), *said]
    if events.timeless:
        notes.append(f"Of {events.timeless} events the time is not known: left out.")
    for sentence in (f"{events.count} events in {path}.", *notes):
        print(printable(sentence))

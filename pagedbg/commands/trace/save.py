# SPDX-License-Identifier: GPL-2.0-or-later
"""``trace save``: keeping a capture."""

from __future__ import annotations

import argparse
from pathlib import Path

from pagedbg.capture.saving import copy_capture
from pagedbg.errors import PagedbgError
from pagedbg.output.printable import printable
from pagedbg.session import Session
from pagedbg.shell.command import argument, command
from pagedbg.sources.capture_names import need_capture, what_is_missing
from pagedbg.sources.capture_notes import size
from pagedbg.sources.capture_saving import pages_to_keep, stacks_left


@command(
    "trace save",
    long_description="""
Copy the capture into a directory, to be opened later and elsewhere with pagedbg
--capture DIR or trace load. On the kernel that it is of, the records of its pages as
they are now are kept with it: correlate then says what had become of them.
""",
    arguments=(
        argument(
            "directory",
            metavar="DIR",
            type=Path,
            help="a directory that is not there yet",
        ),
    ),
    examples=(("trace save /var/tmp/leak", "keep it"),),
    kernel=False,
)
def trace_save(session: Session, args: argparse.Namespace) -> None:
    """Run the command."""
    capture = need_capture(session)
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

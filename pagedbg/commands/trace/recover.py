# SPDX-License-Identifier: GPL-2.0-or-later
"""``trace recover``: the recorders in a dump, and what is in their rings."""

from __future__ import annotations

import argparse

from pagedbg.errors import PagedbgError, UsageError
from pagedbg.schema.kernel_columns import RECORDERS
from pagedbg.schema.table import Table
from pagedbg.session import Session
from pagedbg.shell.command import argument, command
from pagedbg.sources.capture_names import need_still
from pagedbg.sources.capture_notes import size
from pagedbg.sources.recorder_rows import recorder_rows


@command(
    "trace recover",
    long_description="""
List what was recording in a dump when the machine died: the kernel module or BPF, with
a recorder or left alone by trace start --flight. If it is one, trace show, correlate
and inspect take what is in its rings by themselves. Of several, the one whose number is
given is opened.

recorded is what it had recorded in all; the rings keep the last of it, as many as they
have slots for each CPU.
""",
    arguments=(
        argument("number", metavar="N", nargs="?", type=int, help="open this one"),
    ),
    examples=(
        ("trace recover", "what was recording"),
        ("trace recover 1", "open what the first one has left"),
    ),
    table=True,
)
def trace_recover(session: Session, args: argparse.Namespace) -> Table:
    """Run the command."""
    if not session.target.elsewhere:
        raise PagedbgError(
            "this is no dump: trace attach takes over what records on the running"
            " kernel."
        )
    need_still(session)
    found, said = session.recorders
    notes = list(said)
    if args.number is not None:
        if not 1 <= args.number <= len(found):
            raise UsageError(
                f"there is no recorder {args.number}: trace recover lists {len(found)}"
            )
        session.recover(found[args.number - 1])
        assert session.capture is not None
        notes.append(f"Opened number {args.number}: {size(session.capture)}.")
    return Table.of(
        RECORDERS,
        recorder_rows(found),
        notes=notes,
        empty=f"Nothing was recording in {session.target.name}.",
    )

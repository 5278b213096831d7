# SPDX-License-Identifier: GPL-2.0-or-later
"""``source``: the commands in a file, as if they were typed."""

from __future__ import annotations

import argparse
import contextvars
import os

from pagedbg.errors import PagedbgError, UsageError
from pagedbg.session import Session
from pagedbg.shell.command import argument, command
from pagedbg.shell.script import file_lines, run_lines

_open: contextvars.ContextVar[tuple[str, ...]] = contextvars.ContextVar(
    "open", default=()
)
"""The files that are run, of which one has the others run."""


@command(
    "source",
    long_description="""
Run the commands in a file, one a line, up to the first that fails, as pagedbg -x does.
""",
    arguments=(argument("file", metavar="FILE", help="the file"),),
    examples=(("source monday.pagedbg", "what is asked every Monday"),),
    paged=False,
    kernel=False,
)
def source(session: Session, args: argparse.Namespace) -> None:
    """Run the command."""
    path = os.path.realpath(args.file)
    if path in _open.get():
        raise UsageError(f"{args.file} is being run already: it would have no end")
    lines = file_lines(args.file)
    token = _open.set((*_open.get(), path))
    try:
        if run_lines(session, lines):
            raise PagedbgError(f"{args.file} was left there.")
    finally:
        _open.reset(token)

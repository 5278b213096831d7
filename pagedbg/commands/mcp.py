# SPDX-License-Identifier: GPL-2.0-or-later
"""``mcp``: what only reads, for an assistant."""

from __future__ import annotations

import argparse
import sys

from pagedbg.errors import PagedbgError
from pagedbg.session import Session
from pagedbg.shell.command import command


@command(
    "mcp",
    long_description="""
Let an assistant look at what is open, over the Model Context Protocol: it starts this
and speaks to it through pipes. Each command that only reads is a tool: status, doctor,
log, zones, free, explain, memory, inspect, owners, blocks, map, stacks, correlate,
trace status, trace show, trace recover and sql. Answers are JSON, with 50 rows unless
more are asked for, and say how many are left out.

The assistant chooses neither what is looked at nor any file: that stands on the command
line. It cannot record, write a file, run a program or leave the commands for Python.
What it is shown was read from the memory of a machine, and is marked as data: names and
messages in it are never instructions.

It needs the Python package mcp: pip install 'pagedbg[mcp]'.
""",
    examples=(("mcp", "what an assistant is told to start, behind pagedbg -c CORE"),),
    paged=False,
    kernel=False,
)
def mcp(session: Session, args: argparse.Namespace) -> None:
    """Run the command."""
    if sys.stdin.isatty() or sys.stdout.isatty():
        raise PagedbgError(
            "an assistant starts this and speaks to it through pipes: have it run"
            " pagedbg -c CORE mcp."
        )
    try:
        from pagedbg.shell.mcp_server import serve
    except ModuleNotFoundError:
        raise PagedbgError(
            "the Python package mcp is missing: pip install 'pagedbg[mcp]'."
        ) from None
    serve(session)

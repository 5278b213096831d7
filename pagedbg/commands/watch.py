# SPDX-License-Identifier: GPL-2.0-or-later
"""``watch``: a table, drawn again and again."""

from __future__ import annotations

import argparse
import datetime
import io
import shutil
import sys
import time
from collections.abc import Sequence

from pagedbg.analysis.table_growth import TableGrowth
from pagedbg.errors import UsageError
from pagedbg.output.printable import raw
from pagedbg.output.redraw import Redrawn
from pagedbg.output.render import render
from pagedbg.schema.table import Table
from pagedbg.session import Session
from pagedbg.shell.command import NAMESPACE, Command, argument, command
from pagedbg.shell.limits import parse_seconds
from pagedbg.shell.registry import command_of


def _times(text: str) -> int:
    if not text.isdigit() or int(text) == 0:
        raise UsageError(f"{text!r} is no number of times; write 10")
    return int(text)


@command(
    "watch",
    long_description="""
Run a command that gives a table every two seconds, and draw the table over the one
before, with what has changed in reverse, until Ctrl-C. With --diff it shows by how much
each row has grown since the first, and only those that have.

What is no terminal gets one table after the other.
""",
    arguments=(
        argument(
            "-n",
            "--interval",
            metavar="SECONDS",
            type=parse_seconds,
            default=2.0,
            help="how long to wait between two, 2 by default",
        ),
        argument("--times", metavar="N", type=_times, help="end after N of them"),
        argument(
            "--diff", action="store_true", help="say what has grown since the first"
        ),
        argument(
            "words",
            nargs="...",
            metavar="COMMAND",
            help="what to run, with its options",
        ),
    ),
    examples=(
        ("watch owners --by module --top 10", "which drivers hold how much, and how"),
        ("watch -n 10 --diff memory --section kinds", "which kinds of memory grow"),
    ),
    paged=False,
    kernel=False,
)
def watch(session: Session, args: argparse.Namespace) -> None:
    """Run the command."""
    watched, words = _watched(args.words)
    tty = sys.stdout.isatty()
    screen = Redrawn(sys.stdout, mark=not args.diff)
    growth: TableGrowth | None = None
    done = 0
    # Ctrl-C is how this ends, nothing was interrupted.
    try:
        while True:
            began = time.monotonic()
            table = watched.table_of(session, watched.parser.parse_line(words))
            if args.diff:
                if growth is None:
                    growth = TableGrowth(table)
                    table = watched.table_of(session, watched.parser.parse_line(words))
                table = growth.since(table)
            size = shutil.get_terminal_size()
            lines = _lines(table, size.columns if tty else None)
            heading = f"{datetime.datetime.now():%H:%M:%S}  {' '.join(args.words)}"
            if tty:
                screen.draw([heading[: size.columns], "", *lines], size.lines)
            else:
                print("\n".join([heading, *lines, ""]), flush=True)
            done += 1
            if done == args.times:
                return
            time.sleep(max(args.interval - (time.monotonic() - began), 0.05))
    except KeyboardInterrupt:
        return


def _watched(words: Sequence[str]) -> tuple[Command, Sequence[str]]:
    """
    Return what is to be run.

    :raises UsageError: if that is no command that gives a table
    """
    words = words[1:] if words[:1] == ["--"] else words
    if not words:
        raise UsageError(
            "what shall be watched is missing; write watch owners --by comm"
        )
    name = command_of(words)
    watched = NAMESPACE.get(name)
    if not watched.table or name == "trace follow":
        raise UsageError(f"{name} gives no table that could be drawn again")
    words = words[len(name.split()) :]
    args = watched.parser.parse_line(words)
    if args.output is not None or args.format not in (None, "text"):
        raise UsageError("a table that is watched is text: leave --format and -o out")
    return watched, words


def _lines(table: Table, width: int | None) -> Sequence[str]:
    # What can be shown is what the terminal can.
    encoding = getattr(raw(sys.stdout), "encoding", None) or "utf-8"
    drawn = io.BytesIO()
    out = io.TextIOWrapper(drawn, encoding, "backslashreplace", newline="")
    render(table, "text", out, width=width)
    out.flush()
    return drawn.getvalue().decode(encoding).splitlines()

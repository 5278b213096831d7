# SPDX-License-Identifier: GPL-2.0-or-later
"""``log``: what the kernel has logged."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from pagedbg.errors import PagedbgError, UsageError
from pagedbg.mm.printk import LEVELS, PrintkRecord, printk_records
from pagedbg.schema.kernel_columns import MESSAGES
from pagedbg.schema.table import Row, Table
from pagedbg.session import Session
from pagedbg.shell.command import argument, command


@command(
    "log",
    long_description="""
Print the kernel's log, as dmesg does: of a dump, up to the moment of its death. What it
says of failed allocations, out of memory and the panic is where an investigation
begins.
""",
    arguments=(
        argument("--last", metavar="N", type=int, help="only the last N messages"),
        argument(
            "--level",
            metavar="LEVEL",
            choices=LEVELS,
            help=f"only messages that are as bad, or worse: {', '.join(LEVELS)}",
        ),
    ),
    examples=(
        ("log --last 40", "what the kernel said last"),
        ("log --level err", "what went wrong"),
        ("log | grep 'allocation failure'", "which allocations failed"),
    ),
    table=True,
)
def log(session: Session, args: argparse.Namespace) -> Table:
    """Run the command."""
    if args.last is not None and args.last <= 0:
        raise UsageError("--last: write a number of messages, as in --last 40")
    worst = LEVELS.index(args.level) if args.level else None
    unreadable = 0
    records: list[PrintkRecord] = []
    try:
        for record in printk_records(session.prog):
            if record is None:
                unreadable += 1
            elif worst is None or record.level <= worst:
                unreadable += record.text is None
                records.append(record)
            if len(records) == args.last:
                break
    except ValueError as error:
        raise PagedbgError(f"the kernel's log is damaged: {error}.") from None
    records.reverse()
    rows: list[Row] = [
        (record.ts_nsec, record.level, _text(record)) for record in records
    ]
    notes = (
        [f"{unreadable:,} message{'s' if unreadable > 1 else ''} could not be read."]
        if unreadable
        else []
    )
    nothing = (
        "Nothing is in the log"
        if worst is None
        else f"Nothing as bad as {args.level} is in the log"
    )
    nothing += " as far as it could be read." if unreadable else "."
    text = (line for record in records for line in _lines(record)) if records else None
    return Table.of(MESSAGES, rows, text=text, notes=notes, empty=nothing)


def _text(record: PrintkRecord) -> str | None:
    return (
        None if record.text is None else record.text.decode(errors="backslashreplace")
    )


def _lines(record: PrintkRecord) -> Iterator[str]:
    """As dmesg prints a message, each of its lines with its time."""
    seconds, rest = divmod(record.ts_nsec, 10**9)
    text = _text(record)
    for line in ("(could not be read)" if text is None else text).split("\n"):
        yield f"[{seconds:5}.{rest // 1000:06}] {line}"

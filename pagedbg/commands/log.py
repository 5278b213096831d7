# SPDX-License-Identifier: GPL-2.0-or-later
"""``log``: what the kernel has logged."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from drgn import Program, sizeof
from drgn.helpers.linux.printk import PrintkRecord, get_printk_records

from pagedbg.analysis.table import Column, Row, Table
from pagedbg.commands.base import argument, command
from pagedbg.errors import PagedbgError, UsageError
from pagedbg.session import Session

_COLUMNS = (Column("time_ns", "ns"), Column("level", "int"), Column("message"))


@command(
    "log",
    long_description="""
Print the kernel's log, as dmesg does: of a dump, up to the moment of its death. What it says of failed allocations, out of memory and the panic
is where an investigation begins.
""",
    arguments=(argument("--last", metavar="N", type=int, help="only the last N messages"),),
    examples=(("log --last 40", "what the kernel said last"), ("log | grep 'allocation failure'", "which allocations failed")),
    table=True,
)
def log(session: Session, args: argparse.Namespace) -> Table:
    """Run the command."""
    if args.last is not None and args.last <= 0:
        raise UsageError("--last: write a number of messages, as in --last 40")
    records = kernel_log(session.prog)
    if args.last is not None:
        records = records[-args.last :]
    rows: list[Row] = [(record.timestamp, record.level, record.text.decode(errors="backslashreplace")) for record in records]
    return Table.of(_COLUMNS, rows, text=(line for record in records for line in _lines(record)), empty="The log is empty.")


def kernel_log(prog: Program) -> list[PrintkRecord]:
    """
    The messages in the kernel's log, oldest first.

    :raises PagedbgError: if one would go round in it for ever (``kernel/printk/printk_ringbuffer.h``: its ids are counted in all but two bits of a long)
    """
    ring = prog["prb"].desc_ring
    head, tail = (each.counter.value_() for each in (ring.head_id, ring.tail_id))
    if (head - tail) % (1 << 8 * sizeof(prog.type("long")) - 2) >= 1 << ring.count_bits.value_():
        raise PagedbgError("the kernel's log is damaged: its newest message comes before its oldest.")
    return get_printk_records(prog)


def _lines(record: PrintkRecord) -> Iterator[str]:
    """As dmesg prints a message, each of its lines with its time."""
    seconds, rest = divmod(record.timestamp, 10**9)
    for line in record.text.decode(errors="backslashreplace").split("\n"):
        yield f"[{seconds:5}.{rest // 1000:06}] {line}"

# SPDX-License-Identifier: GPL-2.0-or-later
"""``doctor``: what works on this target, what does not, and how to get it."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterator

from pagedbg.schema.kernel_columns import CAPABILITIES
from pagedbg.schema.table import Table
from pagedbg.session import Session
from pagedbg.shell.command import command
from pagedbg.sources.capabilities import capabilities_of


@command(
    "doctor",
    long_description=(
        "List what this target offers, and for each thing missing what it costs and how"
        " to get it."
    ),
    examples=(
        ("doctor", "what works here"),
        ("doctor --format jsonl", "the same for a script"),
    ),
    table=True,
)
def doctor(session: Session, args: argparse.Namespace) -> Table:
    """Run the command."""
    found = capabilities_of(session.target).values()
    rows = [
        (c.name, "yes" if c.state else "no", c.detail, c.cost, c.remedy) for c in found
    ]
    return Table.of(
        CAPABILITIES, rows, notes=list(session.target.notes), text=_text(rows)
    )


def _text(rows: list[tuple[str, str, str, str, str]]) -> Iterator[str]:
    width = max(len(row[0]) for row in rows)
    for name, state, detail, cost, remedy in rows:
        yield f"{'ok' if state == 'yes' else 'NO':3} {name:{width}}  {detail}"
        if state == "no":
            indent = " " * (width + 6)
            yield from textwrap.wrap(
                f"without it: {cost}",
                110,
                initial_indent=indent,
                subsequent_indent=indent,
            )
            yield from textwrap.wrap(
                f"to get it:  {remedy}",
                110,
                initial_indent=indent,
                subsequent_indent=indent,
            )

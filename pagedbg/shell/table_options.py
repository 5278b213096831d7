# SPDX-License-Identifier: GPL-2.0-or-later
"""
What ``--by``, ``--top`` and ``--sort`` say, for commands that list rows or sum them up.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Iterable, Sequence

from drgn.commands import argument

from pagedbg.errors import UsageError
from pagedbg.schema.table import Column


def by_parser(keys: Collection[str]) -> Callable[[str], list[str]]:
    """The parser of ``--by``: some of the keys, with commas."""

    def parse(text: str) -> list[str]:
        names = [part.strip() for part in text.split(",")]
        for name in names:
            if name not in keys:
                raise UsageError(
                    f"{name!r} is nothing to sum up by; choose from {', '.join(keys)}"
                )
        return list(dict.fromkeys(names))

    return parse


def refuse_no_stack(args: argparse.Namespace) -> None:
    """
    Refuse to sum up by stacks and to leave them out.

    :raises UsageError: with what to leave out
    """
    if args.no_stack and "stack" in (args.by or ["stack"]):
        raise UsageError(
            "--no-stack leaves out what is summed up by: give --by something else than"
            " stack, or leave --no-stack out"
        )


def parse_top(text: str) -> int:
    """The parser of ``--top``."""
    if not text.isdigit() or int(text) == 0:
        raise UsageError(f"{text!r} is not a number of rows; write 10")
    return int(text)


def parse_sort(text: str | None, columns: Iterable[Column]) -> tuple[str, bool] | None:
    """
    Take ``--sort`` apart.

    :return: the column, and whether the greatest comes first, as it does unless it
        holds text or ``-`` stands before it; None for no ``--sort``
    """
    if not text:
        return None
    kinds = {column.name: column.kind for column in columns}
    name = text.removeprefix("-")
    if name not in kinds:
        raise UsageError(
            f"--sort: there is no column {name!r}; choose from {', '.join(kinds)}"
        )
    return name, (kinds[name] in ("str", "stack")) == text.startswith("-")


TOP = argument("--top", metavar="N", type=parse_top, help="only the first N rows")
SORT = argument(
    "--sort",
    metavar="COLUMN",
    help=(
        "sort by COLUMN, the greatest first, text from A to Z; -COLUMN turns it round"
    ),
)
NO_STACK = argument(
    "--no-stack", action="store_true", help="leave out the stacks of the rows"
)


def without(columns: Sequence[Column], kind: str) -> list[Column]:
    """The columns that are not of a kind."""
    return [column for column in columns if column.kind != kind]


def more_rows(count: int) -> str:
    """The note on rows that were left out."""
    return f"{count} more row{'s' if count > 1 else ''}."

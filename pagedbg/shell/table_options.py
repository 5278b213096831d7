# SPDX-License-Identifier: GPL-2.0-or-later
"""
What ``--by``, ``--top`` and ``--sort`` say, for commands that list rows or sum them up.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence

from drgn.commands import argument, argument_group

from pagedbg.errors import UsageError
from pagedbg.schema.block_columns import BLOCK_KEYS
from pagedbg.schema.nearest import nearest_or_all
from pagedbg.schema.settings import parse_jobs
from pagedbg.schema.table import Column, Row

PAGE_KEY_WORDS = {"pageblock_type": "pageblock_migratetype"}
"""Words for keys that are shorter than the names of their columns."""

_KEY_OF_COLUMN = {column: word for word, column in PAGE_KEY_WORDS.items()}


class ByParser:
    """
    The parser of ``--by``: some of the keys, with commas.

    :param keys: the columns that can be summed up by
    """

    def __init__(self, keys: Collection[str]) -> None:
        self.words = tuple(
            dict.fromkeys(_KEY_OF_COLUMN.get(name, name) for name in keys)
        )
        """What is written for each, as help and completion have it."""
        self._keys = {PAGE_KEY_WORDS.get(name, name) for name in keys}

    def __call__(self, text: str) -> list[str]:
        """Return the columns that are meant."""
        names = [part.strip() for part in text.split(",")]
        names = [PAGE_KEY_WORDS.get(name, name) for name in names]
        for name in names:
            if name not in self._keys:
                raise UsageError(
                    f"{name!r} is nothing to sum up by"
                    f"{nearest_or_all(name, self.words)}"
                )
        return list(dict.fromkeys(names))


def by_option(keys: Sequence[str]) -> argument:
    """``--by``, for a command that sums up by some of these columns."""
    parser = ByParser(keys)
    option: argument = argument(
        "--by",
        metavar="KEY",
        type=parser,
        help="sum up by KEY, or several with commas: " + ", ".join(parser.words),
    )
    return option


@dataclasses.dataclass(frozen=True)
class TableColumns:
    """
    The columns that a command's table has. ``rows`` are those of what it lists. Where
    it sums that up, by the ``keys`` if there is no ``--by``, ``sums`` are those that
    follow the keys. ``--sort`` takes none of the names in ``unsorted``. With an option
    of ``instead`` the table is another one, or one of which nothing is known here.
    """

    rows: Sequence[Column] = ()
    sums: Sequence[Column] = ()
    keys: Sequence[str] = ()
    unsorted: Collection[str] = ()
    instead: Mapping[str, TableColumns | None] = dataclasses.field(default_factory=dict)


TABLE_COLUMNS: dict[str, TableColumns] = {}
"""
By command, the columns of its table: what ``--sort`` and ``--columns`` can name.
"""


BLOCK_KEY_WORDS = (*(column.name for column in BLOCK_KEYS), *PAGE_KEY_WORDS)
"""What blocks on record and pages can be summed up by."""

BY = by_option(BLOCK_KEY_WORDS)


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
            f"--sort: there is no column {name!r}{nearest_or_all(name, kinds)}"
        )
    return name, (kinds[name] in ("str", "stack")) == text.startswith("-")


def sorted_rows(rows: Sequence[Row], place: int, descending: bool) -> list[Row]:
    """Sort rows by a column; what is not known comes last."""
    known = [row for row in rows if row[place] is not None]
    unknown = [row for row in rows if row[place] is None]
    return [
        *sorted(known, key=lambda row: row[place], reverse=descending),
        *unknown,
    ]


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


STACK_PICTURE = argument_group(
    argument(
        "--inverted",
        action="store_true",
        help="begin with the outermost frames, not with whoever asked the allocator",
    ),
    argument(
        "--allocator",
        action="store_true",
        help="draw the frames of the allocator itself, too",
    ),
    title="pictures of stacks",
)


JOBS = argument(
    "--jobs",
    metavar="N",
    type=parse_jobs,
    help=(
        "have up to N processes read memory, one for each 16 GiB of it; by default as"
        " set jobs says, or as many as there are CPUs, but one; 1 for no other than"
        " this"
    ),
)


def parse_columns(text: str) -> tuple[str, ...]:
    """The parser of ``--columns``: names, with a ``-`` before one to leave out."""
    names = tuple(part.strip() for part in text.split(","))
    if not all(name.removeprefix("-") for name in names):
        raise UsageError(f"{text!r} is no list of columns; write pfn,comm or -stack")
    return names


def chosen_columns(
    columns: Sequence[Column], wanted: Sequence[str] | None
) -> list[Column]:
    """
    Choose columns as ``--columns`` says: those that it names, in that order, or all but
    those with a ``-``.

    :param wanted: as :func:`parse_columns` returns it; None is all
    :raises UsageError: if there is no such column, or none is left
    """
    known = {column.name: column for column in columns}
    for name in wanted or ():
        word = name.removeprefix("-")
        if word not in known:
            raise UsageError(
                f"--columns: there is no column {word!r}{nearest_or_all(word, known)}"
            )
    named = [name for name in wanted or () if not name.startswith("-")] or known
    chosen = [known[name] for name in named if f"-{name}" not in (wanted or ())]
    if not chosen:
        raise UsageError("--columns: no column is left")
    return list(dict.fromkeys(chosen))


def without(columns: Sequence[Column], kind: str) -> list[Column]:
    """The columns that are not of a kind."""
    return [column for column in columns if column.kind != kind]


def without_stacks(columns: Sequence[Column]) -> list[Column]:
    """The columns that ``--no-stack`` does not leave out."""
    left_out = ("stack", "stack_id", "stack_shape")
    return [column for column in columns if column.name not in left_out]


def more_rows(count: int) -> str:
    """The note on rows that were left out."""
    return f"{count} more row{'s' if count > 1 else ''}."

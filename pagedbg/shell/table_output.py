# SPDX-License-Identifier: GPL-2.0-or-later
"""
Where a command's table goes, which of its columns, and in what format: ``--format``,
``--columns`` and ``-o``.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from typing import TextIO

from drgn.commands import argument, argument_group

from pagedbg.analysis.undrawn import UndrawnRows
from pagedbg.errors import PagedbgError, UsageError
from pagedbg.output import render
from pagedbg.output.file_formats import PICTURES, StackOptions, file_format, file_writer
from pagedbg.output.printable import printable, printed
from pagedbg.output.whole_file import whole_file
from pagedbg.schema.settings import FORMATS
from pagedbg.schema.table import Row, Table
from pagedbg.shell.table_options import chosen_columns, parse_columns

_ENDINGS = {"md": "markdown", **{name: name for name in FORMATS if name != "text"}}
"""Formats by the endings of files."""


def output_arguments(formats: Sequence[str]) -> argument_group:
    """The options of a command that returns a table."""
    return argument_group(
        argument(
            "--columns",
            metavar="COLUMNS",
            type=parse_columns,
            help="only these, in this order: pfn,comm; or all but some: -stack,-gfp",
        ),
        argument(
            "--format",
            metavar="FORMAT",
            choices=formats,
            help="how to print: "
            + ", ".join(formats)
            + " (spreadsheets: take names as text, = begins a formula)",
        ),
        argument(
            "-o",
            "--output",
            metavar="FILE",
            help=(
                "write to FILE, which is there once it is whole; its ending"
                f" ({', '.join(f'.{name}' for name in _ENDINGS)}) chooses the format"
                " where --format does not, as it does behind >; a map is drawn"
                " into .svg and .png, and stacks into .svg, .png, .html, .folded and"
                " .speedscope.json"
            ),
        ),
        title="output",
    )


def format_for(args: argparse.Namespace, stdout: str | None) -> str | None:
    """
    The format that a table's command line asks for; None for the session's.

    :param stdout: the name of the file that ``sys.stdout`` is, if it is one by ``>``
    """
    return args.format or _format_of(args.output or stdout or "")


def with_columns(table: Table, wanted: Sequence[str] | None) -> Table:
    """
    A table with the columns that ``--columns`` asks for. For people it is drawn as a
    table then, whatever it was.
    """
    if wanted is None:
        return table
    columns = chosen_columns(table.columns, wanted)
    places = [table.columns.index(column) for column in columns]
    if len(places) != len(table.columns) or places != sorted(places):
        table.batches = _picked(table.batches, places)
    table.columns, table.text, table.drawing, table.sections = columns, None, None, ()
    return table


def _picked(
    batches: Iterable[Sequence[Row]], places: Sequence[int]
) -> Iterator[Sequence[Row]]:
    pick = itemgetter(*places)
    for rows in batches:
        if isinstance(rows, UndrawnRows):
            yield UndrawnRows([rows.columns[place] for place in places])
        else:
            yield [pick(row) if len(places) > 1 else (pick(row),) for row in rows]


def draw(table: Table, args: argparse.Namespace, format_: str, title: str) -> None:
    """
    Draw a table where a command line wants it, to ``sys.stdout`` by default.

    :param title: what stands above a picture
    :raises UsageError: if it is to be in a kind of file that has no place for it
    """
    options = StackOptions(
        getattr(args, "inverted", False), getattr(args, "allocator", False)
    )
    ending = None if args.format else file_format(args.output or "")
    if options != StackOptions() and ending not in PICTURES:
        raise UsageError(
            "--inverted and --allocator are for pictures of stacks: give -o FILE.svg"
        )
    if args.output is None:
        if format_ == "parquet" and sys.stdout.isatty():
            raise PagedbgError("Parquet is not for a terminal: write it with -o.")
        _write(table, format_, sys.stdout)
        return
    if ending is not None:
        writer = file_writer(table, ending, title, options)
        with whole_file(args.output) as file:
            file.writelines(writer())
        render.say(table.notes)
        return
    with whole_file(args.output) as file:
        out = io.TextIOWrapper(
            file, encoding="utf-8", errors="backslashreplace", newline=""
        )
        try:
            _write(table, format_, printed(out))
        finally:
            # Which writes what is left; the file is closed by who has opened it.
            out.detach()


def _write(table: Table, format_: str, out: TextIO) -> None:
    if format_ in FORMATS:
        render.show(table, format_, out)
        return
    # A format of the command's own, for programs.
    assert table.text is not None and not isinstance(table.text, Table)
    for line in table.text:
        out.write(printable(line) + "\n")
    render.say(table.notes)


def _format_of(path: str) -> str | None:
    if file_format(path) is not None:
        # Which has no rows.
        return None
    ending = os.path.splitext(path)[1].removeprefix(".").lower()
    return _ENDINGS.get(ending)

# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a command's table goes, and in what format: ``--format`` and ``-o``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TextIO

from drgn.commands import argument, argument_group

from pagedbg.output import render
from pagedbg.output.printable import printable, printed
from pagedbg.schema.table import Table
from pagedbg.session import FORMATS
from pagedbg.shell.words import refuse_parquet


def output_arguments(formats: Sequence[str]) -> argument_group:
    """The options of a command that returns a table."""
    return argument_group(
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
                "write to FILE; its ending (.json, .jsonl, .csv, .tsv) chooses the"
                " format where --format does not, as it does behind >"
            ),
        ),
        title="output",
    )


def format_for(args: argparse.Namespace, stdout: str | None) -> str | None:
    """
    The format that a table's command line asks for; None for the session's.

    :param stdout: the name of the file that ``sys.stdout`` is, if it is one by ``>``
    :raises UsageError: for an ending that promises what is not written
    """
    return args.format or _format_of(args.output or stdout or "")


def draw(table: Table, args: argparse.Namespace, format_: str) -> None:
    """Draw a table where a command line wants it, to ``sys.stdout`` by default."""
    if args.output is None:
        _write(table, format_, sys.stdout)
        return
    with open(
        args.output, "w", encoding="utf-8", errors="backslashreplace", newline=""
    ) as out:
        _write(table, format_, printed(out))


def _write(table: Table, format_: str, out: TextIO) -> None:
    if format_ in FORMATS:
        render.show(table, format_, out)
        return
    # A format of the command's own, for programs.
    assert table.text is not None and not isinstance(table.text, Table)
    for line in table.text:
        out.write(printable(line) + "\n")
    for note in table.notes:
        print(printable(note), file=sys.stderr)


def _format_of(path: str) -> str | None:
    refuse_parquet(path)
    ending = os.path.splitext(path)[1].removeprefix(".").lower()
    return ending if ending in FORMATS else None

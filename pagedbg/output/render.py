# SPDX-License-Identifier: GPL-2.0-or-later
"""
Drawing a table: text for people; JSON, JSON lines and CSV for programs.

Rows are written as they come, so that a table may be larger than memory. What programs
read carries plain values (numbers are numbers, an unknown value is null or empty) and
nothing else: notes go to standard error there.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TextIO

from pagedbg.output.data_formats import WRITERS, transposed
from pagedbg.output.paragraphs import reflow
from pagedbg.output.printable import Printed, printable, printable_line, raw
from pagedbg.schema.table import Column, Kind, Table

_BOLD, _DIM, _RESET = "\x1b[1m", "\x1b[2m", "\x1b[0m"
_GAP = "  "
_FRAME_INDENT = "    "
_NARROWEST = 6
"""A text column is not cut below this; columns are left out instead."""


def show(table: Table, format: str, out: TextIO) -> None:
    """Draw a table with the width and the colours that ``out`` can take."""
    tty = out.isatty()
    if isinstance(out, Printed) and (format == "text" or not out.terminal):
        # Text is made printable here, cell by cell, and has our colours in it; data
        # that no terminal shows stays as it is.
        out = raw(out)
    render(
        table,
        format,
        out,
        width=shutil.get_terminal_size().columns if tty else None,
        color=tty and wants_color(),
    )


def wants_color() -> bool:
    """
    Whether the user's terminal takes colours and the user wants them (NO_COLOR,
    TERM=dumb).
    """
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"


def render(
    table: Table,
    format: str,
    out: TextIO,
    *,
    width: int | None = None,
    color: bool = False,
) -> None:
    """
    Draw a table.

    :param format: One of :data:`pagedbg.session.FORMATS`.
    :param width: How many columns a terminal has: long text is cut and, if that is not
        enough, columns are left out. None keeps everything.
    :param color: Whether terminal colours may be used.
    """
    if format == "text":
        _text(table, out, width, color)
        return
    WRITERS[format](table, out)
    for note in table.notes:
        print(printable(note), file=sys.stderr)


# ---- for people ----------


def _size(value: float) -> str:
    """Return a number of bytes with a binary unit."""
    if value < 1024:
        return f"{value} B"
    units = ("KiB", "MiB", "GiB", "TiB")
    size, power = value / 1024, 0
    while size >= 1024 and power < len(units) - 1:
        size, power = size / 1024, power + 1
    return f"{size:.1f} {units[power]}"


_FORMAT: dict[Kind, Callable[[Any], str]] = {
    "int": str,
    "hex": lambda value: f"{value:#x}",
    "bool": lambda value: "yes" if value else "no",
    "list": lambda value: printable(", ".join(value)),
    "str": printable,
    "bytes": _size,
    "share": lambda value: f"{value:.1f}%",
    "ns": lambda value: f"{value / 1e9:.6f}s",
}


def _columns_of(text: str) -> int:
    """Return how many terminal columns a text takes."""
    if text.isascii():
        return len(text)
    # Imported for those who need it: most names are ASCII, and a first answer is to
    # come at once.
    from rich.cells import cell_len

    return cell_len(text)


def _cut(text: str, width: int) -> str:
    """Return the text cut to a width, with an ellipsis where something was cut."""
    if _columns_of(text) <= width:
        return text
    from rich.cells import set_cell_size

    return set_cell_size(text, width - 1).rstrip() + "…"


def _text_cells(kind: Kind, values: Sequence[Any]) -> list[str]:
    """Return a column as text; of text, which repeats, each is looked at once."""
    if kind == "str":
        texts = {
            value: "-" if value is None else printable(value) for value in set(values)
        }
        return [texts[value] for value in values]
    form = _FORMAT[kind]
    return ["-" if value is None else form(value) for value in values]


class _Layout:
    """Which columns are shown, how wide, and how rows become lines."""

    def __init__(self, columns: Sequence[Column], room: int | None) -> None:
        self._columns = columns
        self._room = room
        self._natural = [_columns_of(column.name) for column in columns]
        self._widths: list[int] = []
        self._shown: list[int] | None = None

    @property
    def hidden(self) -> list[str]:
        """The names of the columns that have no room."""
        return (
            []
            if self._shown is None
            else [
                column.name
                for i, column in enumerate(self._columns)
                if i not in self._shown
            ]
        )

    def fit(self, cells: Sequence[Sequence[str]]) -> None:
        """
        Widen the columns to hold more rows; which of them are shown is settled by the
        first rows.
        """
        for i, column_cells in enumerate(cells):
            self._natural[i] = max(
                self._natural[i], max(map(_columns_of, set(column_cells)))
            )
        self._widths = list(self._natural)
        if self._shown is None:
            self._shown = self._choose()
        if self._room is not None:
            self._shrink(self._shown, self._room)

    def _choose(self) -> list[int]:
        """
        Return the columns that fit when each text column is cut as far as it may be: by
        rank, and of one rank the leading ones.
        """
        shown: list[int] = []
        used = -len(_GAP)
        columns = sorted(enumerate(self._columns), key=lambda each: each[1].rank)
        for i, column in columns:
            least = (
                min(self._natural[i], _NARROWEST)
                if column.kind == "str"
                else self._natural[i]
            )
            used += least + len(_GAP)
            if self._room is not None and used > self._room and shown:
                break
            shown.append(i)
        return sorted(shown)

    def _shrink(self, shown: Sequence[int], room: int) -> None:
        """
        Take from the widest text column until the line fits or nothing can be taken any
        more.
        """
        excess = sum(self._widths[i] + len(_GAP) for i in shown) - len(_GAP) - room
        texts = [i for i in shown if self._columns[i].kind == "str"]
        while excess > 0 and texts:
            widest = max(texts, key=lambda i: self._widths[i])
            if self._widths[widest] <= _NARROWEST:
                break
            self._widths[widest] -= 1
            excess -= 1

    def lines(self, cells: Sequence[Sequence[str]]) -> Iterator[str]:
        """
        Iterate over the lines of rows that were given to :meth:`fit`, column by column.
        """
        assert self._shown is not None
        padded = [self._padded(i, cells[i]) for i in self._shown]
        for row in zip(*padded, strict=True):
            yield _GAP.join(row).rstrip()

    def _padded(self, i: int, cells: Sequence[str]) -> list[str]:
        width = self._widths[i]
        if self._columns[i].kind != "str":
            return [cell.rjust(width) for cell in cells]
        texts = {}
        for cell in set(cells):
            cut = cell if self._room is None else _cut(cell, width)
            texts[cell] = cut + " " * (width - _columns_of(cut))
        return [texts[cell] for cell in cells]


def _text(table: Table, out: TextIO, width: int | None, color: bool) -> None:
    dim, reset = (_DIM, _RESET) if color else ("", "")
    hidden: list[str] = []
    if table.text is None or isinstance(table.text, Table):
        hidden = _text_rows(table.text or table, out, width, color)
    else:
        out.writelines(printable_line(line) + "\n" for line in table.text)
    # Only now: notes may be added until the last row is taken.
    notes = list(table.notes)
    if hidden:
        notes.append(
            f"No room for {', '.join(hidden)}: widen the terminal, or use --format or |"
            " less -S."
        )
    for note in map(printable, notes):
        out.write(f"{dim}{note if width is None else reflow(note, width)}{reset}\n")


def _text_rows(table: Table, out: TextIO, width: int | None, color: bool) -> list[str]:
    """Write the rows and return the names of the columns that had no room."""
    bold, dim, reset = (_BOLD, _DIM, _RESET) if color else ("", "", "")
    frame = f"{dim}{_FRAME_INDENT}%s{reset}\n"
    flat = [i for i, column in enumerate(table.columns) if column.kind != "stack"]
    stacks = [i for i, column in enumerate(table.columns) if column.kind == "stack"]
    columns = [table.columns[i] for i in flat]
    layout = _Layout(columns, width)
    any_row = False
    for rows in table.batches:
        if not rows:
            continue
        values = transposed(table, rows)
        cells = [_text_cells(table.columns[i].kind, values[i]) for i in flat]
        layout.fit(cells)
        if not any_row:
            header = next(layout.lines([[column.name] for column in columns]))
            out.write(f"{bold}{header}{reset}\n")
            any_row = True
        # One write for a batch: standard output may be unbuffered.
        out.write(
            "".join(_row_lines(layout.lines(cells), [values[i] for i in stacks], frame))
        )
    if not any_row:
        out.write(printable(table.empty) + "\n")
    return layout.hidden


def _row_lines(
    lines: Iterable[str], stacks: Sequence[Sequence[Any]], frame_line: str
) -> Iterator[str]:
    """Iterate over a batch's lines: each row, and below it its stacks."""
    for number, line in enumerate(lines):
        yield line + "\n"
        for column in stacks:
            for frame in column[number] or ("(no stack)",):
                yield frame_line % printable(frame)

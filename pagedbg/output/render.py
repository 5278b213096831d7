# SPDX-License-Identifier: GPL-2.0-or-later
"""
Drawing a table: text for people, data for programs.

Rows are written as they come, so that a table may be larger than memory. What programs
read carries plain values (numbers are numbers, an unknown value is null or empty) and
nothing else: notes go to standard error there.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TextIO

from pagedbg.output.data_formats import WRITERS, nested_json, transposed
from pagedbg.output.paragraphs import fitted, hanging, reflow
from pagedbg.output.printable import Printed, printable, printable_line, raw
from pagedbg.output.sparkline import PLAIN, sparkline
from pagedbg.schema.sizes import size
from pagedbg.schema.table import Column, Kind, Table, Window

_BOLD, _DIM, _RESET = "\x1b[1m", "\x1b[2m", "\x1b[0m"
_GAP = "  "

# What stands before what a line says of it: `memory:     99 MiB in 25,412 pages`, and
# `NO  complete dump    left out: free pages`.
_NAMED = re.compile(r"\w+:\s+|(?:ok|NO)\s+\S+(?: \S+)*\s{2,}")

_FRAME_INDENT = "    "
_LINES = 36
"""Of a drawing that no window bounds."""
_NARROWEST, _NAMES = 10, 16
"""
A text column is not cut below this, nor one of rank 1, which says what a row is of,
below the other; columns are left out instead.
"""


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


def window_of(out: TextIO) -> Window:
    """The window that :func:`show` draws in."""
    tty = out.isatty()
    width = shutil.get_terminal_size().columns if tty else None
    return _window(out, width, tty and wants_color())


def _window(out: TextIO, width: int | None, color: bool) -> Window:
    size = shutil.get_terminal_size()
    encoding = (getattr(out, "encoding", None) or "").lower()
    return Window(
        size.columns if width is None else width,
        _LINES if width is None else size.lines,
        color,
        encoding.startswith("utf"),
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
    if format == "parquet":
        from pagedbg.output.parquet import write_parquet

        write_parquet(table, out)
    else:
        WRITERS[format](table, out)
    say(table.notes)


def say(notes: Iterable[str]) -> None:
    """Say sentences beside what programs read, on standard error."""
    for note in notes:
        print(fitted(printable(note), sys.stderr), file=sys.stderr)


# ---- for people ----------


_FORMAT: dict[Kind, Callable[[Any], str]] = {
    "int": str,
    "hex": lambda value: f"{value:#x}",
    "float": lambda value: f"{value:.6g}",
    "bool": lambda value: "yes" if value else "no",
    "series": sparkline,
    "list": lambda value: printable(", ".join(value)),
    "str": printable,
    "bytes": size,
    "share": lambda value: f"{value:.1f}%",
    "ns": lambda value: f"{value / 1e9:.6f}s",
}

# What stands on the left of its column, and is cut where there is no room.
_CUT = ("str", "list")


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


def text_cells(column: Column, values: Sequence[Any]) -> list[str]:
    """Return a column as text; of text, which repeats, each is looked at once."""
    kind = column.kind
    if kind in ("row", "rows"):
        return [printable(nested_json(column, value) or "-") for value in values]
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
        for i in sorted(range(len(self._columns)), key=lambda i: self._columns[i].rank):
            used += self._least(i) + len(_GAP)
            if self._room is not None and used > self._room and shown:
                break
            shown.append(i)
        return sorted(shown)

    def _least(self, i: int) -> int:
        """The width that a column has at least, if it is shown."""
        column, natural = self._columns[i], self._natural[i]
        if column.kind not in _CUT:
            return natural
        return min(natural, _NAMES if column.rank == 1 else _NARROWEST)

    def _shrink(self, shown: Sequence[int], room: int) -> None:
        """
        Take from the widest text column until the line fits or nothing can be taken any
        more.
        """
        excess = sum(self._widths[i] + len(_GAP) for i in shown) - len(_GAP) - room
        while excess > 0:
            wide = [i for i in shown if self._widths[i] > self._least(i)]
            if not wide:
                break
            self._widths[max(wide, key=lambda i: self._widths[i])] -= 1
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
        if self._columns[i].kind not in _CUT:
            return [cell.rjust(width) for cell in cells]
        texts = {}
        for cell in set(cells):
            cut = cell if self._room is None else _cut(cell, width)
            texts[cell] = cut + " " * (width - _columns_of(cut))
        return [texts[cell] for cell in cells]


def _text(table: Table, out: TextIO, width: int | None, color: bool) -> None:
    dim, reset = (_DIM, _RESET) if color else ("", "")
    hidden: list[str] = []
    if table.drawing is not None:
        window = _window(out, width, color)
        out.writelines(line + "\n" for line in table.drawing.lines(window))
    elif table.text is None or isinstance(table.text, Table):
        hidden = _text_rows(table.text or table, out, width, color)
    else:
        out.writelines(
            f"{_fitted(printable_line(line), width)}\n" for line in table.text
        )
    # Only now: notes may be added until the last row is taken.
    notes = [*table.notes, *table.closing]
    if hidden:
        notes.append(
            f"No room for {', '.join(hidden)}: widen the terminal, or use --format or |"
            " less -S."
        )
    for note in map(printable, notes):
        out.write(f"{dim}{note if width is None else reflow(note, width)}{reset}\n")
    for heading, section in table.sections:
        bold = _BOLD if color else ""
        out.write(f"\n{bold}{_fitted(printable(heading), width)}{reset}\n")
        _text(section, out, width, color)


def _fitted(line: str, width: int | None) -> str:
    """
    Wrap a sentence, what is indented, or what something named is; rows of a table are
    left as they are.
    """
    if width is None:
        return line
    if named := _NAMED.match(line):
        return hanging(line, width, named.end())
    row = "  " in line and not line.startswith(" ")
    return line if row else reflow(line, width)


def _text_rows(table: Table, out: TextIO, width: int | None, color: bool) -> list[str]:
    """Write the rows and return the names of the columns that had no room."""
    bold, dim, reset = (_BOLD, _DIM, _RESET) if color else ("", "", "")
    frame = f"{dim}{_FRAME_INDENT}%s{reset}\n"
    flat = [i for i, column in enumerate(table.columns) if column.kind != "stack"]
    stacks = [i for i, column in enumerate(table.columns) if column.kind == "stack"]
    columns = [table.columns[i] for i in flat]
    layout = _Layout(columns, width)
    unicode = _window(out, width, color).unicode
    any_row = False
    for rows in table.batches:
        if not rows:
            continue
        values = transposed(table, rows)
        cells = [text_cells(table.columns[i], values[i]) for i in flat]
        if not unicode:
            cells = [
                [cell.translate(PLAIN) for cell in each]
                if column.kind == "series"
                else each
                for column, each in zip(columns, cells, strict=True)
            ]
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

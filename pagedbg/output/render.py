# SPDX-License-Identifier: GPL-2.0-or-later
"""
Drawing a table: text for people; JSON, JSON lines and CSV for programs.

Rows are written as they come, so that a table may be larger than memory. What programs
read carries plain values (numbers are numbers, an unknown value is null or empty) and
nothing else: notes go to standard error there.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TextIO

from pagedbg.output.printable import Printed, printable, printable_line, raw
from pagedbg.schema.table import Column, Kind, Row, Table

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
    {"json": _json, "jsonl": _jsonl, "csv": _csv, "tsv": _tsv}[format](table, out)
    for note in table.notes:
        print(printable(note), file=sys.stderr)


# ---- for programs ----------

# The integers that a double holds one by one: RFC 8259, section 6.
_EXACT = 1 << 53


def _plain(value: Any) -> Any:
    """
    Return the Python value of a NumPy scalar or array, or the list of a sequence; json
    asks for what it does not know.
    """
    return value.tolist() if hasattr(value, "tolist") else list(value)


_encoder = json.JSONEncoder(allow_nan=False, default=_plain)


def _encode(value: Any) -> str:
    """
    Return a value as JSON in printable ASCII; json itself leaves the one control
    character above it.
    """
    return _encoder.encode(value).replace("\x7f", "\\u007f")


def _json_cells(kind: Kind, values: Sequence[Any]) -> list[str]:
    """
    Return the JSON of a column. Of text and stacks, which repeat, each is encoded once.
    """
    if kind == "str":
        texts = {value: _encode(value) for value in set(values)}
        return [texts[value] for value in values]
    if kind == "stack":
        stacks = {id(value): value for value in values}
        encoded = {key: _encode(value) for key, value in stacks.items()}
        return [encoded[id(value)] for value in values]
    return [
        str(value) if type(value) is int and abs(value) <= _EXACT else _scalar(value)
        for value in values
    ]


def _scalar(value: Any) -> str:
    """
    Return a value as JSON; a number as text where a reader that takes it for a double
    would get another one.
    """
    if hasattr(value, "item"):
        value = value.item()
    if type(value) is int and abs(value) > _EXACT:
        return f'"{value:#x}"'
    return _encode(value)


def _json_lines(table: Table) -> Iterator[list[str]]:
    """Iterate over the batches of a table as one JSON object a row."""
    template = (
        "{"
        + ", ".join(
            _encode(column.name).replace("%", "%%") + ": %s" for column in table.columns
        )
        + "}"
    )
    for rows in table.batches:
        cells = [
            _json_cells(column.kind, values)
            for column, values in zip(
                table.columns, _transposed(table, rows), strict=True
            )
        ]
        yield [template % row for row in zip(*cells, strict=True)]


def _transposed(table: Table, rows: Sequence[Row]) -> list[Sequence[Any]]:
    """Return the columns of a batch of rows."""
    return list(zip(*rows, strict=True)) or [()] * len(table.columns)


def _json(table: Table, out: TextIO) -> None:
    opened = False
    for lines in _json_lines(table):
        if lines:
            out.write((",\n" if opened else "[\n") + ",\n".join(lines))
            opened = True
    out.write("\n]\n" if opened else "[]\n")


def _jsonl(table: Table, out: TextIO) -> None:
    for lines in _json_lines(table):
        out.write("".join([line + "\n" for line in lines]))


def _csv(table: Table, out: TextIO) -> None:
    writer = csv.writer(out, lineterminator="\n")
    # Python 3.11 leaves a lone carriage return unquoted, and a reader takes it for the
    # end of the row.
    careful = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow([column.name for column in table.columns])
    stacks = [
        i for i, column in enumerate(table.columns) if column.kind in ("list", "stack")
    ]
    texts = [
        i
        for i, column in enumerate(table.columns)
        if column.kind in ("str", "list", "stack")
    ]
    for batch in table.batches:
        rows = list(_joined(batch, stacks)) if stacks else batch
        returns = any(
            "\r" in text for i in texts for text in {row[i] for row in rows} if text
        )
        (careful if returns else writer).writerows(rows)


# As PostgreSQL and ClickHouse write text with tabs between.
_ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})


def _tsv(table: Table, out: TextIO) -> None:
    out.write("\t".join(column.name for column in table.columns) + "\n")
    stacks = [
        i for i, column in enumerate(table.columns) if column.kind in ("list", "stack")
    ]
    for batch in table.batches:
        out.writelines(
            "\t".join(
                "" if value is None else str(value).translate(_ESCAPES) for value in row
            )
            + "\n"
            for row in _joined(batch, stacks)
        )


def _joined(rows: Sequence[Row], stacks: Sequence[int]) -> Iterator[Row]:
    """
    Iterate over rows with their stacks as text. Rows share stacks: each is joined once.
    """
    texts: dict[int, str] = {}
    for row in rows:
        cells = list(row)
        for i in stacks:
            stack = cells[i]
            if stack is not None:
                if id(stack) not in texts:
                    texts[id(stack)] = ";".join(stack)
                cells[i] = texts[id(stack)]
        yield cells


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
        Return the leading columns that fit when each text column is cut as far as it
        may be.
        """
        shown: list[int] = []
        used = -len(_GAP)
        for i, column in enumerate(self._columns):
            least = (
                min(self._natural[i], _NARROWEST)
                if column.kind == "str"
                else self._natural[i]
            )
            used += least + len(_GAP)
            if self._room is not None and used > self._room and shown:
                break
            shown.append(i)
        return shown

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
    if table.text is not None:
        out.writelines(printable_line(line) + "\n" for line in table.text)
    else:
        hidden = _text_rows(table, out, width, color)
    # Only now: notes may be added until the last row is taken.
    notes = list(table.notes)
    if hidden:
        notes.append(
            f"No room for {', '.join(hidden)}: widen the terminal, or use --format or |"
            " less -S."
        )
    out.writelines(f"{dim}{printable(note)}{reset}\n" for note in notes)


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
        values = _transposed(table, rows)
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

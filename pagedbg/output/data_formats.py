# SPDX-License-Identifier: GPL-2.0-or-later
"""
A table for programs: JSON, JSON lines, CSV, and text with tabs between; and for pages
that are written in Markdown.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TextIO

from pagedbg.analysis.undrawn import UndrawnRows
from pagedbg.output.printable import printable
from pagedbg.schema.table import Column, Row, Table

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


def _json_cells(column: Column, values: Sequence[Any]) -> list[str]:
    """
    Return the JSON of a column. Of text and stacks, which repeat, each is encoded once.
    """
    kind = column.kind
    if kind == "str":
        texts = {value: _encode(value) for value in set(values)}
        return [texts[value] for value in values]
    if kind == "stack":
        stacks = {id(value): value for value in values}
        encoded = {key: _encode(value) for key, value in stacks.items()}
        return [encoded[id(value)] for value in values]
    if kind in ("row", "rows"):
        return [_encode(_nested(column, value)) for value in values]
    return [
        str(value)
        if type(value) is int and abs(value) <= _EXACT
        else _encode(_exact(value))
        for value in values
    ]


def _nested(column: Column, value: Any) -> Any:
    """Return what JSON has for the rows in a cell, or for a value in one of them."""
    if value is None:
        return None
    if column.kind == "rows":
        return [_object(column.fields, row) for row in value]
    if column.kind == "row":
        return _object(column.fields, value)
    return _exact(value)


def _object(columns: Sequence[Column], row: Row) -> dict[str, Any]:
    return {
        column.name: _nested(column, value)
        for column, value in zip(columns, row, strict=True)
    }


def _exact(value: Any) -> Any:
    """Return a number beyond 2**53 as text: a reader may take it for a double."""
    if hasattr(value, "item"):
        value = value.item()
    if type(value) is int and abs(value) > _EXACT:
        return f"{value:#x}"
    return value


def nested_json(column: Column, value: Any) -> str | None:
    """Return a cell with rows in it as JSON, for formats that know no such thing."""
    return None if value is None else _encode(_nested(column, value))


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
            _json_cells(column, values)
            for column, values in zip(
                table.columns, transposed(table, rows), strict=True
            )
        ]
        yield [template % row for row in zip(*cells, strict=True)]


def transposed(table: Table, rows: Sequence[Row]) -> list[Sequence[Any]]:
    """Return the columns of a batch of rows."""
    if isinstance(rows, UndrawnRows):
        return rows.drawn
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
    texts = [
        i for i, column in enumerate(table.columns) if column.kind in ("str", *_SEVERAL)
    ]
    for batch in table.batches:
        rows = _flat(table.columns, batch)
        returns = any(
            "\r" in text for i in texts for text in {row[i] for row in rows} if text
        )
        (careful if returns else writer).writerows(rows)


# As PostgreSQL and ClickHouse write text with tabs between.
_ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})


def _tsv(table: Table, out: TextIO) -> None:
    out.write("\t".join(column.name for column in table.columns) + "\n")
    for batch in table.batches:
        lines = ("\t".join(map(_tsv_cell, row)) for row in _flat(table.columns, batch))
        out.write("".join(f"{line}\n" for line in lines))


def _tsv_cell(value: Any) -> str:
    return "" if value is None else str(value).translate(_ESCAPES)


def _markdown(table: Table, out: TextIO) -> None:
    """As GitHub's tables, which have a line a row."""
    numbers = ("str", "bool", *_SEVERAL)
    out.write(f"| {' | '.join(column.name for column in table.columns)} |\n|")
    out.write("".join("---|" if c.kind in numbers else "--:|" for c in table.columns))
    out.write("\n")
    for batch in table.batches:
        lines = (
            " | ".join(map(_markdown_cell, row)) for row in _flat(table.columns, batch)
        )
        out.write("".join(f"| {line} |\n" for line in lines))


# What would be a mark-up, or end the cell or the row.
_MARKED = re.compile(r"[\\`*_<>|\[\]&~#]")


def _markdown_cell(value: Any) -> str:
    if value is None:
        return ""
    return _MARKED.sub(lambda mark: "\\" + mark[0], printable(value))


# The kinds of columns with several values in a cell.
_SEVERAL = ("list", "stack", "row", "rows", "series")


def _flat(columns: Sequence[Column], rows: Sequence[Row]) -> Sequence[Row]:
    """
    Return rows with each cell that holds several values as text. Rows share stacks:
    each is joined once.
    """
    several = [(i, each) for i, each in enumerate(columns) if each.kind in _SEVERAL]
    if not several:
        return rows
    texts: dict[int, str] = {}
    flat: list[Row] = []
    for row in rows:
        cells = list(row)
        for i, column in several:
            value = cells[i]
            if value is None:
                continue
            if column.kind in ("row", "rows"):
                cells[i] = nested_json(column, value)
                continue
            if id(value) not in texts:
                texts[id(value)] = ";".join(map(str, value))
            cells[i] = texts[id(value)]
        flat.append(cells)
    return flat


WRITERS: dict[str, Callable[[Table, TextIO], None]] = {
    "json": _json,
    "jsonl": _jsonl,
    "csv": _csv,
    "tsv": _tsv,
    "markdown": _markdown,
}
"""What writes a table as text, by format."""

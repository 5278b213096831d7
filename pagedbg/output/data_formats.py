# SPDX-License-Identifier: GPL-2.0-or-later
"""A table for programs: JSON, JSON lines, CSV, and text with tabs between."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TextIO

from pagedbg.schema.table import Kind, Row, Table

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
                table.columns, transposed(table, rows), strict=True
            )
        ]
        yield [template % row for row in zip(*cells, strict=True)]


def transposed(table: Table, rows: Sequence[Row]) -> list[Sequence[Any]]:
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
        lines = ("\t".join(map(_tsv_cell, row)) for row in _joined(batch, stacks))
        out.write("".join(f"{line}\n" for line in lines))


def _tsv_cell(value: Any) -> str:
    return "" if value is None else str(value).translate(_ESCAPES)


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


WRITERS: dict[str, Callable[[Table, TextIO], None]] = {
    "json": _json,
    "jsonl": _jsonl,
    "csv": _csv,
    "tsv": _tsv,
}
"""What writes a table, by format."""

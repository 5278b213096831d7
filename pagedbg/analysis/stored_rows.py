# SPDX-License-Identifier: GPL-2.0-or-later
"""
The rows of a table in the database, where a query can have them: the type of each
column, and how rows get there, a batch at a time.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pagedbg.analysis.undrawn import Undrawn, UndrawnRows
from pagedbg.errors import PagedbgError
from pagedbg.schema.table import Column, Kind, Row, Table

if TYPE_CHECKING:
    import duckdb

# Rows that are put in at once, of a batch that may have any number.
_ROWS = 1 << 16

_TYPES: dict[Kind, str] = {
    "int": "BIGINT",
    # Addresses.
    "hex": "UBIGINT",
    "bool": "BOOLEAN",
    "str": "VARCHAR",
    "bytes": "BIGINT",
    "share": "DOUBLE",
    "float": "DOUBLE",
    "ns": "BIGINT",
    "list": "VARCHAR[]",
    "stack": "VARCHAR[]",
    "series": "BIGINT[]",
}

# As JSON, which DuckDB takes apart, as lists that it is given it does not everywhere.
_NESTED = ("list", "stack", "series", "row", "rows")

_LISTS = ("list", "stack", "series")


def sql_type(column: Column) -> str:
    """The type in SQL of what a column holds."""
    if column.kind in ("row", "rows"):
        fields = ", ".join(
            f"{quoted(each.name)} {sql_type(each)}" for each in column.fields
        )
        return f"STRUCT({fields})" + ("[]" if column.kind == "rows" else "")
    return _TYPES[column.kind]


def quoted(name: str) -> str:
    """A name as SQL has it, whatever it is."""
    return '"' + name.replace('"', '""') + '"'


def listed(names: Iterable[str]) -> str:
    """Names as SQL lists them."""
    return ", ".join(map(quoted, names))


def as_known(rows: str, columns: Sequence[Column]) -> str:
    """
    SELECT rows with all of some columns, each of the type that it has to be of, and
    NULL where the rows lack it.

    :param rows: what gives them, as ``read_parquet('owners.parquet')``
    """
    cast = ", ".join(
        f"{quoted(each.name)}::{sql_type(each)} AS {quoted(each.name)}"
        for each in columns
    )
    none = ", ".join(
        f"NULL::{sql_type(each)} AS {quoted(each.name)}" for each in columns
    )
    return (
        f"SELECT * REPLACE ({cast}) FROM"
        f" (FROM {rows} UNION ALL BY NAME SELECT {none} WHERE false)"
    )


def create_table(
    db: duckdb.DuckDBPyConnection, name: str, columns: Sequence[Column]
) -> None:
    """
    Make an empty temporary table that can hold what columns have.

    :param name: what it is to be called; one of that name is replaced
    """
    made = ", ".join(f"{quoted(each.name)} {sql_type(each)}" for each in columns)
    db.execute(f"CREATE OR REPLACE TEMP TABLE {quoted(name)} ({made})")


def store_rows(db: duckdb.DuckDBPyConnection, name: str, table: Table) -> int:
    """
    Put the rows of a table into a temporary table of the database.

    :param name: what it is to be called; one of that name is replaced
    :return: how many rows there are
    """
    create_table(db, name, table.columns)
    return add_rows(db, name, table)


def add_rows(
    db: duckdb.DuckDBPyConnection,
    name: str,
    table: Table,
    wanted: Collection[str] | None = None,
) -> int:
    """
    Put the rows of a table into one of :func:`create_table`.

    :param wanted: the columns that it has. None is all of this table's
    :return: how many rows there are
    """
    places = [
        place
        for place, column in enumerate(table.columns)
        if wanted is None or column.name in wanted
    ]
    columns = [table.columns[place] for place in places]
    count = 0
    for rows in table.batches:
        count += len(rows)
        for start in range(0, len(rows), _ROWS):
            if isinstance(rows, UndrawnRows):
                # As they are read, which is some ten thousand at a time.
                _put(db, name, columns, [rows.columns[place] for place in places])
                break
            values = list(zip(*rows[start : start + _ROWS], strict=True))
            undrawn = [
                _undrawn(column, values[place])
                for column, place in zip(columns, places, strict=True)
            ]
            _put(db, name, columns, undrawn)
    return count


def _put(
    db: duckdb.DuckDBPyConnection,
    name: str,
    columns: Sequence[Column],
    values: Sequence[Undrawn],
) -> None:
    batch: dict[str, NDArray[Any]] = {}
    selected: list[str] = []
    views = ["batch"]
    for i, (column, each) in enumerate(zip(columns, values, strict=True)):
        if each.word is None:
            batch[f"v{i}"] = np.ascontiguousarray(each.numbers)
            said = _read(column, f"v{i}")
        else:
            words, which = each.words()
            batch[f"v{i}"] = which
            db.register(f"words{i}", {"word": _texts(column, words)})
            views.append(f"words{i}")
            # Each word is taken apart once, and not for each row that has it.
            said = f"(SELECT list({_read(column, 'word')}) FROM words{i})[v{i} + 1]"
        if each.known is not None:
            batch[f"k{i}"] = each.known
            said = f"CASE WHEN k{i} THEN {said} END"
        selected.append(said)
    db.register("batch", batch)
    names = listed(column.name for column in columns)
    db.execute(
        f"INSERT INTO {quoted(name)} ({names}) SELECT {', '.join(selected)} FROM batch"
    )
    for view in views:
        db.unregister(view)


_ARRAYS: dict[Kind, type[np.generic]] = {
    "int": np.int64,
    "hex": np.uint64,
    "bool": np.bool_,
    "bytes": np.int64,
    "share": np.float64,
    "float": np.float64,
    "ns": np.int64,
}


def _undrawn(column: Column, values: Sequence[Any]) -> Undrawn:
    """The column that has these values."""
    if column.kind not in _ARRAYS:
        # Lists are the same where rows share them.
        keys = values if column.kind == "str" else list(map(id, values))
        words = dict(zip(keys, values, strict=True))
        place = {key: number for number, key in enumerate(words)}
        which = np.array([place[key] for key in keys], np.int64)
        return Undrawn(which, word=list(words.values()).__getitem__)
    known = None
    if None in values:
        known = np.array([value is not None for value in values])
        values = [value or 0 for value in values]
    try:
        return Undrawn(np.array(values, _ARRAYS[column.kind]), known)
    except OverflowError:
        raise PagedbgError(
            f"a number in column {column.name} has more than 64 bits"
        ) from None


def _texts(column: Column, words: Sequence[Any]) -> NDArray[Any]:
    """Words as DuckDB takes them."""
    texts = np.empty(len(words), object)
    texts[:] = [
        None
        if word is None
        else _unicode(
            word if column.kind == "str" else json.dumps(_named(column, word))
        )
        for word in words
    ]
    return texts


def _unicode(text: str) -> str:
    """Text without the halves of characters that stand for bytes that are no text."""
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()


def _named(column: Column, value: Any) -> Any:
    """A value in a cell with rows as objects for JSON."""
    if value is None or not column.fields:
        return list(value) if column.kind in _LISTS and value else value
    if column.kind == "rows":
        return [_object(column.fields, row) for row in value]
    return _object(column.fields, value)


def _object(fields: Sequence[Column], row: Row) -> dict[str, Any]:
    return {
        field.name: _named(field, value)
        for field, value in zip(fields, row, strict=True)
    }


def _read(column: Column, said: str) -> str:
    """In SQL, the value of what was put in."""
    if column.kind not in _NESTED:
        return f"({said})::{sql_type(column)}"
    return f"from_json(({said})::JSON, '{_structure(column)}')"


def _structure(column: Column) -> str:
    """The type as ``from_json()`` takes it."""

    def shape(column: Column) -> Any:
        if column.kind in _LISTS:
            return [sql_type(column).removesuffix("[]")]
        if column.kind not in ("row", "rows"):
            return sql_type(column)
        fields = {each.name: shape(each) for each in column.fields}
        return [fields] if column.kind == "rows" else fields

    return json.dumps(shape(column)).replace("'", "''")

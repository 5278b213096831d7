# SPDX-License-Identifier: GPL-2.0-or-later
"""
Queries in SQL over relations: a database that can do nothing but compute, and answers
that are tables.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from pagedbg.analysis.stored_rows import add_rows, create_table, sql_type
from pagedbg.analysis.used_columns import Used, used_by
from pagedbg.capture.database import interruptibly, open_database
from pagedbg.errors import UsageError
from pagedbg.schema.query_columns import query_column
from pagedbg.schema.table import Column, Row, Table

if TYPE_CHECKING:
    pass

# Rows that are drawn at once.
_DRAWN = 1 << 14

_Result = TypeVar("_Result")


class Query:
    """
    A query over relations, which are empty at first: whoever asks fills those that it
    needs.

    :param query: one SELECT
    :param relations: columns by the name of a relation
    :param folder: where the database may put what is too large for memory
    :raises UsageError: if it is something else, or no SQL; in DuckDB's words
    """

    def __init__(
        self,
        query: str,
        relations: Mapping[str, Sequence[Column]],
        folder: str,
    ) -> None:
        self._db = open_database(folder)
        self._relations = relations
        try:
            self._begin(query)
        except BaseException:
            self.close()
            raise

    def _begin(self, query: str) -> None:
        for name, columns in self._relations.items():
            create_table(self._db, name, columns)
        # From here on there are no files, no extensions and no other settings.
        self._db.execute("SET enable_external_access = false")
        self._db.execute("SET lock_configuration = true")
        self._query = self._one_select(query)
        self.used: Used = self._asked(lambda: used_by(self._db, self._query))
        self.columns = self._columns()
        # To store what nobody uses takes longer than to read what somebody does.
        self._stored = {
            name: self._used_columns(columns)
            for name, columns in self._relations.items()
            if name in self.used.tables
        }
        for name, columns in self._stored.items():
            create_table(self._db, name, columns)

    def close(self) -> None:
        """Forget everything."""
        self._db.close()

    def _one_select(self, query: str) -> str:
        statements = self._asked(lambda: self._db.extract_statements(query))
        if len(statements) != 1 or statements[0].type.name != "SELECT":
            raise UsageError(
                "only one SELECT at a time can be asked: nothing can be changed here"
            )
        # Without the semicolon.
        text: str = statements[0].query
        return text.strip().rstrip(";")

    def _columns(self) -> list[Column]:
        """What the query gives."""
        found = self._asked(
            lambda: self._db.execute(f"DESCRIBE ({self._query}\n)").fetchall()
        )
        known = {
            column.name: column
            for columns in reversed(list(self._relations.values()))
            for column in columns
        }
        return [_column(name, type_, known.get(name)) for name, type_, *_ in found]

    def _used_columns(self, columns: Sequence[Column]) -> list[Column]:
        """Those that the query uses, and the first, by which rows are counted."""
        used = self.used.columns
        return [
            column
            for place, column in enumerate(columns)
            if place == 0 or used is None or column.name in used
        ]

    def fill(self, relation: str, table: Table) -> None:
        """Put in the rows of a relation, as far as they are needed."""
        names = {column.name for column in self._stored[relation]}
        add_rows(self._db, relation, table, names)

    def rows(self) -> Iterator[list[Row]]:
        """Iterate over what it gives, some at a time."""
        answer = self._asked(lambda: self._db.execute(self._query))
        while rows := self._asked(lambda: answer.fetchmany(_DRAWN)):
            values = [
                [cell_value(column, value) for value in each]
                for column, each in zip(
                    self.columns, zip(*rows, strict=True), strict=True
                )
            ]
            yield list(zip(*values, strict=True))

    def _asked(self, ask: Callable[[], _Result]) -> _Result:
        """
        Ask the database.

        :raises UsageError: with what it has to say of the query
        """
        import duckdb

        try:
            return interruptibly(ask, self._db.interrupt)
        except duckdb.OutOfMemoryException:
            raise
        except duckdb.Error as error:
            raise UsageError(_sentence(str(error))) from None


def _sentence(said: str) -> str:
    """What DuckDB says, without the query, which stands there already."""
    return " ".join(said.partition("\n\nLINE ")[0].split())


_NUMBERS = ("int", "hex", "bytes", "ns")


def _column(name: str, type_: str, known: Column | None) -> Column:
    """A column of the answer: one of a relation where it holds the same."""
    found = query_column(name, type_)
    if known is not None and (
        sql_type(known).replace('"', "") == type_.replace('"', "")
        or (found.kind == "int" and known.kind in _NUMBERS)
        or (found.kind == "float" and known.kind == "share")
    ):
        return known
    return found


def cell_value(column: Column, value: Any) -> Any:
    """A value of DuckDB's as a table has it."""
    if value is None or column.kind in _NUMBERS:
        return value
    if column.kind in ("float", "share"):
        # Neither is a number to JSON.
        return None if not math.isfinite(value) else float(value)
    if column.kind == "str":
        return value if isinstance(value, str) else _text(value)
    if column.kind == "row":
        return [cell_value(field, value[field.name]) for field in column.fields]
    if column.kind == "rows":
        return [
            [cell_value(field, row[field.name]) for field in column.fields]
            for row in value
        ]
    if column.kind in ("list", "stack"):
        return ["" if each is None else each for each in value]
    return value


def _text(value: Any) -> str:
    """What has no kind of its own as text."""
    return (
        json.dumps(value, default=str) if isinstance(value, dict | list) else str(value)
    )

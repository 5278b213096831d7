# SPDX-License-Identifier: GPL-2.0-or-later
"""What answers the questions of a fleet; DuckDB does, unless another is asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pagedbg.analysis.stored_rows import as_known, listed, quoted
from pagedbg.capture.database import open_database
from pagedbg.capture.scratch import scratch
from pagedbg.errors import PagedbgError
from pagedbg.schema.table import Column
from pagedbg.sources.fleet_progress import followed_query

_Result = TypeVar("_Result")


class EngineError(PagedbgError):
    """An engine gives no answer; the text is what it says, in one sentence."""


class Engine(Protocol):
    """An engine that runs SQL over Parquet files."""

    def read(
        self,
        name: str,
        columns: Sequence[Column],
        compacted: Sequence[Path],
        alone: Sequence[Path],
    ) -> None:
        """
        Have a relation be what files have, with ``snapshot``.

        :param compacted: files that have that column
        :param alone: files whose directory is called by it
        """

    def give(
        self, name: str, types: Mapping[str, str], rows: Sequence[Sequence[Any]]
    ) -> None:
        """
        Have a relation be some rows.

        :param types: by the name of a column: BIGINT, DOUBLE, VARCHAR, VARCHAR[]
        """

    def keep(self, name: str, query: str) -> None:
        """Have a relation be what a query gives, which is asked once."""

    def ask(self, query: str) -> tuple[list[tuple[str, str]], list[tuple[Any, ...]]]:
        """
        What a query gives: the names and types of the columns, as DuckDB calls them,
        and the rows.

        :raises EngineError: if there is no answer
        """

    def is_select(self, query: str) -> bool:
        """
        Whether a query is one SELECT, and can change nothing.

        :raises EngineError: if it is no SQL
        """

    def close(self) -> None:
        """Let go of everything."""


class DuckdbEngine:
    """DuckDB, in this process."""

    def __init__(self, lake: Path, threads: int, memory: int) -> None:
        self._folder = scratch()
        self._db = open_database(self._folder.name)
        self._db.execute(f"SET threads = {threads}")
        self._db.execute(f"SET memory_limit = '{memory // 2**20}MiB'")
        # Whoever asks may ask anything: of the lake, and of no other file.
        self._db.execute(
            f"SET allowed_directories = [{_text(str(lake.absolute()) + os.sep)},"
            f" {_text(self._folder.name)}]"
        )
        self._db.execute("SET enable_external_access = false")
        self._db.execute("SET preserve_insertion_order = false")
        # It says how far it has come, and draws no bar of its own. Versions before 1.3
        # do not say it to Python.
        self._tells = hasattr(self._db, "query_progress")
        if self._tells:
            self._db.execute("SET enable_progress_bar_print = false")
            self._db.execute("SET enable_progress_bar = true")
        self._db.execute("SET lock_configuration = true")

    def close(self) -> None:
        """Let go of everything."""
        self._db.close()
        self._folder.cleanup()

    def read(
        self,
        name: str,
        columns: Sequence[Column],
        compacted: Sequence[Path],
        alone: Sequence[Path],
    ) -> None:
        """As in :class:`Engine`."""
        names = listed(each.name for each in columns)
        selects = []
        for partitioned, files in ((False, compacted), (True, alone)):
            if not files:
                continue
            paths = ", ".join(_text(str(file.absolute())) for file in files)
            rows = (
                f"read_parquet([{paths}], hive_partitioning = {partitioned},"
                " union_by_name = true)"
            )
            selects.append(
                f"SELECT {names}, snapshot::BIGINT AS snapshot"
                f" FROM ({as_known(rows, columns)})"
            )
        self._do(f"CREATE OR REPLACE TEMP VIEW {name} AS {' UNION ALL '.join(selects)}")

    def give(
        self, name: str, types: Mapping[str, str], rows: Sequence[Sequence[Any]]
    ) -> None:
        """As in :class:`Engine`."""
        made = ", ".join(f"{quoted(each)} {type_}" for each, type_ in types.items())
        self._do(f"CREATE OR REPLACE TEMP TABLE {name} ({made})")
        fields = ", ".join(f"unnest(?::{type_}[])" for type_ in types.values())
        if rows:
            columns = [list(values) for values in zip(*rows, strict=True)]
            self._do(f"INSERT INTO {name} SELECT {fields}", columns)

    def keep(self, name: str, query: str) -> None:
        """As in :class:`Engine`."""
        self._do(f"CREATE OR REPLACE TEMP TABLE {name} AS {query}")

    def ask(self, query: str) -> tuple[list[tuple[str, str]], list[tuple[Any, ...]]]:
        """As in :class:`Engine`."""
        # The answer itself has types only since some version after 1.2.
        described = self._do(f"DESCRIBE ({query}\n)").fetchall()
        columns = [(name, type_) for name, type_, *_ in described]
        answer = self._do(query)
        return columns, self._follow(answer.fetchall)

    def is_select(self, query: str) -> bool:
        """As in :class:`Engine`."""
        import duckdb

        try:
            statements = self._db.extract_statements(query)
        except duckdb.Error as error:
            raise _explained(error) from None
        return len(statements) == 1 and statements[0].type.name == "SELECT"

    def _follow(self, work: Callable[[], _Result]) -> _Result:
        return followed_query(work, self._db.interrupt, "DuckDB", self._part)

    def _part(self) -> float:
        """How much of a query is done; less than 0 before that is known."""
        return self._db.query_progress() / 100 if self._tells else 0

    def _do(self, query: str, parameters: Sequence[Any] = ()) -> Any:
        import duckdb

        try:
            return self._follow(lambda: self._db.execute(query, parameters))
        except duckdb.OutOfMemoryException as error:
            raise EngineError(
                f"{_explained(error)}: give it more with --memory."
            ) from None
        except duckdb.Error as error:
            raise _explained(error) from None


def _explained(error: Exception) -> EngineError:
    return EngineError(" ".join(str(error).partition("\n\n")[0].split()).rstrip("."))


def _text(value: str) -> str:
    """Text as DuckDB has it."""
    return "'" + value.replace("'", "''") + "'"

# SPDX-License-Identifier: GPL-2.0-or-later
"""Spark as what answers the questions of a fleet: the same SQL, on a cluster."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Self

from pagedbg import trust
from pagedbg.analysis.stored_rows import sql_type
from pagedbg.errors import PagedbgError
from pagedbg.schema.table import Column
from pagedbg.sources.fleet_engine import EngineError
from pagedbg.sources.fleet_progress import followed_query

# Types of DuckDB as Spark calls them, and the other way round.
_TYPES = {
    "BIGINT": "bigint",
    "UBIGINT": "decimal(20,0)",
    "DOUBLE": "double",
    "VARCHAR": "string",
    "VARCHAR[]": "array<string>",
}
_DUCKDB_TYPES = {spark: duckdb for duckdb, spark in _TYPES.items()}

_SETTINGS = {
    # Names in double quotes, and text as it stands, as in DuckDB.
    "spark.sql.ansi.enabled": "true",
    "spark.sql.ansi.doubleQuotedIdentifiers": "true",
    "spark.sql.parser.escapedStringLiterals": "true",
    # A host that is called 1 is no number.
    "spark.sql.sources.partitionColumnTypeInference.enabled": "false",
    # Whoever asks may ask anything: of the lake, and of no other file.
    "spark.sql.runSQLOnFiles": "false",
    "spark.sql.session.timeZone": "UTC",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "OFF",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
}


# How often Spark is asked how far it has come, in seconds.
_LOOK = 0.5


class SparkEngine:
    """
    Spark, by default in a process beside this.

    :param master: where it runs; None for here, with *threads*
    :param memory: how many bytes it may take here
    :raises PagedbgError: if it is not installed, or does not start
    """

    def __init__(
        self, lake: Path, master: str | None, threads: int, memory: int
    ) -> None:
        try:
            from pyspark.sql import SparkSession
        except ImportError:
            raise PagedbgError(
                "PySpark is not installed: pip install 'pagedbg[fleet]' has it, or"
                " leave --engine out."
            ) from None
        self._lake = lake.absolute()
        # It has a log of what it raises as well.
        logging.getLogger("SQLQueryContextLogger").setLevel(logging.CRITICAL + 1)
        builder = SparkSession.builder.appName("pagedbg fleet").master(
            master or f"local[{threads}]"
        )
        settings = {
            **_SETTINGS,
            "spark.driver.memory": f"{max(memory >> 20, 512)}m",
            "spark.sql.shuffle.partitions": str(threads if master is None else 200),
        }
        if master is not None:
            # The machines of a cluster have to reach this one.
            for name in ("spark.driver.host", "spark.driver.bindAddress"):
                del settings[name]
        for name, value in settings.items():
            builder = builder.config(name, value)
        self._on_interrupt = signal.getsignal(signal.SIGINT)
        with _trusted_environment():
            _check_java()
        try:
            with _trusted_environment(), _silenced():
                self._spark = builder.getOrCreate()
        except Exception as error:
            at = "" if master is None else f" with {master}: is it there? It says"
            raise PagedbgError(
                f"Spark does not start{at}: {_sentence(error)}"
            ) from None

    def close(self) -> None:
        """Let go of everything."""
        self._spark.stop()
        # PySpark has Ctrl-C cancel jobs, also of what is stopped by now.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._on_interrupt)

    def read(
        self,
        name: str,
        columns: Sequence[Column],
        compacted: Sequence[Path],
        alone: Sequence[Path],
    ) -> None:
        """As in :class:`pagedbg.sources.fleet_engine.Engine`."""

        def made(column: Column, there: Sequence[str]) -> str:
            said = f'"{column.name}"' if column.name in there else "NULL"
            return f'CAST({said} AS {_TYPES[sql_type(column)]}) AS "{column.name}"'

        def read() -> None:
            together = None
            for files in (compacted, alone):
                if not files:
                    continue
                rows = (
                    self._spark.read.option("basePath", str(self._lake))
                    .option("mergeSchema", "true")
                    .parquet(*(str(file.absolute()) for file in files))
                )
                found = rows.selectExpr(
                    *(made(each, rows.columns) for each in columns),
                    "CAST(snapshot AS bigint) AS snapshot",
                )
                together = found if together is None else together.unionAll(found)
            if together is not None:
                together.createOrReplaceTempView(name)

        self._do(read)

    def give(
        self, name: str, types: Mapping[str, str], rows: Sequence[Sequence[Any]]
    ) -> None:
        """As in :class:`pagedbg.sources.fleet_engine.Engine`."""
        schema = ", ".join(
            f"`{column}` {_TYPES[type_]}" for column, type_ in types.items()
        )
        self._do(
            lambda: self._spark.createDataFrame(
                [tuple(row) for row in rows], schema
            ).createOrReplaceTempView(name)
        )

    def keep(self, name: str, query: str) -> None:
        """As in :class:`pagedbg.sources.fleet_engine.Engine`."""

        def keep() -> None:
            frame = self._spark.sql(query).cache()
            frame.createOrReplaceTempView(name)

        self._do(keep)

    def ask(self, query: str) -> tuple[list[tuple[str, str]], list[tuple[Any, ...]]]:
        """As in :class:`pagedbg.sources.fleet_engine.Engine`."""

        def ask() -> tuple[list[tuple[str, str]], list[tuple[Any, ...]]]:
            frame = self._spark.sql(query)
            types = [
                (name, _DUCKDB_TYPES.get(type_, type_.upper()))
                for name, type_ in frame.dtypes
            ]
            rows = frame.collect()
            return types, [tuple(map(_value, row)) for row in rows]

        found: tuple[list[tuple[str, str]], list[tuple[Any, ...]]] = self._do(ask)
        return found

    def is_select(self, query: str) -> bool:
        """As in :class:`pagedbg.sources.fleet_engine.Engine`."""
        # In brackets nothing else can stand.
        self._do(lambda: self._spark.sql(f"SELECT * FROM (\n{query}\n) LIMIT 0"))
        return True

    def _do(self, work: Any) -> Any:
        context = self._spark.sparkContext
        try:
            with _Tasks(context) as tasks:
                return followed_query(
                    work, context.cancelAllJobs, "Spark", lambda: tasks.done
                )
        except Exception as error:
            raise EngineError(_sentence(error)) from None


class _Tasks(threading.Thread):
    """
    What asks Spark now and then which part of its tasks is done. In a thread of its
    own: Ctrl-C in the midst of that would have the next answer taken for this one's.
    """

    def __init__(self, context: Any) -> None:
        super().__init__(daemon=True)
        self.done = 0.0
        self._tracker = context.statusTracker()
        self._end = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()

    def run(self) -> None:
        """Ask until nobody wants to know it, or Spark is gone."""
        with contextlib.suppress(Exception):
            while not self._end.wait(_LOOK):
                stages = map(
                    self._tracker.getStageInfo, self._tracker.getActiveStageIds()
                )
                known = [stage for stage in stages if stage is not None]
                total = sum(stage.numTasks for stage in known)
                if total:
                    self.done = sum(stage.numCompletedTasks for stage in known) / total


@contextlib.contextmanager
def _trusted_environment() -> Iterator[None]:
    """
    Have what is started in a block find programs where it may: PySpark asks a dozen
    variables where Java, Spark and their settings are.
    """
    before = dict(os.environ)
    trusted = trust.chosen_environment()
    os.environ.clear()
    os.environ.update(trusted)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Have what is started in a block say nothing on standard error."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(nowhere)
        os.close(kept)


def _value(value: Any) -> Any:
    """A value as DuckDB has it: Spark knows no number without a sign."""
    return int(value) if isinstance(value, Decimal) else value


def _sentence(error: Exception) -> str:
    """The first that Spark has to say, which goes on with plans and stacks."""
    first, _, more = str(error).strip().partition("\n")
    if first.startswith("An error occurred while calling"):
        # So Py4J begins, and goes on with the class of what was raised.
        first = more.partition("\n")[0].removeprefix(": ").partition(": ")[2] or first
    said = first.partition(" SQLSTATE")[0]
    return (said or type(error).__name__).rstrip(".;")


def _check_java() -> None:
    """:raises PagedbgError: if Spark would find none, or one that is too old"""
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home, "bin/java")) if home else trust.program("java")
    advice = "Spark needs Java 17 or later: apt install default-jre-headless has it."
    try:
        done = subprocess.run(
            [java or "java", "-version"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        raise PagedbgError(f"there is no Java. {advice}") from None
    version = done.stderr.partition('"')[2].partition(".")[0].partition('"')[0]
    if version.isdigit() and int(version) < 17:
        raise PagedbgError(f"the Java here is {version}. {advice}")

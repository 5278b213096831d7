# SPDX-License-Identifier: GPL-2.0-or-later
"""The one way in which a database is opened: small, and for what it is told to read."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import duckdb

# How long to wait for an answer before looking for Ctrl-C, in seconds.
_LOOK = 0.1

# Settings that not all versions have.
_NEWER = {
    # It knows files by their names, and is given those of descriptors, which may be of
    # another file the next time.
    "enable_external_file_cache": "false",
    "parquet_metadata_cache": "false",
    # Threads that wait for something to do give all memory that is free back to the
    # kernel, ten times a second: whoever reads a long capture had it again each time.
    "async_threads": "0",
}

_Result = TypeVar("_Result")


def open_database(temp_directory: str = "") -> duckdb.DuckDBPyConnection:
    """
    Open a database in memory.

    :param temp_directory: where it may put what is too large for its share of the
        memory; nowhere if it is empty
    """
    import duckdb

    db = duckdb.connect(
        config={
            # We may run on a machine that has lost its memory: a thread's buffers each
            # cost some.
            "threads": 1,
            "memory_limit": "512MB",
            "temp_directory": temp_directory,
            # Nothing is loaded out of a home directory.
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "preserve_insertion_order": True,
        }
    )
    known = db.execute("SELECT name FROM duckdb_settings()").fetchall()
    for name, value in _NEWER.items():
        if (name,) in known:
            db.execute(f"SET {name} = {value}")
    return db


def was_interrupted(error: Exception) -> bool:
    """
    Whether an error is that Ctrl-C has ended a query: DuckDB drops the
    KeyboardInterrupt, and raises this in its place.
    """
    return isinstance(error, RuntimeError) and str(error) == "Query interrupted"


def interruptibly(
    ask: Callable[[], _Result],
    interrupt: Callable[[], object],
    look: Callable[[], object] = lambda: None,
) -> _Result:
    """
    Ask an engine that does not look for Ctrl-C, in a thread of its own.

    :param interrupt: has it give up
    :param look: what is done now and then while it works
    """
    results: list[_Result] = []
    errors: list[BaseException] = []
    # To join a thread is no way to wait for it: Python 3.11 takes one for ended whose
    # join() was interrupted.
    done = threading.Event()

    def work() -> None:
        try:
            results.append(ask())
        except BaseException as error:
            errors.append(error)
        finally:
            done.set()

    threading.Thread(target=work).start()
    try:
        while not done.wait(_LOOK):
            look()
    except BaseException:
        interrupt()
        done.wait()
        raise
    for error in errors:
        raise error
    return results[0]

# SPDX-License-Identifier: GPL-2.0-or-later
"""
Sealed pieces of a capture: Parquet files, a column a member of the records but
``check``, in the order of ``event``, ``cpu`` and ``seq``, so that like stands by like.

What a piece sums up to stands in the file beside its columns, so that it need not be
read to be counted.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pagedbg.capture.database import open_database
from pagedbg.capture.event_members import COLUMNS, Members, columns_for, in_columns
from pagedbg.capture.reused_memory import reuse_memory
from pagedbg.capture.summary import Summary, summary_of
from pagedbg.schema.event_record import check_of, plausible

if TYPE_CHECKING:
    import duckdb

MOST = 1 << 20
"""No sealed piece has more records: a small file may say that it has any number."""

_KEY = "pagedbg"

_DICTIONARY = 4096

# More than the summary of the largest machine needs.
_MOST_SUMMARY = 16 << 20

_SQL = {
    "u1": "UTINYINT",
    "i1": "TINYINT",
    "u2": "USMALLINT",
    "u4": "UINTEGER",
    "u8": "UBIGINT",
}

# What stands for members that are not read.
_SANE = {name: dtype.type(1) for name, dtype in COLUMNS.items()}


class SealError(Exception):
    """A file is no sealed piece, or a damaged one."""


class SealedWriter:
    """Writes sealed pieces, from one thread."""

    def __init__(self) -> None:
        self._db = open_database()

    def write(
        self,
        descriptor: int,
        records: NDArray[Any],
        damaged: int = 0,
        repeated: int = 0,
        more: Mapping[str, NDArray[Any]] | None = None,
    ) -> Summary:
        """
        Write a piece into a file that is there and empty.

        :param records: :data:`MOST` sound ones at most
        :param damaged: what its summary has to say of others, as ``repeated``
        :param more: what else is known of each, numbers by the name of the column
        :return: what it sums up to
        :raises SealError: if it cannot be written, with the reason
        """
        import duckdb

        order = np.lexsort((records["seq"], records["cpu"], records["event"]))
        columns = in_columns(records, order)
        for name, column in (more or {}).items():
            columns[name] = column[order]
        summary = summary_of(columns, damaged, repeated)
        said = msgspec.json.encode(summary).decode()
        self._db.register("records", columns)
        try:
            # Numbers that rise or are near each other take few bits as differences,
            # which is what version 2 of the format has for those that a dictionary
            # would not make smaller. To find out which these are takes long where the
            # dictionary may be large.
            self._db.execute(f"""
                COPY (SELECT * FROM records)
                TO '{path_of(descriptor)}' (
                    FORMAT parquet, PARQUET_VERSION V2, COMPRESSION zstd,
                    COMPRESSION_LEVEL 1, DICTIONARY_SIZE_LIMIT {_DICTIONARY},
                    ROW_GROUP_SIZE {MOST}, USE_TMP_FILE false,
                    KV_METADATA {{{_KEY}: '{said}'}}
                )""")
        except duckdb.Error as error:
            raise SealError(str(error).partition("\n")[0]) from None
        finally:
            self._db.unregister("records")
        return summary


class SealedReader:
    """Reads sealed pieces, from any thread."""

    def __init__(self) -> None:
        self._local = threading.local()
        reuse_memory()

    @property
    def _db(self) -> duckdb.DuckDBPyConnection:
        if not hasattr(self._local, "db"):
            self._local.db = open_database()
        db: duckdb.DuckDBPyConnection = self._local.db
        return db

    def summary(self, descriptor: int) -> Summary:
        """
        What a piece sums up to, by its own account.

        :raises SealError: if it is damaged
        """
        return self.summaries([descriptor])[0]

    def summaries(self, descriptors: Sequence[int]) -> list[Summary]:
        """
        What each of some pieces sums up to: to ask them one by one takes four times as
        long.

        :raises SealError: if one is damaged, or says more than most do
        """
        files = [path_of(descriptor) for descriptor in descriptors]
        most = _MOST_SUMMARY // len(files)
        with damaged():
            said = self._db.execute(
                f"SELECT file_name, value FROM parquet_kv_metadata({files})"
                f" WHERE key = '{_KEY}' AND octet_length(value) <= {most}"
                f" LIMIT {len(files) + 1}"
            ).fetchall()
            counts = dict(
                self._db.execute(
                    f"SELECT file_name, num_rows FROM parquet_file_metadata({files})"
                ).fetchall()
            )
            if sorted(file for file, _ in said) != sorted(files):
                raise SealError("does not say once what it sums up to")
            found = {
                file: msgspec.json.decode(each, type=Summary) for file, each in said
            }
        for file, summary in found.items():
            _check(summary, counts[file])
        return [found[file] for file in files]

    def records(
        self,
        descriptor: int,
        kinds: Collection[int] = (),
        members: Collection[str] = (),
        where: str = "",
    ) -> NDArray[Any]:
        """
        Read records, as :meth:`members` of them. What is not read is zeroes, and
        without a choice ``check`` is what it has to be.
        """
        found = self.members(descriptor, kinds, members, where).records()
        if not members:
            found["check"] = check_of(found)
        return found

    def members(
        self,
        descriptor: int,
        kinds: Collection[int] = (),
        members: Collection[str] = (),
        where: str = "",
    ) -> Members:
        """
        Read members of records, in the order of the file.

        :param kinds: which events, all for none
        :param members: which members of them, all for none
        :param where: which of them, in SQL
        :raises SealError: if the file is damaged
        """
        names = columns_for(members)
        chosen = [f"event IN ({', '.join(map(str, kinds))})"] if kinds else []
        chosen += [where] if where else []
        with damaged():
            columns = self._db.execute(
                "SELECT "
                + ", ".join(f'"{name}"::{_sql(name)} AS "{name}"' for name in names)
                + f" FROM {_table(descriptor)}"
                + (f" WHERE {' AND '.join(chosen)}" if chosen else "")
                + f" LIMIT {MOST + 1}"
            ).fetchnumpy()
        for name, column in columns.items():
            if np.ma.is_masked(column):
                raise SealError(f"lacks some of {name}")
        if not np.all(plausible({**_SANE, **columns})):
            raise SealError("has records that no kernel can have made")
        return Members(columns)

    def more(
        self, descriptor: int, columns: Mapping[str, str]
    ) -> dict[str, NDArray[Any]]:
        """
        Read what was written besides the records, in the order of :meth:`records`.

        :param columns: the SQL types of the columns, by their names
        :raises SealError: if the file is damaged
        """
        with damaged():
            found = self._db.execute(
                "SELECT "
                + ", ".join(
                    f'"{name}"::{kind} "{name}"' for name, kind in columns.items()
                )
                + f" FROM {_table(descriptor)}"
                f" LIMIT {MOST + 1}"
            ).fetchnumpy()
        if any(np.ma.is_masked(column) for column in found.values()):
            raise SealError("lacks some of what goes with its records")
        return found


def _check(summary: Summary, count: int) -> None:
    """:raises SealError: if it cannot be of a file with so many rows"""
    if not count == summary.records == sum(cpu.count for cpu in summary.cpus):
        raise SealError("says two numbers of its records")
    if not 0 < count <= MOST:
        raise SealError(f"says that it has {count} records")
    if any(
        cpu.last - cpu.first + 1 < cpu.count for cpu in summary.cpus
    ) or summary.cpus != sorted(summary.cpus, key=lambda cpu: cpu.cpu):
        raise SealError("says what cannot be of its CPUs")


@contextlib.contextmanager
def damaged() -> Iterator[None]:
    """Whatever a file from a stranger does to who reads it, it is damaged."""
    import duckdb

    try:
        yield
    except (duckdb.Error, ValueError, msgspec.DecodeError, MemoryError) as error:
        raise SealError(str(error).partition("\n")[0]) from None


def _sql(column: str) -> str:
    return _SQL[COLUMNS[column].str[1:]]


def _table(descriptor: int) -> str:
    return f"read_parquet('{path_of(descriptor)}', hive_partitioning=false)"


def path_of(descriptor: int) -> str:
    """Where DuckDB finds a file that is open."""
    # What was opened, and not what its name may have come to mean.
    return f"/proc/{os.getpid()}/fd/{descriptor}"

# SPDX-License-Identifier: GPL-2.0-or-later
"""
What snapshots have, as tables of a database, where it is cast to the types that it has
to be of.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pagedbg.analysis.query import cell_value
from pagedbg.analysis.stored_rows import as_known, listed
from pagedbg.capture.files import META
from pagedbg.capture.snapshot_directory import Snapshot, SnapshotError, parquet_name
from pagedbg.schema.table import Column, Row

if TYPE_CHECKING:
    import duckdb

# Rows that are drawn at once.
_ROWS = 1 << 14


def store(
    db: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    relation: str,
    columns: Sequence[Column],
    into: str,
    where: str | None = None,
) -> None:
    """
    Put a relation of a snapshot into a temporary table of a database.

    :param columns: which columns, of the kinds that they have to be of
    :param where: in SQL, which of its rows; None for all
    :raises SnapshotError: if the snapshot lacks it, or it is damaged
    """
    store_together(db, [snapshot], relation, columns, into, where)


class SelectedRows:
    """
    The rows that a query gives, a batch at a time; how many more there are than ``top``
    is in :attr:`left` when all are taken.

    :param made: in SQL by the name of a column, what is shown
    :param source: what stands behind FROM
    :param order: what the rows are sorted by, of equals that which comes first
    """

    def __init__(
        self,
        db: duckdb.DuckDBPyConnection,
        columns: Sequence[Column],
        made: dict[str, str],
        source: str,
        order: Sequence[str],
        top: int | None = None,
    ) -> None:
        self.left = 0
        self._columns = columns
        shown = ", ".join(f'{made[each.name]} AS "{each.name}"' for each in columns)
        self._answer = db.execute(f"""
            SELECT {shown}, count(*) OVER () FROM {source}
            ORDER BY {", ".join(f"{each} NULLS LAST" for each in order)}
            {"" if top is None else f"LIMIT {top}"}""")

    def __iter__(self) -> Iterator[Sequence[Row]]:
        shown = 0
        while rows := self._answer.fetchmany(_ROWS):
            shown += len(rows)
            self.left = rows[0][-1] - shown
            yield drawn(self._columns, rows)


def drawn(columns: Sequence[Column], rows: Sequence[Sequence[Any]]) -> list[Row]:
    """Rows of DuckDB's as a table has them; what they have behind the columns goes."""
    return [
        tuple(
            cell_value(column, value)
            for column, value in zip(columns, row, strict=False)
        )
        for row in rows
    ]


def kept_rows(
    db: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    relation: str,
    columns: Sequence[Column],
) -> list[Row]:
    """
    All rows of a relation that has few of them, as they were saved.

    :raises SnapshotError: if the snapshot lacks it, or it is damaged
    """
    store(db, snapshot, relation, columns, "kept")
    names = listed(each.name for each in columns)
    answer = db.execute(f"SELECT {names} FROM kept ORDER BY rowid")
    return drawn(columns, answer.fetchall())


def check_rows(
    db: duckdb.DuckDBPyConnection,
    snapshots: Sequence[Snapshot],
    relation: str,
    columns: Sequence[Column] = (),
    name: Path | None = None,
) -> None:
    """
    Read a relation of snapshots as a whole.

    :param columns: which columns have to be of certain kinds where they are there
    :param name: what the snapshot is called, where it has been copied from another
    :raises SnapshotError: as :func:`store_together`
    """
    with _opened(snapshots, relation, name) as paths:
        # What a column holds has to be read for a hash of it.
        rows = (
            "read_parquet($paths, hive_partitioning = false, filename = true,"
            " union_by_name = true)"
        )
        answer = db.execute(
            "SELECT filename, count(*), bit_xor(hash(COLUMNS(* EXCLUDE filename)))"
            f" FROM ({as_known(rows, columns) if columns else f'FROM {rows}'})"
            " GROUP BY filename",
            {"paths": paths},
        )
        counts = {path: count for path, count, *_ in answer.fetchall()}
    for path, snapshot in zip(paths, snapshots, strict=True):
        _check_count(snapshot, relation, counts.get(path, 0), name)


def known_columns(
    db: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    relation: str,
    columns: Sequence[Column],
) -> list[Column]:
    """
    Those of some columns that a relation of a snapshot has.

    :raises SnapshotError: if the snapshot lacks the relation, or it is damaged
    """
    with _opened([snapshot], relation) as paths:
        there = db.execute(
            "DESCRIBE FROM read_parquet($paths, hive_partitioning = false)",
            {"paths": paths},
        ).fetchall()
    names = {name for name, *_ in there}
    return [column for column in columns if column.name in names]


def store_together(
    db: duckdb.DuckDBPyConnection,
    snapshots: Sequence[Snapshot],
    relation: str,
    columns: Sequence[Column],
    into: str,
    where: str | None = None,
) -> None:
    """
    Put a relation of several snapshots into one temporary table of a database, with a
    column ``place`` for which of them a row is of.

    :param columns: which columns, of the kinds that they have to be of; NULL where an
        older pagedbg has not written them
    :param where: in SQL, which of its rows; None for all
    :raises SnapshotError: if one of them lacks it, or it is damaged. Which of several,
        only those tell that are given alone.
    """
    names = listed(column.name for column in columns)
    most = sum(snapshot.rows(relation) for snapshot in snapshots) + 1
    rows = (
        "read_parquet($paths, hive_partitioning = false, filename = true,"
        " union_by_name = true)"
    )
    of = "list_position($paths, filename) - 1 AS place"
    with _opened(snapshots, relation) as paths:
        db.execute(
            f"CREATE OR REPLACE TEMP TABLE {into} AS SELECT {names}, {of}"
            f" FROM ({as_known(rows, columns)}) WHERE {where or 'true'} LIMIT {most}",
            {"paths": paths},
        )
        if where is None:
            counted = db.execute(f"SELECT place, count(*) FROM {into} GROUP BY place")
        else:
            counted = db.execute(
                f"SELECT {of}, count(*) FROM {rows} GROUP BY place", {"paths": paths}
            )
        counts = dict(counted.fetchall())
    for place, snapshot in enumerate(snapshots):
        _check_count(snapshot, relation, counts.get(place, 0))


@contextlib.contextmanager
def _opened(
    snapshots: Sequence[Snapshot], relation: str, name: Path | None = None
) -> Iterator[list[str]]:
    """
    The files of a relation, for DuckDB to read in a block; what it finds wrong with
    them is a sentence about a snapshot.
    """
    import duckdb

    with contextlib.ExitStack() as stack:
        paths = [
            stack.enter_context(snapshot.opened(relation)) for snapshot in snapshots
        ]
        try:
            yield paths
        except duckdb.Error as error:
            file = parquet_name(relation)
            said = str(error).partition("\n")[0].rstrip(".").replace(paths[0], file)
            raise SnapshotError(
                f"{file} of {name or snapshots[0].path} is damaged: {said}."
            ) from None


def _check_count(
    snapshot: Snapshot, relation: str, count: int, name: Path | None = None
) -> None:
    if count != (expected := snapshot.rows(relation)):
        raise SnapshotError(
            f"{parquet_name(relation)} of {name or snapshot.path} is damaged, or of"
            f" another snapshot: {META} counts {expected} rows."
        )

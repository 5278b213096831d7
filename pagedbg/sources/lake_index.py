# SPDX-License-Identifier: GPL-2.0-or-later
"""
Which snapshots a lake has, as a table of a database: each once, be it compacted, alone,
or just between the two.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, NamedTuple

from pagedbg.analysis.stored_rows import add_rows, create_table, sql_type
from pagedbg.capture.lake import INDEX, Alone, Compacted, Day, Lake
from pagedbg.schema.fleet_columns import LAKE_SNAPSHOTS
from pagedbg.schema.table import Row, Table

if TYPE_CHECKING:
    import duckdb

TABLE = "lake_index"
"""The table, which has the columns of :data:`LAKE_SNAPSHOTS`."""


class Indexed(NamedTuple):
    """What the snapshots of a lake stand in, each in one of these."""

    days: list[Day]
    compacted: list[Compacted]
    alone: list[Alone]


def index_lake(
    db: duckdb.DuckDBPyConnection,
    lake: Lake,
    notes: list[str],
    hosts: Collection[str] | None = None,
) -> Indexed:
    """
    Put the snapshots of a lake into a table.

    :param notes: takes a sentence on each that cannot be read
    :param hosts: of those that stand alone only those of these hosts
    """
    create_table(db, TABLE, LAKE_SNAPSHOTS)
    found = Indexed(lake.days(notes), [], [])
    for day in found.days:
        if day.compacted is not None and _add_compacted(db, day.compacted, notes):
            found.compacted.append(day.compacted)
        known = {
            number
            for (number,) in db.execute(
                f"SELECT snapshot FROM {TABLE} WHERE date = ?", [day.date]
            ).fetchall()
        }
        alone = [
            each for each in lake.alone(day, notes, hosts) if each.number not in known
        ]
        add_rows(db, TABLE, Table.of(LAKE_SNAPSHOTS, list(map(index_row, alone))))
        found.alone.extend(alone)
    return found


def index_row(alone: Alone) -> Row:
    """The row of a snapshot that stands alone."""
    kernel = alone.meta.kernel
    return (
        alone.number,
        alone.date,
        alone.host,
        alone.meta.taken,
        kernel.release,
        kernel.build_id,
        kernel.boot_id,
        kernel.host_id,
        kernel.up_ns,
        kernel.pages,
        kernel.page_size,
        alone.size,
        list(alone.meta.missing),
    )


def _add_compacted(
    db: duckdb.DuckDBPyConnection, day: Compacted, notes: list[str]
) -> bool:
    import duckdb

    made = ", ".join(
        f'"{each.name}"::{sql_type(each)} AS "{each.name}"' for each in LAKE_SNAPSHOTS
    )
    try:
        db.execute(
            f"INSERT INTO {TABLE} SELECT {made} FROM"
            " read_parquet(?, hive_partitioning = false)",
            [str(day.file(INDEX))],
        )
    except duckdb.Error as error:
        said = str(error).partition("\n")[0].rstrip(".")
        notes.append(f"{day.path} is damaged: {said}: it is left out.")
        return False
    return True


def days_of(db: duckdb.DuckDBPyConnection, indexed: Indexed) -> Iterator[Row]:
    """Iterate over the rows of :data:`pagedbg.schema.fleet_columns.LAKE_DAYS`."""
    alone = [each.number for each in indexed.alone]
    sizes = {
        day.date: sum(each.stat().st_size for each in day.path.iterdir())
        for day in indexed.compacted
    }
    for *said, size in db.execute(
        f"""
        SELECT date, count(DISTINCT host), count(*),
            count(*) FILTER (NOT list_contains($alone::BIGINT[], snapshot)),
            list(DISTINCT release ORDER BY release),
            coalesce(sum(bytes) FILTER (list_contains($alone::BIGINT[], snapshot)), 0)
                ::BIGINT
        FROM {TABLE} GROUP BY date ORDER BY date""",
        {"alone": alone},
    ).fetchall():
        yield (*said, size + sizes.get(said[0], 0))

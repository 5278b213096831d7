# SPDX-License-Identifier: GPL-2.0-or-later
"""
What was freed while a recorder kept only what is held: sums in the place of events.

A row is of allocations of one stack, order and mask of flags that lasted about as long:
their lifetimes are in classes, 16 to each power of two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pagedbg.capture.database import open_database
from pagedbg.capture.sealed import SealError, damaged, path_of
from pagedbg.schema.event_record import MOST_ORDER

if TYPE_CHECKING:
    import duckdb

CLASSES_A_DOUBLING = 16
"""So of a class the longest lifetime is no more than a sixteenth above the shortest."""

# A damaged file may say any number; call paths are some thousands.
_MOST_ROWS = 1 << 24

# Rows that are summed up when there are so many.
_JOIN_AT = 1 << 20

_TYPES = {
    "handle": "UINTEGER",
    "gfp_mask": "UINTEGER",
    "order": "UTINYINT",
    "same": "BOOLEAN",
    "class": "USMALLINT",
    "count": "BIGINT",
    "shortest": "BIGINT",
    "longest": "BIGINT",
    "first": "BIGINT",
    "last": "BIGINT",
}
_KEYS = ("handle", "gfp_mask", "order", "same", "class")
_SUMS = {
    "count": 'sum("count")::BIGINT',
    "shortest": 'min("shortest")',
    "longest": 'max("longest")',
    "first": 'min("first")',
    "last": 'max("last")',
}
_JOINED = ", ".join(
    (
        *(f'"{name}"' for name in _KEYS),
        *(f'{sql} "{name}"' for name, sql in _SUMS.items()),
    )
)


class FreedSums:
    """
    Sums of allocations that are over. ``same`` says whether they were freed with the
    stack on record that they were allocated with; ``first`` and ``last`` are from when
    to when they were allocated; times are in ns.
    """

    def __init__(self) -> None:
        self._db = open_database()
        self._db.execute(
            "CREATE TABLE freed ("
            + ", ".join(f'"{name}" {kind}' for name, kind in _TYPES.items())
            + ")"
        )
        self._rows = self._joined = 0

    def add(
        self, sets: NDArray[Any], freed_ns: NDArray[np.int64], same: NDArray[np.bool_]
    ) -> None:
        """
        Add allocations.

        :param sets: with the members that say how each was made
        :param freed_ns: when each was freed, by the clock of their ``ts_nsec``
        """
        if not len(sets):
            return
        begun = sets["ts_nsec"].astype(np.int64)
        lasted = freed_ns - begun
        self._db.register(
            "new",
            {
                "handle": np.ascontiguousarray(sets["handle"]),
                "gfp_mask": np.ascontiguousarray(sets["gfp_mask"]),
                "order": np.ascontiguousarray(sets["order"]),
                "same": same,
                "class": class_of(lasted),
                "count": np.ones(len(sets), np.int64),
                "shortest": lasted,
                "longest": lasted,
                "first": begun,
                "last": begun,
            },
        )
        ((count,),) = self._db.execute(
            f"INSERT INTO freed SELECT {_JOINED} FROM new GROUP BY ALL"
        ).fetchall()
        self._db.unregister("new")
        self._rows += count
        if self._rows > _JOIN_AT + 2 * self._joined:
            self._join()

    def _join(self) -> None:
        ((count,),) = self._db.execute(
            f"CREATE OR REPLACE TABLE freed AS SELECT {_JOINED} FROM freed GROUP BY ALL"
        ).fetchall()
        self._rows = self._joined = count

    def write(self, descriptor: int) -> None:
        """
        Write them into a file that is there and empty.

        :raises SealError: if they cannot be written
        """
        import duckdb

        self._join()
        try:
            self._db.execute(
                f"COPY (SELECT * FROM freed ORDER BY ALL) TO '{path_of(descriptor)}'"
                " (FORMAT parquet, PARQUET_VERSION V2, COMPRESSION zstd,"
                " USE_TMP_FILE false)"
            )
        except duckdb.Error as error:
            raise SealError(str(error).partition("\n")[0]) from None

    def read(self, descriptor: int) -> None:
        """
        Add what a file has.

        :raises SealError: if it is damaged
        """
        self._db.register("new", read_freed(self._db, descriptor))
        ((self._rows,),) = self._db.execute(
            "INSERT INTO freed SELECT * FROM new"
        ).fetchall()
        self._db.unregister("new")


def class_of(lasted: NDArray[np.int64]) -> NDArray[np.uint16]:
    """The class of each lifetime."""
    fraction, exponent = np.frexp(np.maximum(lasted, 0).astype(np.float64))
    # The fraction is from a half to one.
    part = ((fraction - 0.5) * (2 * CLASSES_A_DOUBLING)).astype(np.int64)
    found = np.where(lasted > 0, exponent * CLASSES_A_DOUBLING + part, 0)
    return found.astype(np.uint16)


def read_freed(
    db: duckdb.DuckDBPyConnection, descriptor: int
) -> dict[str, NDArray[Any]]:
    """
    The sums of a file, as columns.

    :raises SealError: if it is damaged
    """
    with damaged():
        columns = db.execute(
            "SELECT "
            + ", ".join(f'"{name}"::{kind} "{name}"' for name, kind in _TYPES.items())
            + f" FROM read_parquet('{path_of(descriptor)}', hive_partitioning=false)"
            f" LIMIT {_MOST_ROWS + 1}"
        ).fetchnumpy()
    if any(np.ma.is_masked(column) for column in columns.values()):
        raise SealError("lacks some of the sums")
    if (
        len(columns["count"]) > _MOST_ROWS
        or not np.all(columns["order"] <= MOST_ORDER)
        or not np.all((columns["count"] > 0) & (columns["count"] < 1 << 40))
        or not np.all(columns["shortest"] <= columns["longest"])
    ):
        raise SealError("has sums that no recorder can have made")
    return {name: np.asarray(column) for name, column in columns.items()}

# SPDX-License-Identifier: GPL-2.0-or-later
"""How much was allocated at each moment of a capture, by the order of the blocks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pagedbg.schema.allocation import FREED

if TYPE_CHECKING:
    import duckdb

__all__ = ("LiveBytes", "Moment")

# Rows that are made at once.
_DRAWN = 1 << 14


class Moment(NamedTuple):
    """``live`` bytes in blocks of an order at a time in ns; in all where it is None."""

    time_ns: int
    order: int | None
    live: int


class LiveBytes:
    """
    Captured allocations as curves: a block counts from when it was allocated until it
    was freed as a whole. The engine puts on disk what is too many.

    :param page_size: in bytes
    """

    def __init__(self, db: duckdb.DuckDBPyConnection, page_size: int) -> None:
        # The tables of a cursor are gone when it is closed.
        self._db = db.cursor()
        self._page_size = page_size
        self._db.execute(
            'CREATE TEMP TABLE changes (time_ns BIGINT, "order" UTINYINT, bytes BIGINT)'
        )

    def close(self) -> None:
        """Forget everything."""
        self._db.close()

    def add(self, rows: NDArray[Any]) -> None:
        """
        Add allocations.

        :param rows: an array of :data:`pagedbg.schema.allocation.ALLOCATION`
        """
        size = self._page_size << rows["order"].astype(np.int64)
        # Of one that is held in part, that is when the last of what is gone was freed.
        freed = (rows["state"] == FREED) & (rows["freed_ns"] >= 0)
        begun = rows["ts_nsec"].astype(np.int64)
        changes = {
            "time_ns": np.concatenate((begun, rows["freed_ns"][freed])),
            "order": np.concatenate((rows["order"], rows["order"][freed])),
            "bytes": np.concatenate((size, -size[freed])),
        }
        self._db.register("added", changes)
        self._db.execute("INSERT INTO changes SELECT * FROM added")

    def moments(self) -> Iterator[Moment]:
        """Iterate over what changed, by time, for each order and for all."""
        for by in ('"order"', "NULL::UTINYINT"):
            answer = self._db.execute(f"""
                WITH summed AS (
                    SELECT time_ns, {by} AS which, sum(bytes)::BIGINT AS bytes
                    FROM changes GROUP BY ALL)
                SELECT time_ns, which, sum(bytes) OVER (
                    PARTITION BY which ORDER BY time_ns)::BIGINT
                FROM summed ORDER BY time_ns
                """)
            while rows := answer.fetchmany(_DRAWN):
                yield from (Moment(*row) for row in rows)

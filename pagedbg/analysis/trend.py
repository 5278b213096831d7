# SPDX-License-Identifier: GPL-2.0-or-later
"""
Who grows, over many times: for each key a straight line through what it held, by least
squares, and how straight it is. A leak grows steadily, and a cache until it is full.

What a boot begins with is its own: of each boot its mean is taken off times and sizes
before they are summed up, so that a reboot is no fall.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import duckdb

# Rows that are taken at once.
_ROWS = 1 << 10

_NS_PER_HOUR = 3600 * 10**9


class Trend:
    """
    What has a key at several times, compared.

    :param keys: the columns that say what is the same
    :param times: of each time its boot, and how long that had run, in ns
    :param held: a relation with the keys, ``time`` (an index into *times*) and
        ``bytes``: a row a time at which there are some
    :param examples: a relation with the keys and ``stack``; None to leave that out
    """

    def __init__(
        self,
        db: duckdb.DuckDBPyConnection,
        keys: Sequence[str],
        times: Sequence[tuple[str, int]],
        held: str,
        examples: str | None = None,
    ) -> None:
        self._db = db
        self._keys = [f'"{name}"' for name in keys]
        self._examples = examples
        self.left = 0
        boots = {boot: i for i, boot in enumerate(dict.fromkeys(b for b, _ in times))}
        boot = np.array([boots[each] for each, _ in times])
        hours = np.array([up for _, up in times]) / _NS_PER_HOUR
        count = np.bincount(boot)
        hours -= (np.bincount(boot, hours) / count)[boot]
        self._db.register(
            "moments",
            {"time": np.arange(len(times)), "boot": boot, "x": hours, "n": count[boot]},
        )
        spread = float(hours @ hours)
        listed = self._listed("")
        last = len(times) - 1
        # A time at which a key has nothing adds nothing to any of these sums.
        db.execute(f"""
            CREATE OR REPLACE TEMP TABLE lines AS
            SELECT row_number() OVER () AS id, {listed},
                sum(xy) / nullif({spread}, 0) AS slope,
                sum(xy) * sum(xy) / nullif({spread} * sum(yy), 0) AS straight,
                coalesce(sum(first_bytes), 0)::BIGINT AS first_bytes,
                coalesce(sum(last_bytes), 0)::BIGINT AS last_bytes,
                max(most) > 0 AND (sum(there) < {len(times)} OR min(least) < max(most))
                    AS changed
            FROM (
                SELECT {listed}, boot, sum(x * bytes) AS xy,
                    sum(bytes::DOUBLE * bytes)
                        - sum(bytes) * sum(bytes::DOUBLE) / any_value(n) AS yy,
                    count(*) AS there, min(bytes) AS least, max(bytes) AS most,
                    sum(bytes) FILTER (time = 0) AS first_bytes,
                    sum(bytes) FILTER (time = {last}) AS last_bytes
                FROM {held} JOIN moments USING (time) GROUP BY {listed}, boot
            ) GROUP BY {listed}""")
        self._held = held

    def _listed(self, table: str) -> str:
        return ", ".join(f"{table}{name}" for name in self._keys)

    def _same(self, one: str, other: str) -> str:
        return " AND ".join(
            f"{one}.{name} IS NOT DISTINCT FROM {other}.{name}" for name in self._keys
        )

    def rows(
        self, sort: str | None, descending: bool, top: int | None
    ) -> Iterator[list[tuple[Any, ...]]]:
        """
        Iterate over the keys that have changed: each with how many bytes it grows by in
        an hour, how straight that is in per cent, the first, the last and all that it
        held, and its example. How many more there are than ``top`` is in :attr:`left`
        when all are taken.

        :param sort: a column; None for what grows fast and steadily first
        :return: batches of rows
        """
        place = {
            None: "slope * straight",
            "bytes_per_hour": "slope",
            "straightness": "straight",
        }.get(sort, f'"{sort}"')
        order = [f"{place} {'DESC' if descending else 'ASC'}", *self._keys]
        ordered = ", ".join(f"{each} NULLS LAST" for each in order)
        ((count,),) = self._db.execute(
            "SELECT count(*) FROM lines WHERE changed"
        ).fetchall()
        self.left = 0 if top is None else max(count - top, 0)
        answer = self._db.execute(f"""
            WITH chosen AS (
                SELECT *, row_number() OVER (ORDER BY {ordered}) AS rank
                FROM lines WHERE changed QUALIFY rank <= {top or count}
            ), known AS (
                SELECT c.id, h.time, h.bytes FROM chosen c
                JOIN {self._held} h ON {self._same("c", "h")}
            ), told AS (
                SELECT c.id, list(coalesce(k.bytes, 0) ORDER BY m.time) AS history
                FROM chosen c CROSS JOIN moments m
                LEFT JOIN known k ON k.id = c.id AND k.time = m.time GROUP BY c.id
            )
            SELECT {self._listed("c.")}, round(slope)::BIGINT,
                round(100 * straight, 1)::DOUBLE, first_bytes, last_bytes, history
                {"" if self._examples is None else ", e.stack"}
            FROM chosen c JOIN told USING (id)
            {"" if self._examples is None else self._example()}
            ORDER BY rank""")
        while rows := answer.fetchmany(_ROWS):
            yield rows

    def _example(self) -> str:
        return (
            f"LEFT JOIN (SELECT {self._listed('')}, min(first_stack) AS stack"
            f" FROM {self._examples} GROUP BY {self._listed('')}) e"
            f" ON {self._same('c', 'e')}"
        )

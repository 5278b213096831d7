# SPDX-License-Identifier: GPL-2.0-or-later
"""What pageblocks consist of, a row each: summed up where they come in pieces."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pagedbg.analysis.grouping import Amounts, Sums

if TYPE_CHECKING:
    import duckdb

__all__ = ("COUNTS", "POLLUTED", "PageblockSums")

COUNTS = (
    *("free", "pcp", "movable", "pinned"),
    *("reclaimable", "unmovable", "unknown", "absent"),
)
"""
The columns that the pages of a pageblock are counted in, each in one of them, in the
order of :class:`pagedbg.mm.page_mobility.Mobility`.
"""

POLLUTED = (
    "pinned + reclaimable + unmovable > 0"
    " AND 2 * (free + pcp + movable) >= pages AND absent = 0"
)
"""
Which pageblocks are polluted, in SQL: those that could be free for the greater part,
and are kept from that by the rest.
"""

_SUMMED = {
    **{name: f"sum({name})::BIGINT" for name in COUNTS},
    "least_type": "min(least_type)",
    "greatest_type": "max(greatest_type)",
}

# Rows that are made at once.
_DRAWN = 1 << 12


class PageblockSums(Sums):
    """
    Pageblocks, by :data:`pagedbg.schema.pageblock_columns.PAGEBLOCKS` but for its
    owners.

    :param spans: the node and the name of each zone
    :param types: the names of the migratetypes, by number
    """

    def __init__(
        self,
        db: duckdb.DuckDBPyConnection,
        spans: Sequence[tuple[int, str]],
        types: Sequence[str],
    ) -> None:
        super().__init__(db, ("span", "block"), Amounts(_SUMMED, _SUMMED, {}))
        for table, column, rows in (
            ("spans", "span", [(i, *span) for i, span in enumerate(spans)]),
            ("types", "type", [(number, 0, name) for number, name in enumerate(types)]),
        ):
            self._db.execute(
                f'CREATE TEMP TABLE {table} ("{column}" BIGINT, node BIGINT,'
                " name VARCHAR)"
            )
            if rows:
                self._db.executemany(f"INSERT INTO {table} VALUES (?, ?, ?)", rows)

    def rows(  # type: ignore[override]
        self, sort: str, descending: bool, *, polluted: bool, top: int | None
    ) -> Iterator[tuple[list[tuple[int, int]], list[tuple[Any, ...]]]]:
        """
        Iterate over the pageblocks. How many more there are than ``top`` is in
        :attr:`left` when all are taken.

        Those without any page are left out.

        :param sort: a column; of equals the first one comes first
        :param polluted: only those of :data:`POLLUTED`
        :return: batches: the zone and the first page that name each block, and the rows
        """
        if self.named({}) is None:
            return
        pages = " + ".join(COUNTS)
        summed = ", ".join(f"{sql} AS {name}" for name, sql in _SUMMED.items())
        answer = self._db.execute(f"""
            WITH blocks AS (
                SELECT span, block, {summed}
                FROM parts GROUP BY ALL),
            named AS (
                SELECT span, block AS start_pfn, spans.node, spans.name AS zone,
                    types.name AS pageblock_migratetype, {pages} AS pages,
                    {", ".join(COUNTS)}
                FROM blocks JOIN spans USING (span)
                LEFT JOIN types ON least_type = greatest_type AND least_type = type)
            SELECT span, * EXCLUDE (span), count(*) OVER () FROM named
            WHERE {POLLUTED if polluted else "absent < pages"}
            ORDER BY "{sort}" {"DESC" if descending else "ASC"} NULLS LAST,
                start_pfn, span {"" if top is None else f"LIMIT {top}"}
            """)
        shown = 0
        while rows := answer.fetchmany(_DRAWN):
            shown += len(rows)
            self.left = rows[0][-1] - shown
            yield [(row[0], row[1]) for row in rows], [row[1:-1] for row in rows]

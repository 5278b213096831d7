# SPDX-License-Identifier: GPL-2.0-or-later
"""What has grown between two times: sums of one beside those of the other, by key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pagedbg.analysis.stored_rows import listed

if TYPE_CHECKING:
    import duckdb

# Rows that are taken at once.
_ROWS = 1 << 14

_CHANGE = """CASE
    WHEN pages_before = 0 THEN 'new' WHEN pages_after = 0 THEN 'gone'
    WHEN pages_after > pages_before THEN 'more'
    WHEN pages_after < pages_before THEN 'less' ELSE 'same' END"""

_AMOUNTS = {
    "delta_pages": "pages_after - pages_before",
    "delta_bytes": "bytes_after - bytes_before",
    "change": _CHANGE,
}


class Growth:
    """
    Two relations of one database, compared.

    :param keys: the columns that say what is the same in both
    :param sides: two relations with these columns, ``blocks``, ``pages`` and ``bytes``,
        before and after; a relation may have a key in several rows
    :param example: a column of which a row has the first value, by its order, of those
        that it sums up, of the later side where that has some
    """

    def __init__(
        self,
        db: duckdb.DuckDBPyConnection,
        keys: Sequence[str],
        sides: tuple[str, str],
        example: str | None = None,
    ) -> None:
        self._db = db
        self._keys = list(keys)
        # There may be several comparisons in one database.
        self._table = f"{sides[0]}_and_{sides[1]}"
        taken = listed((*keys, *([example] if example else [])))
        before, after = (
            f"SELECT {taken}, blocks, pages, bytes, {side} AS later FROM {relation}"
            for side, relation in enumerate(sides)
        )
        amounts = ", ".join(
            f"coalesce(sum({name}) FILTER (later = {side}), 0)::BIGINT"
            f" AS {name}_{'after' if side else 'before'}"
            for name in ("blocks", "pages", "bytes")
            for side in (0, 1)
        )
        shown = (
            f', coalesce(min("{example}") FILTER (later = 1), min("{example}"))'
            f' AS "{example}"'
            if example
            else ""
        )
        by = listed(keys)
        db.execute(f"""
            CREATE OR REPLACE TEMP TABLE {self._table} AS
            SELECT {by}, {amounts}{shown}
            FROM ({before} UNION ALL {after}) GROUP BY {by}""")
        self.unchanged = self.left = 0

    def totals(self) -> tuple[int, int, int]:
        """Return the pages before and after, and by how many bytes there are more."""
        ((before, after, size),) = self._db.execute(f"""
            SELECT coalesce(sum(pages_before), 0)::BIGINT,
                coalesce(sum(pages_after), 0)::BIGINT,
                coalesce(sum(bytes_after - bytes_before), 0)::BIGINT FROM {self._table}
            """).fetchall()
        return before, after, size

    def rows(
        self, columns: Sequence[str], sort: str, descending: bool, top: int | None
    ) -> Iterator[list[tuple[Any, ...]]]:
        """
        Iterate over what has changed. How many keys have not is in :attr:`unchanged`,
        and how many more have than ``top`` in :attr:`left`, when all are taken.

        :param columns: what a row says: keys, amounts, the example
        :param sort: one of them; what is not known comes last, of equals that whose key
            comes first
        :return: batches of rows
        """
        made = [f'{_AMOUNTS.get(name, listed([name]))} AS "{name}"' for name in columns]
        order = [f'"{sort}" {"DESC" if descending else "ASC"}']
        order += [listed([name]) for name in self._keys]
        ((self.unchanged,),) = self._db.execute(
            f"SELECT count(*) FROM {self._table} WHERE (pages_before, blocks_before)"
            " = (pages_after, blocks_after)"
        ).fetchall()
        answer = self._db.execute(f"""
            SELECT {", ".join(made)}, count(*) OVER () FROM {self._table}
            WHERE (pages_before, blocks_before) <> (pages_after, blocks_after)
            ORDER BY {", ".join(f"{each} NULLS LAST" for each in order)}
            {"" if top is None else f"LIMIT {top}"}""")
        shown = 0
        while rows := answer.fetchmany(_ROWS):
            shown += len(rows)
            self.left = rows[0][-1] - shown
            yield [row[:-1] for row in rows]

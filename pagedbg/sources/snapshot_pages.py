# SPDX-License-Identifier: GPL-2.0-or-later
"""
What a full snapshot knows of pages: as rows of neighbours that are the same, which are
joined here with the blocks on record that they are of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pagedbg.analysis.stored_rows import listed
from pagedbg.capture.snapshot_directory import Snapshot
from pagedbg.schema.block_columns import KEPT_BLOCKS, STACKS
from pagedbg.schema.page_columns import KEPT_PAGES, PAGE_RUNS
from pagedbg.sources.snapshot_tables import store

if TYPE_CHECKING:
    import duckdb

__all__ = ("PAGE_PARTS", "USES", "add_uses", "store_pages", "store_runs")

USES = ("kind", "detail", "memcg", "cache", "file", "pageblock_migratetype")
"""What a block is by the first of its pages that is left."""

# What a page of a block on record has on record is its block's, which is the one of
# its order that it lies in.
PAGE_PARTS = """(
    SELECT * REPLACE (
            greatest(pfn, head) AS pfn,
            least(pfn + pages, head + (1::BIGINT << "order")) - greatest(pfn, head)
                AS pages)
    FROM (
        SELECT *, unnest(range(pfn >> "order", ((pfn + pages - 1) >> "order") + 1))
            << "order" AS head
        FROM runs WHERE state IS NOT NULL))"""
"""
In SQL, the pages of ``runs`` that are on record, those of each block by itself: the
block of their ``order`` that begins at ``head``.
"""


def store_runs(
    db: duckdb.DuckDBPyConnection, snapshot: Snapshot, where: str | None = None
) -> None:
    """
    Have a table ``runs`` of what a snapshot knows of pages, with signed numbers.

    :param where: in SQL, which of them; None for all
    :raises SnapshotError: if the snapshot lacks it, or it is damaged
    """
    store(db, snapshot, "pages", PAGE_RUNS, "kept_runs", where)
    db.execute(
        "CREATE OR REPLACE TEMP TABLE runs AS"
        ' SELECT * REPLACE (pfn::BIGINT AS pfn, "order"::BIGINT AS "order")'
        " FROM kept_runs ORDER BY pfn"
    )


def add_uses(db: duckdb.DuckDBPyConnection, snapshot: Snapshot, blocks: str) -> None:
    """
    Give a table of blocks the columns of :data:`USES`.

    :param blocks: its name
    :raises SnapshotError: if the snapshot lacks what it takes, or it is damaged
    """
    store_runs(db, snapshot)
    uses = ", ".join(USES)
    # Of a block that is whole it is its first page; of another it is looked for.
    db.execute(f"""
        CREATE OR REPLACE TEMP TABLE whole AS
        SELECT b.rowid AS place, {uses}
        FROM (SELECT rowid, pfn::BIGINT AS pfn FROM {blocks}
            WHERE pages = 1::BIGINT << "order") b
        ASOF JOIN (SELECT pfn, {uses} FROM runs) r ON b.pfn >= r.pfn""")
    packed = ", ".join(f"'{name}': p.{name}" for name in USES)
    db.execute(f"""
        CREATE OR REPLACE TEMP TABLE rest AS
        SELECT place, {", ".join(f"found.{name}" for name in USES)} FROM (
            SELECT b.rowid AS place, arg_min({{{packed}}}, p.pfn) AS found
            FROM {blocks} b JOIN {PAGE_PARTS} p
                ON p.head = b.pfn::BIGINT AND p."order" = b."order"
            WHERE b.pages < 1::BIGINT << b."order"
            GROUP BY b.rowid)""")
    db.execute(f"""
        CREATE OR REPLACE TEMP TABLE {blocks} AS
        SELECT b.*, {", ".join(f"u.{name}" for name in USES)}
        FROM {blocks} b LEFT JOIN (FROM whole UNION ALL FROM rest) u
            ON b.rowid = u.place ORDER BY b.rowid""")


def store_pages(
    db: duckdb.DuckDBPyConnection, snapshot: Snapshot, start: int, end: int, into: str
) -> None:
    """
    Put pages into a table, a row each, with what is on record of them.

    :param start: the first page frame number
    :param end: the one after the last
    :raises SnapshotError: if the snapshot lacks them, or they are damaged
    """
    # There may be many millions, of which few are asked for.
    reaches = f"pfn < {end} AND pfn + %s > {start}"
    store_runs(db, snapshot, reaches % "pages")
    whole = '(1::BIGINT << "order")'
    store(db, snapshot, "blocks", KEPT_BLOCKS, "kept_blocks", reaches % whole)
    store(db, snapshot, "handles", STACKS, "kept_handles")
    of_blocks = [
        *(each.name for each in KEPT_BLOCKS if each in KEPT_PAGES),
        *("stack", "module", "function"),
    ]
    of_pages = {"pfn", "order", "pages", "zone", "node", "state"}
    recorded = [name for name in of_blocks if name not in of_pages]
    db.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE {into} AS
        SELECT page::UBIGINT AS pfn, CASE WHEN p.state IS NOT NULL THEN p."order" END
                AS "order", 1 AS pages, p.zone, p.node, p.state,
            {listed(recorded)}, {listed(USES)}
        FROM (SELECT *, unnest(range(
                greatest(pfn, $start), least(pfn + pages, $end))) AS page
            FROM runs WHERE pfn < $end AND pfn + pages > $start) p
        LEFT JOIN (SELECT pfn::BIGINT AS head, * FROM kept_blocks
            LEFT JOIN kept_handles USING (handle)) b
        ON p.state IS NOT NULL AND b."order" = p."order"
            AND b.head = (p.page >> p."order") << p."order"
        ORDER BY page""",
        {"start": start, "end": end},
    )

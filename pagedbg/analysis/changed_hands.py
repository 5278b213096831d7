# SPDX-License-Identifier: GPL-2.0-or-later
"""How many pages were freed and allocated again between two times."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import duckdb


class ChangedHands(NamedTuple):
    """
    How many pages are allocated at either time, by allocations that are not the same,
    and how many blocks are not counted: those that were freed in part, of which it is
    not known which pages are left.
    """

    pages: int
    left_out: int


def changed_hands(
    db: duckdb.DuckDBPyConnection, before: str, after: str
) -> ChangedHands:
    """
    Compare the blocks of two times of one boot, page by page: of an allocation the
    page and its time are a key.

    :param before: a relation with ``pfn``, ``order``, ``pages`` and ``ts_ns``, a row a
        block that is allocated; so is ``after``
    """
    for name, side, other in (
        ("hands_before", before, after),
        ("hands_after", after, before),
    ):
        # Most blocks are the same, and need not be taken apart.
        db.execute(f"""
            CREATE OR REPLACE TEMP TABLE {name} AS
            SELECT pfn::BIGINT AS pfn, "order", pages, ts_ns
            FROM {side} ANTI JOIN {other} USING (pfn, "order", pages, ts_ns)""")
    ((left_out,),) = db.execute("""
        SELECT count(*) FROM (FROM hands_before UNION ALL FROM hands_after)
        WHERE pages <> 1 << "order" """).fetchall()
    ((pages,),) = db.execute("""
        WITH before AS (
            SELECT unnest(range(pfn, pfn + pages)) AS page, ts_ns FROM hands_before
            WHERE pages = 1 << "order"),
        after AS (
            SELECT unnest(range(pfn, pfn + pages)) AS page, ts_ns FROM hands_after
            WHERE pages = 1 << "order")
        SELECT count(*) FROM before JOIN after USING (page)
        WHERE before.ts_ns <> after.ts_ns""").fetchall()
    return ChangedHands(pages, left_out)

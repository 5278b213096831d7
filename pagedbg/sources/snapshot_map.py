# SPDX-License-Identifier: GPL-2.0-or-later
"""A map of the memory that a full snapshot is of."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pagedbg.analysis.page_map import FREE, KNOWN, NONE, NOT_RECORDED, CellSums
from pagedbg.capture.snapshot_directory import Snapshot, SnapshotError
from pagedbg.errors import UsageError
from pagedbg.mm.mmzone import ZoneSpan
from pagedbg.schema.block_columns import KEPT_BLOCKS, STACKS
from pagedbg.schema.filter_words import named, parse_kinds
from pagedbg.schema.pageblock_columns import PAGEBLOCKS
from pagedbg.schema.zone_columns import ZONES
from pagedbg.sources.map_source import OF_PAGES, MapSource
from pagedbg.sources.snapshot_pages import PAGE_PARTS, USES, store_runs
from pagedbg.sources.snapshot_selection import store_blocks
from pagedbg.sources.snapshot_tables import kept_rows, store

if TYPE_CHECKING:
    import duckdb

__all__ = ("SnapshotMap",)

# What blocks are told apart by, and what pages are.
_OF_BLOCKS = ("migratetype", "function", "module", "comm")
_KEYS = ("order", *_OF_BLOCKS, *USES)

# What only a page that is on record has.
_OF_RECORDS = ("gfp", "migratetype", "pid", "comm", "stack", "module", "age")

# Of a pageblock of x86-64, where a snapshot has too few to tell.
_PAGEBLOCK_ORDER = 9


class SnapshotMap(MapSource):
    """
    The pages of a snapshot by what they are, for one run of a command.

    :param args: of ``map``
    :param notes: where to add what could not be read
    :raises SnapshotError: if the snapshot does not hold it
    :raises UsageError: if a snapshot cannot answer, or there is no such zone
    """

    def __init__(
        self,
        db: duckdb.DuckDBPyConnection,
        snapshot: Snapshot,
        by: str,
        args: argparse.Namespace,
        notes: list[str],
    ) -> None:
        if not snapshot.has("pages"):
            raise SnapshotError(
                "a snapshot does not hold single pages: snapshot save --full keeps"
                " them."
            )
        if by not in _KEYS:
            raise SnapshotError(
                f"a snapshot does not hold the {by} of pages: it has"
                f" {', '.join(_KEYS)}."
            )
        self._db, self._snapshot, self._args, self._notes = db, snapshot, args, notes
        kernel = snapshot.meta.kernel
        self.release, self.page_size = kernel.release, kernel.page_size
        super().__init__(by, _zones(db, snapshot, args), args.pfns)
        self.pageblock_order = _pageblock_order(db, snapshot)
        if args.highlight is not None:
            _check_highlight(args.highlight)
        store_runs(db, snapshot)
        self._select = self._pages()
        self._words: list[str] = []

    @property
    def marks(self) -> bool:
        """Whether pages are to be highlighted."""
        return self._args.highlight is not None

    def _pages(self) -> str:
        """
        In SQL, pages that follow each other, and what the map shows of them: whether
        they ``has`` it, and the ``word``.
        """
        by = self._by
        if by in _OF_BLOCKS:
            store(self._db, self._snapshot, "blocks", KEPT_BLOCKS, "map_blocks")
            store(self._db, self._snapshot, "handles", STACKS, "map_stacks")
            return f"""
                SELECT p.pfn, p.pages, node, zone, {KNOWN} AS has, word
                FROM {PAGE_PARTS} p LEFT JOIN (
                    SELECT pfn::BIGINT AS head, "order", {by} AS word
                    FROM map_blocks LEFT JOIN map_stacks USING (handle)) b
                ON p.head = b.head AND p."order" = b."order"
                UNION ALL
                SELECT pfn, pages, node, zone,
                    CASE WHEN kind = 'free' THEN {FREE} ELSE {NOT_RECORDED} END, NULL
                FROM runs WHERE state IS NULL"""
        has = str(KNOWN)
        if by == "order":
            has = (
                f"CASE WHEN kind = 'free' THEN {FREE} WHEN state IS NULL"
                f" THEN {NOT_RECORDED} ELSE {KNOWN} END"
            )
        elif by not in OF_PAGES:
            has = (
                f"CASE WHEN kind = 'free' THEN {FREE} WHEN \"{by}\" IS NULL"
                f" THEN {NONE} ELSE {KNOWN} END"
            )
        word = f'"{by}"::VARCHAR'
        return f"SELECT pfn, pages, node, zone, {has} AS has, {word} AS word FROM runs"

    def _sums(self) -> CellSums:
        return CellSums(
            self._db,
            ("number",),
            lambda columns: [
                None if number < 0 else self._words[number]
                for number in columns[0].tolist()
            ],
        )

    def _fill(
        self,
        sums: CellSums,
        spans: Sequence[ZoneSpan],
        order: int,
        marked: Sequence[NDArray[np.int32]] | None,
    ) -> None:
        words = self._db.execute(
            f"SELECT DISTINCT word FROM ({self._select}) WHERE word IS NOT NULL"
        ).fetchall()
        self._words = [word for (word,) in words]
        place = {word: number for number, word in enumerate(self._words)}
        for number, span in enumerate(spans):
            first = span.start_pfn >> order
            rows = self._in_cells(self._select, span, order, ("has", "word"))
            if rows:
                cell, pfn, pages, has, word = zip(*rows, strict=True)
                sums.add(
                    {
                        "stretch": np.full(len(rows), number, np.int32),
                        "cell": np.array(cell, np.int64) - first,
                        "has": np.array(has, np.uint8),
                        "number": np.array([place.get(each, -1) for each in word]),
                        "pages": np.array(pages, np.int32),
                        "pfn": np.array(pfn, np.uint64),
                    }
                )
            if marked is not None and self.marks:
                for cell, _, pages in self._in_cells(self._marked(), span, order, ()):
                    marked[number][cell - first] += pages

    def _marked(self) -> str:
        """In SQL, the pages to highlight."""
        store_blocks(self._db, self._snapshot, self._args.highlight, "map_marked")
        return f"""
            SELECT p.pfn, p.pages, p.node, p.zone FROM {PAGE_PARTS} p
            JOIN (SELECT pfn::BIGINT AS head, "order" FROM map_marked) m
            ON p.head = m.head AND p."order" = m."order\""""

    def _in_cells(
        self, select: str, span: ZoneSpan, order: int, more: Sequence[str]
    ) -> list[tuple[Any, ...]]:
        """
        Cut pages that follow each other where cells end.

        :param more: columns by which pages are told apart
        :return: the number of a cell, the first of its pages, and how many there are;
            then these columns
        """
        also = "".join(f", {name}" for name in more)
        return self._db.execute(
            f"""
            SELECT cell, min(greatest(pfn, cell << {order})),
                sum(least(pfn + pages, (cell + 1) << {order})
                    - greatest(pfn, cell << {order}))::BIGINT{also}
            FROM (SELECT *, unnest(range(pfn >> {order},
                    ((pfn + pages - 1) >> {order}) + 1)) AS cell
                FROM (SELECT * REPLACE (
                        greatest(pfn, $start) AS pfn,
                        least(pfn + pages, $end) - greatest(pfn, $start) AS pages)
                    FROM ({select})
                    WHERE node = $node AND zone = $zone
                        AND pfn < $end AND pfn + pages > $start))
            GROUP BY cell{also}""",
            {
                "start": span.start_pfn,
                "end": span.end_pfn,
                "node": span.nid,
                "zone": span.name,
            },
        ).fetchall()

    def _note(self) -> None:
        self._notes += self._snapshot.meta.notes


def _zones(
    db: duckdb.DuckDBPyConnection, snapshot: Snapshot, args: argparse.Namespace
) -> list[ZoneSpan]:
    """The zones that ``--zone`` and ``--node`` choose."""
    rows = [
        dict(zip((column.name for column in ZONES), row, strict=True))
        for row in kept_rows(db, snapshot, "zones", ZONES)
    ]
    spans = [
        ZoneSpan(
            row["node"],
            number,
            row["zone"],
            row["start_pfn"],
            row["start_pfn"] + row["spanned"],
        )
        for number, row in enumerate(rows)
    ]
    if args.zone:
        known = [span.name for span in spans]
        wanted = named("--zone", lambda: parse_kinds(args.zone, known, "zone"))
        spans = [span for span in spans if wanted(span.name)]
    if args.node:
        spans = [span for span in spans if args.node.mask(np.array([span.nid]))[0]]
    return sorted(spans, key=lambda span: span.start_pfn)


def _pageblock_order(db: duckdb.DuckDBPyConnection, snapshot: Snapshot) -> int:
    """The order of pageblocks: what the first page frames of most are a multiple of."""
    if not snapshot.has("pageblocks"):
        return _PAGEBLOCK_ORDER
    store(db, snapshot, "pageblocks", PAGEBLOCKS, "kept")
    starts = [
        int(pfn) for (pfn,) in db.execute("SELECT start_pfn FROM kept").fetchall()
    ]
    steps = [b - a for a, b in itertools.pairwise(starts) if b > a]
    if not steps:
        return _PAGEBLOCK_ORDER
    return max(set(steps), key=steps.count).bit_length() - 1


def _check_highlight(args: argparse.Namespace) -> None:
    """:raises UsageError: if filters may choose pages that are not on record"""
    if args.kind or args.memcg or not any(getattr(args, name) for name in _OF_RECORDS):
        raise UsageError(
            "--highlight: a snapshot knows who holds the pages of blocks on record;"
            f" choose by one of {', '.join(f'--{name}' for name in _OF_RECORDS)}"
        )

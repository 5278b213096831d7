# SPDX-License-Identifier: GPL-2.0-or-later
"""A map of a kernel's memory: its zones in cells, out of one pass over their pages."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pagedbg.analysis.keys import KEYS, key_columns
from pagedbg.analysis.page_map import (
    FREE,
    KNOWN,
    NONE,
    NOT_RECORDED,
    CellSums,
    PageMap,
    Stretch,
)
from pagedbg.analysis.pageblock_sums import COUNTS
from pagedbg.mm.mmzone import ZoneSpan, zone_spans
from pagedbg.mm.page_mobility import Mobility
from pagedbg.session import Session
from pagedbg.sources.kernel_names import KernelNames
from pagedbg.sources.page_batches import PageBatch, PageSource
from pagedbg.sources.page_rows import untracked
from pagedbg.sources.page_selection import PageSelection
from pagedbg.sources.pageblock_pages import overlapped, pageblock_parts

__all__ = ("MAP_KEYS", "Cell", "MapSource")

_MOBILITY = "mobility"

# Keys of every page, of those in use that are on record, and of some kinds of pages.
_OF_PAGES = ("kind", _MOBILITY, "pageblock_migratetype")
_OF_RECORDS = ("order", "age", "migratetype", "function", "module", "comm")
_OF_SOME = ("detail", "memcg", "cache", "file")

MAP_KEYS = (*_OF_PAGES, *_OF_RECORDS, *_OF_SOME)
"""What a map can show."""


class Cell(NamedTuple):
    """What is in one cell: a row something, with how many pages and the first."""

    start_pfn: int
    end_pfn: int
    node: int
    zone: str
    contents: Sequence[tuple[str, int, int]]


class MapSource:
    """
    The pages of a kernel by what they are, for one run of a command.

    :param spans: the zones that are drawn
    :param pfns: only these page frames, from the first to the one after the last
    :param highlight: the filters of pages to highlight
    :param notes: where to add what could not be read
    """

    def __init__(
        self,
        session: Session,
        by: str,
        spans: Sequence[ZoneSpan],
        pfns: tuple[int, int] | None,
        highlight: argparse.Namespace | None,
        notes: list[str],
    ) -> None:
        self._session, self._by, self._notes = session, by, notes
        self._prog = session.prog
        self.spans = [each for span in spans if (each := _part_of(span, pfns))]
        self._names = KernelNames(session)
        self._pages = PageSource(session.prog, self._names.pages)
        self._highlight = (
            None if highlight is None else PageSelection(highlight, self._names)
        )
        self._unknown = 0

    def map(self, order: int) -> PageMap:
        """Draw all of it in cells of ``1 << order`` pages."""
        bounds = [_cells(span, order) for span in self.spans]
        marked = [np.zeros(end - first, np.int32) for first, end in bounds]
        with closing(self._sums()) as sums:
            self._fill(sums, self.spans, order, marked)
            counts = sums.cells([end - first for first, end in bounds])
        self._note()
        stretches = [
            Stretch(span.nid, span.name, span.start_pfn, span.end_pfn, order, *each)
            for span, *each in zip(self.spans, counts.stretches, marked, strict=True)
        ]
        return PageMap(
            self._by,
            order,
            counts.values,
            counts.pages,
            stretches,
            counts.more,
            self._highlight is not None,
        )

    def cell(self, pfn: int, order: int) -> Cell | None:
        """Say what is in the cell of a page; None for a page of no zone."""
        start, found = pfn >> order << order, None
        for whole in self.spans:
            if not whole.start_pfn <= pfn < whole.end_pfn:
                continue
            span = _part_of(whole, (start, start + (1 << order)))
            assert span is not None
            with closing(self._sums()) as sums:
                self._fill(sums, [span], 0, None)
                contents = list(zip(*sums.values(), strict=True))
            found = Cell(span.start_pfn, span.end_pfn, span.nid, span.name, contents)
            if contents:
                # Else a hole in it may be memory of another zone.
                break
        self._note()
        return found

    def _sums(self) -> CellSums:
        if self._by == _MOBILITY:
            return CellSums(
                self._session.db,
                (_MOBILITY,),
                lambda columns: [COUNTS[number] for number in columns[0].tolist()],
            )
        key = KEYS[self._by]
        return CellSums(
            self._session.db,
            key.numbers,
            lambda columns: key.values(self._names, columns),
        )

    def _fill(
        self,
        sums: CellSums,
        spans: Sequence[ZoneSpan],
        order: int,
        marked: Sequence[NDArray[np.int32]] | None,
    ) -> None:
        if self._by == _MOBILITY:
            self._add_mobility(sums, spans, order)
            if self._highlight is None or marked is None:
                return
        for number, span in enumerate(spans):
            first = span.start_pfn >> order
            for batch in self._batches(span):
                if self._by != _MOBILITY:
                    self._add(sums, number, first, order, batch)
                if self._highlight is not None and marked is not None:
                    pfns = self._highlight(batch).column("pfn")
                    cells = (pfns >> np.uint64(order)).astype(np.int64) - first
                    found, counts = np.unique(cells, return_counts=True)
                    marked[number][found] += counts.astype(np.int32)

    def _batches(self, span: ZoneSpan) -> Iterator[PageBatch]:
        """The pages of a zone; nodes may be interleaved."""
        shared = overlapped(zone_spans(self._prog), span)
        for batch in self._pages.batches(span.start_pfn, span.end_pfn):
            if shared:
                pfns = batch.column("pfn")
                own = self._names.zones(pfns)[1] == span.zone
                batch = batch.take(own & (self._names.nodes(pfns) == span.nid))
            if len(batch):
                yield batch

    def _add(
        self, sums: CellSums, number: int, first: int, order: int, batch: PageBatch
    ) -> None:
        numbers = KEYS[self._by].numbers
        columns = key_columns(self._names, batch, numbers)
        pfns = batch.column("pfn")
        sums.add(
            {
                "stretch": np.full(len(batch), number, np.int32),
                "cell": (pfns >> np.uint64(order)).astype(np.int64) - first,
                "has": self._has(batch, columns),
                **columns,
                "pages": np.ones(len(batch), np.int32),
                "pfn": pfns,
            }
        )

    def _has(self, batch: PageBatch, columns: dict[str, Any]) -> NDArray[np.uint8]:
        """Whether pages have what is shown."""
        has = np.full(len(batch), KNOWN, np.uint8)
        if self._by in _OF_PAGES:
            return has
        if self._by in _OF_RECORDS:
            has[~batch.column("recorded")] = NOT_RECORDED
        else:
            (column,) = columns.values()
            has[column == 0] = NONE
        has[batch.column("kind") == self._names.pages.code("free")] = FREE
        return has

    def _add_mobility(
        self, sums: CellSums, spans: Sequence[ZoneSpan], order: int
    ) -> None:
        # Whether a page is on record says more of some that have no references.
        owners = () if self._pages.tracked else None
        for part in pageblock_parts(self._prog, spans, order, numbers=owners):
            counts = part.counts.copy()
            counts[:, Mobility.ABSENT] = 0
            self._unknown += int(counts[:, Mobility.UNKNOWN].sum())
            cells, mobility = np.nonzero(counts)
            first = spans[part.span].start_pfn >> order
            if not len(cells):
                continue
            sums.add(
                {
                    "stretch": np.full(len(cells), part.span, np.int32),
                    "cell": (part.start_pfn[cells] >> order) - first,
                    "has": np.full(len(cells), KNOWN, np.uint8),
                    _MOBILITY: mobility.astype(np.uint8),
                    "pages": counts[cells, mobility].astype(np.int32),
                    "pfn": part.start_pfn[cells].astype(np.uint64),
                }
            )

    def _note(self) -> None:
        notes = self._notes
        of_records = self._by in _OF_RECORDS or (
            self._highlight is not None and self._highlight.of_records
        )
        if of_records and not self._pages.tracked:
            notes.append(untracked(self._prog))
        if self._pages.unread:
            notes.append(
                f"page_owner's records of {self._pages.unread} pages could not be read."
            )
        if self._unknown:
            notes.append(f"Of {self._unknown} pages it is not known what they are.")
        notes += [*self._names.faults(), *self._session.target.symbolize.notes]


def _part_of(span: ZoneSpan, pfns: tuple[int, int] | None) -> ZoneSpan | None:
    """What a zone has of some page frames."""
    if pfns is None:
        return span
    start, end = max(span.start_pfn, pfns[0]), min(span.end_pfn, pfns[1])
    if start >= end:
        return None
    return dataclasses.replace(span, start_pfn=start, end_pfn=end)


def _cells(span: ZoneSpan, order: int) -> tuple[int, int]:
    """The number of the first cell of a zone, and that after its last."""
    return span.start_pfn >> order, ((span.end_pfn - 1) >> order) + 1

# SPDX-License-Identifier: GPL-2.0-or-later
"""A map of a kernel's memory: its zones in cells, out of one pass over their pages."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pagedbg.analysis.keys import KEYS, key_columns
from pagedbg.analysis.page_map import FREE, KNOWN, NONE, NOT_RECORDED, CellSums
from pagedbg.analysis.pageblock_sums import COUNTS
from pagedbg.mm.mmzone import ZoneSpan, zone_spans
from pagedbg.mm.page_mobility import Mobility
from pagedbg.mm.pageblock_flags import pageblock_order
from pagedbg.schema.sizes import several
from pagedbg.session import Session
from pagedbg.sources.kernel_names import KernelNames
from pagedbg.sources.map_source import OF_PAGES, OF_RECORDS, MapSource
from pagedbg.sources.page_batches import PageBatch, PageSource
from pagedbg.sources.page_selection import PageSelection
from pagedbg.sources.pageblock_pages import overlapped, pageblock_parts
from pagedbg.sources.unread_records import untracked

__all__ = ("KernelMap",)

_MOBILITY = "mobility"


class KernelMap(MapSource):
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
        super().__init__(by, spans, pfns)
        self._session, self._notes = session, notes
        self._prog = session.prog
        self.release = session.target.release
        self.page_size = session.prog["PAGE_SIZE"].value_()
        self.pageblock_order = pageblock_order(session.prog)
        self._names = KernelNames(session)
        self._pages = PageSource(session.prog, self._names.pages)
        self._highlight = (
            None if highlight is None else PageSelection(highlight, self._names)
        )
        self._unknown = 0

    @property
    def marks(self) -> bool:
        """Whether pages are to be highlighted."""
        return self._highlight is not None

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
        if self._by in OF_PAGES:
            return has
        if self._by in OF_RECORDS:
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
        of_records = self._by in OF_RECORDS or (
            self._highlight is not None and self._highlight.of_records
        )
        if of_records and not self._pages.tracked:
            notes.append(untracked(self._prog))
        if self._pages.unread:
            notes.append(
                f"page_owner's records of {several(self._pages.unread, 'page')} could"
                " not be read."
            )
        if self._unknown:
            notes.append(f"Of {self._unknown} pages it is not known what they are.")
        notes += [*self._names.faults(), *self._session.target.symbolize.notes]

# SPDX-License-Identifier: GPL-2.0-or-later
"""A map of memory out of whatever knows its pages: its zones in cells."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Sequence
from contextlib import closing
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pagedbg.analysis.page_map import CellSums, PageMap, Stretch
from pagedbg.mm.mmzone import ZoneSpan

__all__ = ("MAP_KEYS", "OF_PAGES", "OF_RECORDS", "Cell", "MapSource")

# Keys of every page, of those in use that are on record, and of some kinds of pages.
OF_PAGES = ("kind", "mobility", "pageblock_migratetype")
OF_RECORDS = ("order", "age", "migratetype", "function", "module", "comm")
_OF_SOME = ("detail", "memcg", "cache", "file")

MAP_KEYS = (*OF_PAGES, *OF_RECORDS, *_OF_SOME)
"""What a map can show."""


class Cell(NamedTuple):
    """What is in one cell: a row something, with how many pages and the first."""

    start_pfn: int
    end_pfn: int
    node: int
    zone: str
    contents: Sequence[tuple[str, int, int]]


class MapSource(abc.ABC):
    """
    Pages by what they are, for one run of a command.

    :param by: one of :data:`MAP_KEYS`
    :param spans: the zones that are drawn
    :param pfns: only these page frames, from the first to the one after the last
    """

    release: str
    """Of the kernel."""
    page_size: int
    """In bytes."""
    pageblock_order: int

    def __init__(
        self, by: str, spans: Sequence[ZoneSpan], pfns: tuple[int, int] | None
    ) -> None:
        self._by = by
        self.spans = [each for span in spans if (each := _part_of(span, pfns))]

    @property
    @abc.abstractmethod
    def marks(self) -> bool:
        """Whether pages are to be highlighted."""

    @abc.abstractmethod
    def _sums(self) -> CellSums:
        """Sums of nothing yet."""

    @abc.abstractmethod
    def _fill(
        self,
        sums: CellSums,
        spans: Sequence[ZoneSpan],
        order: int,
        marked: Sequence[NDArray[np.int32]] | None,
    ) -> None:
        """
        Add the pages of zones.

        :param order: of the cells
        :param marked: where to count the pages to highlight, by zone and cell
        """

    @abc.abstractmethod
    def _note(self) -> None:
        """Say what could not be read."""

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
            self.marks,
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

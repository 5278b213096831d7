# SPDX-License-Identifier: GPL-2.0-or-later
"""
Pageblocks in bulk
------------------

All pageblocks as arrays: where they are, their migratetypes, and how many of their
pages the buddy allocator has free.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from drgn import Program
from drgn.helpers.common.prog import takes_program_or_default
from numpy.typing import NDArray

from pagedbg.mm._buddy import find_free_blocks
from pagedbg.mm._memmap import segments
from pagedbg.mm._page_layout import page_layout
from pagedbg.mm.bulk_read import read_array
from pagedbg.mm.mmzone import ZoneSpan, node_of_pfns, zone_of_pfns, zone_spans
from pagedbg.mm.page_flags import page_types
from pagedbg.mm.pageblock_flags import (
    max_page_order,
    migratetype_of_pfns,
    pageblock_order,
)

__all__ = ("Pageblocks", "for_each_pageblock")

# How much of the struct page array one read takes: 32,768 pages of 64 bytes are 2 MiB.
# No block of the buddy allocator reaches from one such piece into another.
_PAGES_PER_READ = 1 << 15


@dataclasses.dataclass(frozen=True)
class Pageblocks:
    """
    Some pageblocks of one zone, an element of each array for each.

    ``free`` is how many of the pages are in a free block of the buddy allocator, −1
    where a struct page could not be read or makes no sense.
    """

    span: ZoneSpan
    start_pfn: NDArray[np.int64]
    pages: NDArray[np.int64]
    migratetype: NDArray[np.uint8]
    free: NDArray[np.int64]

    def take(self, mask: NDArray[np.bool_]) -> Pageblocks:
        """Return those of a mask."""
        return Pageblocks(
            self.span,
            self.start_pfn[mask],
            self.pages[mask],
            self.migratetype[mask],
            self.free[mask],
        )


@takes_program_or_default
def for_each_pageblock(prog: Program) -> Iterator[Pageblocks]:
    """
    Iterate over the pageblocks that have pages, zone by zone and some at a time. Of a
    pageblock in which a zone begins or ends, each zone has its part.

    :return: Migratetypes are ``enum migratetype``, or
        :data:`pagedbg.mm.pageblock_flags.NO_MIGRATETYPE`.
    :raises Damaged: if the zones cannot be what a kernel has
    """
    spans = zone_spans(prog)
    for span in spans:
        # Nodes whose memory is interleaved span each other's pages.
        shared = any(
            other.start_pfn < span.end_pfn and span.start_pfn < other.end_pfn
            for other in spans
            if other is not span
        )
        for start, end in _pieces(prog, span):
            found = _read(prog, span, start, end)
            if shared:
                _, zones = zone_of_pfns(prog, found.start_pfn)
                nodes = node_of_pfns(prog, found.start_pfn)
                found = found.take((zones == span.zone) & (nodes == span.nid))
            yield found


def _pieces(prog: Program, span: ZoneSpan) -> Iterator[tuple[int, int]]:
    for start, end, absent in segments(prog, span.start_pfn, span.end_pfn):
        if not absent:
            for at in range(start & -_PAGES_PER_READ, end, _PAGES_PER_READ):
                yield max(start, at), min(end, at + _PAGES_PER_READ)


def _read(prog: Program, span: ZoneSpan, start: int, end: int) -> Pageblocks:
    order = pageblock_order(prog)
    blocks = np.arange(start >> order, ((end - 1) >> order) + 1)
    first = np.maximum(blocks << order, start)
    last = np.minimum((blocks + 1) << order, end)
    return Pageblocks(
        span,
        first,
        last - first,
        migratetype_of_pfns(prog, first),
        _free_pages(prog, start, end, len(blocks)),
    )


def _free_pages(prog: Program, start: int, end: int, count: int) -> NDArray[np.int64]:
    """Sum up the free blocks in each of *count* pageblocks."""
    layout = page_layout(prog)
    order, most = pageblock_order(prog), max_page_order(prog)
    pages, known = read_array(
        prog, layout.page0 + start * layout.size, end - start, layout.page
    )
    blocks = find_free_blocks(page_types(prog), pages, known, most)
    # What begins at a page that says nothing may reach as far as the page is aligned.
    lost = start + np.append(blocks.damaged, np.flatnonzero(~known))
    whole, first = np.int64(1) << order, start >> order
    at, sizes = ((start + blocks.heads) >> order) - first, blocks.sizes
    free = np.bincount(at, weights=np.minimum(sizes, whole), minlength=count)
    free = free.astype(np.int64)
    # What is larger than a pageblock has the next ones, too.
    for block, size in zip(at[sizes > whole], sizes[sizes > whole], strict=True):
        free[block + 1 : block + size // whole] = whole
    # Blocks that lie in each other: damaged, or split or joined while they were read.
    free[free > whole] = -1
    free[(lost >> order) - first] = -1
    for pfn in lost[lost & (whole - 1) == 0].tolist():
        reach = min(pfn & -pfn or 1 << most, 1 << most) >> order
        free[(pfn >> order) - first :][:reach] = -1
    return free

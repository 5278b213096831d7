# SPDX-License-Identifier: GPL-2.0-or-later
"""
Tags of pages
-------------

Helpers for ``include/linux/pgalloc_tag.h``: which allocation tag
(:mod:`pagedbg.mm.alloc_tag`) each page was allocated at.

The kernel writes it down for the first page of an allocation only: in the page's
extended data, or where it was booted with ``mem_profiling=1,compressed`` in the flags
of the page.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from drgn import Program
from numpy.typing import NDArray

from pagedbg.mm._page_layout import read_pages
from pagedbg.mm.alloc_tag import AllocTags
from pagedbg.mm.bulk_read import byte_order, number, record_dtype
from pagedbg.mm.page_array import Pages
from pagedbg.mm.page_ext import PageExtRanges, page_ext_size, read_page_ext
from pagedbg.mm.pageblock_flags import max_page_order
from pagedbg.target.links import Damaged

__all__ = ("PageTags", "TaggedPages", "untagged")

# CODETAG_EMPTY: known to have no tag. CODETAG_ID_EMPTY and CODETAG_ID_FIRST are the
# same in the flags of pages.
_EMPTY = 1
_ID_FIRST = 2

# How many gigantic pages may go on in a piece of the memory map, and more.
_MOST_BEFORE = 64


class TaggedPages(NamedTuple):
    """The tags of neighbouring pages; every array has an element a page."""

    tags: NDArray[np.uint64]
    """The address of the ``struct alloc_tag``, 0 for none."""
    heads: NDArray[np.int64]
    """The first page frame of the allocation that has it."""


def untagged(pages: Pages) -> TaggedPages:
    """Pages of which no tag is known."""
    pfns = np.arange(pages.first, pages.first + len(pages), dtype=np.int64)
    return TaggedPages(np.zeros(len(pages), np.uint64), pfns)


class PageTags:
    """
    The tags of a kernel's pages; made for one answer and then dropped.

    :param tags: those that there are
    """

    def __init__(self, prog: Program, tags: AllocTags) -> None:
        self._prog = prog
        self._tags = tags
        self._greatest = max_page_order(prog)
        self.unread = 0
        """Of how many pages it could not be read."""
        self._in_flags = _compressed(prog)
        if not self._in_flags:
            self._ranges = PageExtRanges(prog)
            self._dtype = _page_ext_dtype(prog)

    def of_pages(self, pages: Pages) -> TaggedPages:
        """Return the tag that each page belongs to."""
        # Blocks of the buddy allocator are aligned to their size.
        start = pages.first >> self._greatest << self._greatest
        end = pages.first + len(pages)
        noted = self._noted(start, end)
        found = noted[pages.first - start :].copy()
        pfns = np.arange(pages.first, end, dtype=np.int64)
        heads = pfns.copy()
        tails = np.flatnonzero((pages.head != pfns) & pages.present)
        heads[tails] = pages.head[tails]
        found[tails] = self._at(heads[tails], start, noted)
        # The tail of a block that was allocated without __GFP_COMP looks free, and
        # does not know its head.
        free = pages.kind == pages.kinds.index("free")
        alone = pages.present & (pages.refcount == 0) & (heads == pfns) & ~free
        left = np.flatnonzero(alone & (found == 0))
        for order in range(1, self._greatest + 1):
            if not len(left):
                break
            maybe = pfns[left] >> order << order
            tags = noted[maybe - start]
            found[left] = tags
            heads[left[tags != 0]] = maybe[tags != 0]
            left = left[tags == 0]
        found[free] = 0
        return TaggedPages(found, heads)

    def _at(
        self, heads: NDArray[np.int64], start: int, noted: NDArray[np.uint64]
    ) -> NDArray[np.uint64]:
        """The tags of heads, of which those of gigantic pages may lie far before."""
        inside = (heads >= start) & (heads < start + len(noted))
        found = np.zeros(len(heads), np.uint64)
        found[inside] = noted[heads[inside] - start]
        # Where there are more, the memory is damaged.
        for head in np.unique(heads[~inside])[:_MOST_BEFORE].tolist():
            found[heads == head] = self._noted(head, head + 1)[0]
        return found

    def _noted(self, start: int, end: int) -> NDArray[np.uint64]:
        """The tag that the kernel has written down for each page frame of a range."""
        if self._in_flags:
            return self._of_flags(start, end)
        found = np.zeros(end - start, np.uint64)
        for first, records, known in read_page_ext(
            self._prog, self._dtype, start, end, self._ranges
        ):
            part = records["ref"].astype(np.uint64)
            part[~known] = 0
            self.unread += int(len(known) - np.count_nonzero(known))
            found[first - start : first - start + len(part)] = part
        found[found == _EMPTY] = 0
        return found

    def _of_flags(self, start: int, end: int) -> NDArray[np.uint64]:
        """
        The same out of ``page->flags``, since Linux kernel commit 4835f747d335
        ("alloc_tag: support for page allocation tag compression") (in v6.13).
        """
        pages, known = read_pages(self._prog, start, end - start)
        shift = np.uint64(number(self._prog, "alloc_tag_ref_offs", 63))
        mask = np.uint64(number(self._prog, "alloc_tag_ref_mask", (1 << 64) - 1))
        number_of = (pages["flags"].astype(np.uint64) >> shift & mask).astype(np.int64)
        number_of[~known] = 0
        self.unread += int(len(known) - np.count_nonzero(known))
        size = self._tags.size
        built_in = self._prog["kernel_tags"]
        first, count = built_in.first_tag.value_(), built_in.count.value_()
        at = number_of - _ID_FIRST
        found = np.uint64(first) + (np.maximum(at, 0) * size).astype(np.uint64)
        of_module = at >= count
        if of_module.any():
            base = self._prog["module_tags"].first_tag.value_()
            found[of_module] = np.uint64(base) + (
                (at[of_module] - count) * size
            ).astype(np.uint64)
        found[at < 0] = 0
        return found


def _compressed(prog: Program) -> bool:
    """Whether tags are kept in the flags of pages."""
    try:
        return bool(prog["mem_profiling_compressed"].key.enabled.counter.value_() > 0)
    except LookupError:
        # Before v6.13.
        return False


def _page_ext_dtype(prog: Program) -> np.dtype[Any]:
    """How NumPy views a page's extended data: ``union codetag_ref`` in it."""
    size, at = page_ext_size(prog), prog["page_alloc_tagging_ops"].offset.value_()
    if at + 8 > size:
        raise Damaged(
            f"the tags of pages begin at byte {at} of {size}, which cannot be: the"
            " memory of this kernel is damaged"
        )
    return record_dtype({"ref": (f"{byte_order(prog)}u8", at)}, size)

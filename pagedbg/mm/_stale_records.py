# SPDX-License-Identifier: GPL-2.0-or-later
"""
Records of page_owner that say allocated of pages that the buddy allocator has.

The kernel's own text leaves such pages out: ``read_page_owner()`` in
``mm/page_owner.c`` passes over the blocks of pages with ``PageBuddy()``. To read every
struct page takes more than half as long again as to read all records. So only those
records are doubted that can be of such a page:

- A page that is handed out gets its record in ``post_alloc_hook()``, or
  ``__folio_copy_owner()`` copies one to a page that is in use. A page that comes back
  goes through ``free_pages_prepare()`` in ``mm/page_alloc.c``, which marks the record
  as freed, or else keeps the page from the allocator. What is put back in other ways
  had been taken from the allocator to be split, isolated or kept for its poison, but
  not handed out: ``split_large_buddy()``, ``__putback_isolated_page()``,
  ``put_page_back_buddy()``.
- All other records that say allocated are written by ``init_pages_in_zone()`` in
  ``mm/page_owner.c``, when page_owner starts. It takes each page for one in use that is
  neither the buddy allocator's nor reserved, even if it is being freed or on a list of
  free pages that a CPU keeps. From there it gets to the buddy allocator with its record
  as it is. These records have ``early_handle``.
- Since Linux kernel commit cf54f310d0d3 ("mm/hugetlb: use __GFP_COMP for gigantic
  folios") (in v6.12) the records of a gigantic folio are written as one array, though
  each memory section has its own: what lies behind the first one's is written over,
  which may be the records of other pages. This ended with Linux kernel commit
  9039b9096ea2 ("mm: page_ext: add an iteration API for page extensions") (in v6.15) and
  those that use it.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from drgn import Program
from numpy.typing import NDArray

from pagedbg.mm._buddy import find_free_blocks
from pagedbg.mm._page_layout import read_pages
from pagedbg.mm._page_words import Words
from pagedbg.mm.page_flags import page_types
from pagedbg.mm.pageblock_flags import max_page_order
from pagedbg.target.links import UNREADABLE

__all__ = ("StaleRecords",)


class StaleRecords:
    """
    Finds them in pieces of the records of all pages; made for one answer and then
    dropped.

    :param prog: the kernel
    """

    def __init__(self, prog: Program) -> None:
        self._prog = prog
        self._early = _early_handle(prog)
        self._past_sections = _past_sections(prog)

    @functools.cached_property
    def _max_order(self) -> int:
        return max_page_order(self._prog)

    def find(
        self,
        first: int,
        handle: NDArray[Any],
        order: NDArray[Any],
        allocated: NDArray[np.bool_],
    ) -> NDArray[np.int64]:
        """
        Find the records of pages that are free. Where a struct page cannot be read the
        record stands.

        :param first: the page frame number of the first record
        :param handle: the handle of each
        :param order: the order of each
        :param allocated: which of them say allocated
        :return: which elements, in order
        """
        try:
            doubted = self._doubted(handle, order, allocated)
            return doubted[self._free(first + doubted)] if len(doubted) else doubted
        except UNREADABLE:
            return np.zeros(0, np.int64)

    def _free(self, pfns: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Say of page frames in order whether the buddy allocator has them."""
        # A free block is marked on its first page only: begin where the largest one
        # would.
        low = int(pfns[0]) >> self._max_order << self._max_order
        pages, known = read_pages(self._prog, low, int(pfns[-1]) + 1 - low)
        blocks = find_free_blocks(
            page_types(self._prog),
            Words.of(pages),
            pages["private"],
            known,
            self._max_order,
        )
        return blocks.find(pfns - low)[0]

    def _doubted(
        self, handle: NDArray[Any], order: NDArray[Any], allocated: NDArray[np.bool_]
    ) -> NDArray[np.int64]:
        """Which records can be of a free page."""
        if self._early is None:
            return np.flatnonzero(allocated)
        doubted = handle == self._early
        doubted &= allocated
        if self._past_sections and order.max(initial=0) > self._max_order:
            doubted |= (order > self._max_order) & allocated
        return np.flatnonzero(doubted)


def _early_handle(prog: Program) -> int | None:
    """``early_handle``; None if it cannot be read."""
    try:
        return int(prog["early_handle"].value_())
    except UNREADABLE:
        return None


def _past_sections(prog: Program) -> bool:
    """Whether records of a gigantic folio may be written past their section."""
    found: bool | None = prog.cache.get(_past_sections)
    if found is None:
        try:
            prog.type("struct page_ext_iter")
            found = False
        except LookupError:
            found = True
        prog.cache[_past_sections] = found
    return found

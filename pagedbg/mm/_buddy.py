# SPDX-License-Identifier: GPL-2.0-or-later
"""
Which pages the buddy allocator has free: those of the blocks that begin at a page with
``PageBuddy()`` (``include/linux/page-flags.h``).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pagedbg.mm._page_words import Words
from pagedbg.mm.page_flags import PageTypes

__all__ = ("FreeBlocks", "find_free_blocks")


class FreeBlocks:
    """
    Blocks of the buddy allocator in a piece of the memory map.

    :param heads: Which elements of the piece they begin at, in order.
    :param orders: The order of each. One that no block has may be torn or damaged: then
        nothing is known of the block.
    """

    def __init__(
        self, heads: NDArray[np.int64], orders: NDArray[Any], max_order: int
    ) -> None:
        sane = orders <= max_order
        self.heads: NDArray[np.int64] = heads[sane]
        self.orders: NDArray[np.int64] = orders[sane].astype(np.int64)
        self.damaged: NDArray[np.int64] = heads[~sane]
        """Where blocks begin of which nothing is known."""

    @property
    def sizes(self) -> NDArray[np.int64]:
        """How many pages each block has."""
        return np.int64(1) << self.orders

    def find(
        self, rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.int64]]:
        """
        Say of elements of the piece whether each is in a free block, and of those that
        are the first element and the order of the block.
        """
        if not len(self.heads):
            none = np.zeros(0, np.int64)
            return np.zeros(len(rows), np.bool_), none, none
        which = np.searchsorted(self.heads, rows, "right") - 1
        inside = (which >= 0) & (rows < (self.heads + self.sizes)[which])
        which = which[inside]
        return inside, self.heads[which], self.orders[which]

    def pages(
        self, start: int, end: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """
        Return the elements of a range that are in free blocks, in order; and of each
        the first element and the order of its block.
        """
        if not len(self.heads):
            none = np.zeros(0, np.int64)
            return none, none, none
        sizes = self.sizes
        # A block that begins in another one is torn or damaged, and either ends there.
        np.minimum(sizes[:-1], np.diff(self.heads), out=sizes[:-1])
        first = np.repeat(self.heads, sizes)
        rows = np.arange(len(first)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        rows += first
        a, b = np.searchsorted(rows, (start, end)).tolist()
        return rows[a:b], first[a:b], np.repeat(self.orders, sizes)[a:b]


def find_free_blocks(
    types: PageTypes,
    words: Words,
    private: NDArray[Any],
    known: NDArray[np.bool_],
    max_order: int,
) -> FreeBlocks:
    """
    Find the blocks of the buddy allocator in a piece of the memory map. The order of a
    block is in ``page->private`` of its first page (``buddy_order()`` in
    ``mm/internal.h``).

    :param words: The words of the pages of the piece.
    :param private: And that one.
    :param known: Which of the pages could be read.
    """
    typed = words.types
    typed = typed[known[typed]]
    found = words.type[typed]
    buddy = np.zeros(len(typed), np.bool_)
    for value in set(found.tolist()):
        if types.name(value) == "buddy":
            buddy |= found == value
    heads = typed[buddy]
    return FreeBlocks(heads, private[heads], max_order)

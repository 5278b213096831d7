# SPDX-License-Identifier: GPL-2.0-or-later
"""
Which pages the buddy allocator has free: those of the blocks that begin at a page with
``PageBuddy()`` (``include/linux/page-flags.h``).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

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


def find_free_blocks(
    types: PageTypes, pages: NDArray[Any], known: NDArray[np.bool_], max_order: int
) -> FreeBlocks:
    """
    Find the blocks of the buddy allocator in a piece of the memory map. The order of a
    block is in ``page->private`` of its first page (``buddy_order()`` in
    ``mm/internal.h``).

    :param pages: The piece, as :attr:`PageLayout.page`.
    :param known: Which of its elements could be read.
    """
    # Few pages have a type at all: most are mapped, or have a map count of -1.
    kinds = pages["type"]
    typed = np.flatnonzero(known & (kinds >= 0x80000000) & (kinds != 0xFFFFFFFF))
    found = kinds[typed]
    buddies = [
        value for value in np.unique(found).tolist() if types.name(value) == "buddy"
    ]
    heads = typed[np.isin(found, buddies)]
    return FreeBlocks(heads, pages["private"][heads], max_order)

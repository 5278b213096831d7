# SPDX-License-Identifier: GPL-2.0-or-later
"""Blocks and who holds pages of them, a piece of memory at a time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pagedbg.analysis.sums_by_place import added

__all__ = ("BLOCK_BITS", "HeldBlocks")

BLOCK_BITS = 52
"""
How many bits the first page frame number of a block has at most. In the number that
names a block, its span stands above them.
"""


class HeldBlocks(NamedTuple):
    """
    Who holds pages of some blocks, in order of the blocks: a row for each block and
    holder.
    """

    blocks: NDArray[np.int64]
    """Span and first page frame number of each block (:data:`BLOCK_BITS`)."""
    block: NDArray[np.int64]
    """Which of the blocks."""
    holder: NDArray[np.int64]
    """The number of the holder."""
    pages: NDArray[np.int64]
    fixed: NDArray[np.int64]

    def take(self, which: slice) -> HeldBlocks:
        """The rows of some of the blocks."""
        start, end, _ = which.indices(len(self.blocks))
        rows = slice(*np.searchsorted(self.block, (start, end)).tolist())
        return HeldBlocks(
            self.blocks[which],
            self.block[rows] - start,
            *(column[rows] for column in self[2:]),
        )

    def behind(self, first: HeldBlocks) -> HeldBlocks:
        """The same and what was held before; the last block there may go on here."""
        same = first.blocks[-1] == self.blocks[0]
        more = len(first.blocks) - int(same)
        block, holder, pages, fixed = (
            np.concatenate(parts)
            for parts in zip(first[1:], (self.block + more, *self[2:]), strict=True)
        )
        blocks = np.concatenate((first.blocks, self.blocks[int(same) :]))
        if same:
            width = int(holder.max()) + 1
            pairs, which = np.unique(block * width + holder, return_inverse=True)
            block, holder = np.divmod(pairs, width)
            pages = added(which, pages, len(pairs))
            fixed = added(which, fixed, len(pairs))
        return HeldBlocks(blocks, block, holder, pages, fixed)

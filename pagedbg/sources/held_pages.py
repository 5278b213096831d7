# SPDX-License-Identifier: GPL-2.0-or-later
"""
What pages say themselves of allocations that were not seen to be freed: for captures
from tracepoints, where no record of page_owner tells.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from drgn import Program
from numpy.typing import NDArray

from pagedbg.analysis.correlation_arrays import block_size, pages_of, parts
from pagedbg.mm.gfp import gfpflag_names
from pagedbg.schema.allocation import FREED, LIVE, REUSED, UNKNOWN
from pagedbg.sources.page_batches import PageSource
from pagedbg.sources.page_words import PageWords

__all__ = ("HeldPages",)


class HeldPages:
    """
    Looks at the pages of allocations that count as live. One whose pages are all free,
    or in larger blocks, is over. One that was a compound page, and is none of that
    order now, may have been split or be over: that cannot be told.

    ``over`` and ``doubtful`` count them.
    """

    def __init__(self, prog: Program) -> None:
        self._source = PageSource(prog, PageWords(prog))
        self._comp = next(
            (mask for mask, name in gfpflag_names(prog) if name == "__GFP_COMP"), 0
        )
        self.over = self.doubtful = 0

    def __call__(self, rows: NDArray[Any]) -> None:
        """
        Correct the states of allocations.

        :param rows: an array of :data:`pagedbg.schema.allocation.ALLOCATION`
        """
        live = np.flatnonzero(rows["state"] == LIVE)
        sizes = block_size(rows["order"][live]).astype(np.int64)
        for part in parts(sizes):
            self._look(rows, live[part], sizes[part])

    def _look(
        self, rows: NDArray[Any], at: NDArray[np.intp], sizes: NDArray[np.int64]
    ) -> None:
        orders = rows["order"][at]
        which, pfns = pages_of(rows["pfn"][at], orders)
        column = self._source.of_pfns(pfns)
        free = column("kind") == self._source.words.code("free")
        now, then = column("order"), orders[which]
        larger = ~free & (now > then)
        compound = (rows["gfp_mask"][at][which] & np.uint32(self._comp)) != 0
        smaller = ~free & compound & (now < then)

        def count(those: NDArray[np.bool_]) -> NDArray[np.int64]:
            return np.bincount(which[those], minlength=len(at))

        held = np.minimum(rows["held"][at], sizes - count(free | larger))
        doubtful = (held > 0) & (count(smaller) > 0)
        over = held == 0
        rows["state"][at[over]] = np.where(count(larger)[over] > 0, REUSED, FREED)
        rows["state"][at[doubtful]] = UNKNOWN
        rows["held"][at] = np.where(doubtful, 0, held)
        self.over += int(np.count_nonzero(over))
        self.doubtful += int(np.count_nonzero(doubtful))

    @property
    def notes(self) -> list[str]:
        """What was found, in sentences."""
        said = []
        if self.over:
            said.append(
                f"{self.over} allocations were not seen to be freed, but their pages"
                " are free or in larger blocks: they are over."
            )
        if self.doubtful:
            said.append(
                f"{self.doubtful} compound pages were not seen to be freed, and are in"
                " smaller blocks: split, or freed unseen."
            )
        return said

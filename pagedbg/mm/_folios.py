# SPDX-License-Identifier: GPL-2.0-or-later
"""
What pages are parts of: ``compound_head()`` (``include/linux/page-flags.h``), asked of
many pages at once.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from drgn import FaultError, Program
from numpy.typing import NDArray

from pagedbg.mm._page_layout import PageLayout

__all__ = ("FolioFinder", "Folios")


class Folios(NamedTuple):
    """Pages and what they are parts of."""

    table: NDArray[Any]
    """Records of :attr:`PageLayout.page`."""
    row: NDArray[np.int64]
    """For each page, where in the table its head is; its own place if it has none."""
    compound: NDArray[np.int64]
    """Which of the pages are part of a compound page."""
    lost: NDArray[np.bool_]
    """Of which of the pages the head cannot be read."""
    head: NDArray[np.int64]
    """The page frame number of each page's head."""


class FolioFinder:
    """
    Finds them; made for one answer and then dropped.

    :param prog: the kernel
    """

    def __init__(self, prog: Program, layout: PageLayout) -> None:
        self._prog = prog
        self._layout = layout
        # The first pages of compound pages that begin in another piece.
        self._heads: dict[int, bytes | None] = {}

    def find(
        self,
        pages: NDArray[Any],
        known: NDArray[np.bool_],
        low: int,
        rows: NDArray[np.int64],
    ) -> Folios:
        """Find what pages are parts of."""
        layout = self._layout
        base = layout.address(low)
        address = np.uint64(base) + rows.view(np.uint64) * np.uint64(layout.size)
        head = self._head_addresses(pages, rows, address)
        has_head = pages["flags"][rows] & layout.pg["head"] != 0
        compound = np.flatnonzero((head != address) | has_head)
        row, lost = rows.copy(), np.zeros(len(rows), np.bool_)
        if not len(compound):
            return Folios(pages, row, compound, lost, low + rows)
        # As the pages before the first one would wrap, these are signed.
        of = head[compound]
        place = (of - np.uint64(base)).view(np.int64)
        at, rest = np.divmod(place, layout.size)
        here = (rest == 0) & (at >= 0) & (at + 3 <= len(pages))
        near = np.where(here, at, 0)
        for part in range(3):
            here &= known[np.minimum(near + part, len(known) - 1)]
        row[compound[here]] = at[here]
        elsewhere = compound[~here]
        if len(elsewhere):
            distinct, which = np.unique(head[elsewhere], return_inverse=True)
            parts = [self._head(each) for each in distinct.tolist()]
            lost[elsewhere] = np.array([part is None for part in parts])[which]
            more = b"".join(part or bytes(3 * layout.size) for part in parts)
            found = len(pages) + 3 * which
            row[elsewhere] = found
            pages = np.concatenate((pages, np.frombuffer(more, layout.page)))
        first = low + rows
        first[compound] = self._layout.pfns(of)
        return Folios(pages, row, compound, lost, first)

    def _head(self, address: int) -> bytes | None:
        """The first three ``struct page`` of a folio, None if they cannot be read."""
        if address not in self._heads:
            try:
                self._heads[address] = self._prog.read(address, 3 * self._layout.size)
            except FaultError:
                self._heads[address] = None
        return self._heads[address]

    def _head_addresses(
        self,
        pages: NDArray[Any],
        rows: NDArray[np.int64],
        address: NDArray[np.uint64],
    ) -> NDArray[np.uint64]:
        """``compound_head()``"""
        own = pages["compound"][rows].astype(np.uint64)
        tail = own & np.uint64(1) != 0
        if self._layout.compound_has_mask:
            return np.where(tail, address & own, address)
        # Before 7.1 a huge page whose memory map was freed (HVO) has pages that look
        # like a head and are none.
        following = pages["compound"][rows + 1].astype(np.uint64)
        false = (pages["flags"][rows] & self._layout.pg["head"] != 0) & (
            following & np.uint64(1) != 0
        )
        return np.where(
            tail,
            own - np.uint64(1),
            np.where(false, following - np.uint64(1), address),
        )

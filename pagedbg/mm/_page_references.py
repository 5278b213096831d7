# SPDX-License-Identifier: GPL-2.0-or-later
"""
References to pages that nothing accounts for: ``folio_expected_ref_count()``
(``include/linux/mm.h``, before v6.16 ``folio_expected_refs()`` in ``mm/migrate.c``),
asked of many pages at once. A page that has more is busy: it cannot be migrated.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pagedbg.mm._folios import Folios
from pagedbg.mm._page_layout import PageLayout

__all__ = ("LRU_KINDS", "extra_references")

LRU_KINDS = ("anon", "ksm", "swap cache", "file", "shmem", "block device")
"""The kinds of pages that are reclaimed by age, and that migration is asked of."""

_OF_FILES = ("file", "shmem", "block device")


def extra_references(
    layout: PageLayout,
    folios: Folios,
    kinds: list[str],
    kind: NDArray[np.uint8],
    order: NDArray[np.uint8],
    mapcount: NDArray[np.int64],
) -> NDArray[np.int32]:
    """
    Return for each page how many references its folio has beyond those of page tables,
    of the page cache with its buffers, and of the swap cache; 0 for what is not of
    :data:`LRU_KINDS`, and for a folio that lies in part outside of this piece.

    A folio that is not on a list of its LRU is on its way there or was taken from one:
    whoever has it in hand has one reference, which is not counted.

    :param kind: of each page, its code among *kinds*
    :param order: of the folio that each page is part of
    :param mapcount: ``folio_precise_page_mapcount()`` of each page
    """
    extra = np.zeros(len(kind), np.int32)
    wanted = np.zeros(len(kinds), np.bool_)
    wanted[[kinds.index(name) for name in LRU_KINDS]] = True
    candidates = np.flatnonzero(wanted[kind])
    if not len(candidates):
        return extra
    row = folios.row[candidates]
    table = folios.table
    flags = table["flags"][row].astype(np.uint64, copy=False)
    references = table["refcount"][row].astype(np.int64)
    pages = np.int64(1) << order[candidates].astype(np.int64)

    def has(name: str) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = flags & np.uint64(layout.pg[name]) != 0
        return found

    of_file = np.isin(kind[candidates], [kinds.index(name) for name in _OF_FILES])
    expected = np.where(of_file, pages + has("private"), 0)
    expected += np.where(has("swapcache") & has("swapbacked"), pages, 0)
    expected += _mapcounts(layout, folios, candidates, pages, mapcount)
    expected += ~has("lru")
    # Who is just being freed has none.
    extra[candidates] = np.where(
        references > 0, np.clip(references - expected, 0, 0x7FFFFFFF), 0
    )
    return extra


def _mapcounts(
    layout: PageLayout,
    folios: Folios,
    candidates: NDArray[np.int64],
    pages: NDArray[np.int64],
    mapcount: NDArray[np.int64],
) -> NDArray[np.int64]:
    """``folio_mapcount()`` of the folios that some pages are part of."""
    found = mapcount[candidates].copy()
    large = np.flatnonzero(pages > 1)
    if not len(large):
        return found
    row = folios.row[candidates[large]]

    def field(name: str) -> NDArray[Any]:
        return folios.table[name][row + layout.folio[name]].astype(np.int64)

    if "large_mapcount" in layout.folio:
        found[large] = field("large_mapcount") + 1
        return found
    # Each page's count has that of the whole folio in it, which is one mapping. (In
    # 6.1 a huge page that is mapped both ways counts more: then an extra reference may
    # be missed, and none is made up.)
    entire = np.zeros(len(large), np.int64)
    if "entire_mapcount" in layout.folio:
        entire = field("entire_mapcount") + 1
    heads, which, count = np.unique(row, return_inverse=True, return_counts=True)
    sums = np.bincount(which, weights=found[large], minlength=len(heads))
    whole = count[which] == pages[large]
    total = sums.astype(np.int64)[which] - (pages[large] - 1) * entire
    # Of a folio that is cut off here too little is known.
    found[large] = np.where(whole, total, np.int64(1) << 31)
    return found

# SPDX-License-Identifier: GPL-2.0-or-later
"""
Where the members of ``struct page`` and ``struct folio`` lie in this kernel
(``include/linux/mm_types.h``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from drgn import Program, sizeof
from drgn.helpers.linux.mm import pfn_to_page

from pagedbg.mm.bulk_read import byte_order, number, offset_of, record_dtype

__all__ = ("PageLayout", "PageWords", "page_layout")


class PageWords(NamedTuple):
    """
    The members of one ``struct page`` that are read here, some of them different views
    of the same word.
    """

    flags: int
    compound: int
    mapping: int
    pgoff: int
    private: int
    type: int
    refcount: int
    lru: int
    slab_cache: int
    memcg_data: int


class PageLayout(NamedTuple):
    """Where the members lie that are read here."""

    page: np.dtype[Any]
    """A record with the fields of :class:`PageWords`, in their order."""
    size: int
    page0: int
    """The address of page frame 0's ``struct page``."""
    byteorder: Literal["little", "big"]
    compound_has_mask: bool
    """
    Whether ``compound_info`` of a tail page is a mask that leads to the head, rather
    than its address.
    """
    order: tuple[int, int]
    """Offset and size of the word of a folio in whose low byte is its order."""
    entire_mapcount: int | None
    large_mapcount: int | None
    pg: Mapping[str, int]
    """
    The bit of each page flag ``PG_...``, 0 for one that this kernel does not have.
    """

    def order_word(self, folio: bytes) -> int:
        """Return the word of a folio in whose low byte is its order."""
        offset, size = self.order
        return int.from_bytes(folio[offset : offset + size], self.byteorder)

    def int32(self, data: bytes, offset: int) -> int:
        """Return the signed number of 32 bits at an offset of what was read."""
        return int.from_bytes(data[offset : offset + 4], self.byteorder, signed=True)


def page_layout(prog: Program) -> PageLayout:
    """Return where the members lie."""
    try:
        return prog.cache["pagedbg_page_layout"]  # type: ignore[no-any-return]
    except KeyError:
        pass
    layout = _page_layout(prog)
    prog.cache["pagedbg_page_layout"] = layout
    return layout


def _page_layout(prog: Program) -> PageLayout:
    page = prog.type("struct page")
    size = sizeof(page)
    word = f"{byte_order(prog)}u{sizeof(prog.type('unsigned long'))}"
    # Since Linux kernel commit d50569612c29 ("mm: rename the 'compound_head' field in
    # the 'struct page' to 'compound_info'") (in v7.1).
    compound = "compound_info" if page.has_member("compound_info") else "compound_head"
    # Since Linux kernel commit acc53a0b4c15 ("mm: rename page->index to
    # page->__folio_index") (in v6.16).
    index = "__folio_index" if page.has_member("__folio_index") else "index"
    fields = {
        "flags": (word, offset_of(page, "flags")),
        "compound": (word, offset_of(page, compound)),
        "mapping": (word, offset_of(page, "mapping")),
        "pgoff": (word, offset_of(page, index)),
        "private": (word, offset_of(page, "private")),
        "type": (f"{byte_order(prog)}u4", offset_of(page, "_mapcount")),
        "refcount": (f"{byte_order(prog)}i4", offset_of(page, "_refcount")),
        "lru": (word, offset_of(page, "lru")),
    }
    # CONFIG_SLOB (until v6.3) has no caches; "mapping" stands in for what is not looked
    # at then.
    slab = prog.type("struct slab")
    fields["slab_cache"] = (
        word,
        (
            offset_of(slab, "slab_cache")
            if slab.has_member("slab_cache")
            else offset_of(page, "mapping")
        ),
    )
    # CONFIG_MEMCG=n, the same.
    fields["memcg_data"] = (
        word,
        (
            offset_of(page, "memcg_data")
            if page.has_member("memcg_data")
            else offset_of(page, "flags")
        ),
    )
    folio = prog.type("struct folio")
    # Since Linux kernel commit ebc1baf5c9b4 ("mm: free up a word in the first tail
    # page") (in v6.6), the order is the low byte of _flags_1.
    if folio.has_member("_folio_order"):
        order = (offset_of(folio, "_folio_order"), 1)
    else:
        order = (offset_of(folio, "_flags_1"), sizeof(prog.type("unsigned long")))
    # In 6.1 the map count of a compound page as a whole is still in the first tail
    # page.
    if folio.has_member("_entire_mapcount"):
        entire = offset_of(folio, "_entire_mapcount")
    elif page.has_member("compound_mapcount"):
        entire = size + offset_of(page, "compound_mapcount")
    else:
        entire = None
    pg = {}
    for name in ("head", "slab", "reserved", "swapbacked", "swapcache", "hwpoison"):
        try:
            pg[name] = 1 << number(prog, f"PG_{name}", 63)
        except LookupError:
            pg[name] = 0
    return PageLayout(
        page=record_dtype(fields, size),
        size=size,
        page0=pfn_to_page(prog, 0).value_(),
        byteorder="little" if byte_order(prog) == "<" else "big",
        # Since Linux kernel commit 8c846c879e22 ("mm: rework compound_head() for
        # power-of-2 sizeof(struct page)") (in v7.1).
        compound_has_mask=size & (size - 1) == 0
        and prog.type("struct zone").has_member("vmemmap_tails"),
        order=order,
        entire_mapcount=entire,
        # CONFIG_NO_PAGE_MAPCOUNT came together with _mm_ids (in v6.15).
        large_mapcount=(
            offset_of(folio, "_large_mapcount") if folio.has_member("_mm_ids") else None
        ),
        pg=pg,
    )

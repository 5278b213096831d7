# SPDX-License-Identifier: GPL-2.0-or-later
"""
Where the members of ``struct page`` and ``struct folio`` lie in this kernel
(``include/linux/mm_types.h``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from drgn import FaultError, Program, sizeof
from drgn.helpers.linux.kconfig import get_kconfig
from drgn.helpers.linux.mm import pfn_to_page
from numpy.typing import NDArray

from pagedbg.mm.bulk_read import byte_order, number, offset_of, read_array, record_dtype

__all__ = ("PageLayout", "counts_each_page", "page_layout", "read_pages")

_FLAGS = (
    *("head", "slab", "reserved", "swapbacked", "swapcache", "hwpoison"),
    *("lru", "private", "double_map"),
)


class PageLayout(NamedTuple):
    """Where the members lie that are read here."""

    page: np.dtype[Any]
    """
    A record with the members that are read here, some of them different views of the
    same word; those of :attr:`folio` may belong to a tail page.
    """
    size: int
    page0: int
    """The address of page frame 0's ``struct page``."""
    compound_has_mask: bool
    """
    Whether ``compound_info`` of a tail page is a mask that leads to the head, rather
    than its address.
    """
    folio: Mapping[str, int]
    """
    In which ``struct page`` of a folio a field of it lies, of those that this kernel
    has: ``order`` (in the low byte), ``entire_mapcount``, ``large_mapcount`` (where it
    may be the only count of each page), ``second_flags`` (where PG_double_map is among
    them), ``dtor``.
    """
    hugetlb_dtor: int | None
    """What ``dtor`` is in a folio of hugetlbfs."""
    hugetlb_bit: int
    """The bit that ``order`` has in a folio of hugetlbfs, 0 if there is none."""
    pg: Mapping[str, int]
    """
    The bit of each page flag ``PG_...``, 0 for one that this kernel does not have.
    """

    def address(self, pfn: int) -> int:
        """The address of a page frame's ``struct page``."""
        return self.page0 + pfn * self.size

    def pfns(self, addresses: NDArray[np.uint64]) -> NDArray[np.int64]:
        """
        The page frame numbers that addresses of ``struct page`` would have; of one
        below the first, which only damaged memory has, a negative one.
        """
        page0, size = np.uint64(self.page0), np.uint64(self.size)
        above = ((addresses - page0) // size).view(np.int64)
        below = ((page0 - addresses + size - np.uint64(1)) // size).view(np.int64)
        return np.where(addresses >= page0, above, -below)


def page_layout(prog: Program) -> PageLayout:
    """Return where the members lie."""
    try:
        return prog.cache["pagedbg_page_layout"]  # type: ignore[no-any-return]
    except KeyError:
        pass
    layout = _page_layout(prog)
    prog.cache["pagedbg_page_layout"] = layout
    return layout


def read_pages(
    prog: Program, first: int, count: int, dtype: np.dtype[Any] | None = None
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """
    Read the ``struct page`` of *count* page frames from *first* on.

    :param dtype: a record of a ``struct page`` (:func:`record_dtype`), instead of
        :attr:`PageLayout.page`
    :return: them, and which of them could be read: the others are all zero
    """
    layout = page_layout(prog)
    return read_array(prog, layout.address(first), count, dtype or layout.page)


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
    # CONFIG_MEMCG=n has none.
    if page.has_member("memcg_data"):
        fields["memcg_data"] = (word, offset_of(page, "memcg_data"))
    folio = {}
    for name, (format_, at) in _folio_fields(prog, size, word).items():
        folio[name], offset = divmod(at, size)
        fields[name] = (format_, offset)
    pg = {}
    for name in _FLAGS:
        bit = _constant(prog, f"PG_{name}")
        pg[name] = 0 if bit is None else 1 << bit
    # Before Linux kernel commit d99e3140a4d3 ("mm: turn folio_test_hugetlb into a
    # PageType") (in v6.9), a flag of the first tail page. Before Linux kernel commit
    # 9c5ccf2db04b ("mm: remove HUGETLB_PAGE_DTOR") (in v6.6), the compound page's
    # destructor.
    hugetlb = _constant(prog, "PG_hugetlb")
    return PageLayout(
        page=record_dtype(fields, size),
        size=size,
        page0=pfn_to_page(prog, 0).value_(),
        # Since Linux kernel commit 8c846c879e22 ("mm: rework compound_head() for
        # power-of-2 sizeof(struct page)") (in v7.1).
        compound_has_mask=size & (size - 1) == 0
        and prog.type("struct zone").has_member("vmemmap_tails"),
        folio=folio,
        hugetlb_dtor=_constant(prog, "HUGETLB_PAGE_DTOR"),
        hugetlb_bit=0 if hugetlb is None else 1 << hugetlb,
        pg=pg,
    )


def _folio_fields(prog: Program, size: int, word: str) -> dict[str, tuple[str, int]]:
    """Return the format and the offset of what a folio says of its pages together."""
    page, folio = prog.type("struct page"), prog.type("struct folio")
    byte, count = "u1", f"{byte_order(prog)}i4"
    # Since Linux kernel commit ebc1baf5c9b4 ("mm: free up a word in the first tail
    # page") (in v6.6), the order is the low byte of _flags_1.
    if folio.has_member("_folio_order"):
        fields = {"order": (byte, offset_of(folio, "_folio_order"))}
    else:
        fields = {"order": (word, offset_of(folio, "_flags_1"))}
    # In 6.1 the map count of a compound page as a whole is still in the first tail
    # page.
    if folio.has_member("_entire_mapcount"):
        fields["entire_mapcount"] = (count, offset_of(folio, "_entire_mapcount"))
    elif page.has_member("compound_mapcount"):
        fields["entire_mapcount"] = (count, size + offset_of(page, "compound_mapcount"))
    # CONFIG_NO_PAGE_MAPCOUNT came together with _mm_ids (in v6.15).
    if folio.has_member("_mm_ids"):
        fields["large_mapcount"] = (count, offset_of(folio, "_large_mapcount"))
    # Until 6.1 a flag of the first tail page says of a huge page of anonymous memory
    # that its parts are mapped, too, and each counted once too often.
    if _constant(prog, "PG_double_map") is not None:
        fields["second_flags"] = (word, size + offset_of(page, "flags"))
    if _constant(prog, "HUGETLB_PAGE_DTOR") is not None:
        fields["dtor"] = (
            (byte, offset_of(folio, "_folio_dtor"))
            if folio.has_member("_folio_dtor")
            else (byte, size + offset_of(page, "compound_dtor"))
        )
    return fields


def counts_each_page(prog: Program) -> bool:
    """``CONFIG_PAGE_MAPCOUNT``"""
    try:
        config = get_kconfig(prog)
    except (LookupError, FaultError):
        # CONFIG_IKCONFIG=n. The default of every architecture is to count.
        return True
    return "CONFIG_NO_PAGE_MAPCOUNT" not in config


def _constant(prog: Program, name: str) -> int | None:
    """Return a constant that need not exist and is a number of a bit or less."""
    try:
        return number(prog, name, 63)
    except LookupError:
        return None

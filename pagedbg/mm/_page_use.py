# SPDX-License-Identifier: GPL-2.0-or-later
"""
What a page, or a whole compound page, is used for: the questions of
``stable_page_flags()`` (``fs/proc/page.c``), in its order.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from drgn import FaultError, Program
from drgn.helpers.linux.kconfig import get_kconfig

from pagedbg.mm._page_layout import PageLayout, PageWords
from pagedbg.mm._page_names import PageNames, zero_pfns
from pagedbg.mm.bulk_read import offset_of
from pagedbg.mm.mmzone import page_flags_zonenum
from pagedbg.mm.page_flags import PageTypes
from pagedbg.schema.owner_record import GREATEST_ORDER

__all__ = ("Use", "Uses")

# The two low bits of page->mapping. Their names changed, their values never did:
# anonymous; movable by its driver (before 7.x); both: KSM.
_MAPPING_ANON = 0x1
_MAPPING_MOVABLE = 0x2
_MAPPING_FLAGS = 0x3

# include/linux/poison.h: PP_SIGNATURE = 0x40 + POISON_POINTER_DELTA. Below and above
# bit 6, pp_magic has flags and an index of its own.
_POISON_POINTER_DELTA = 0xDEAD000000000000
_PP_MASK = 0xFFFF00000000007C
_PP_SIGNATURE = 0x40 + _POISON_POINTER_DELTA

_TYPE_KINDS = {
    "table": "page table",
    "guard": "guard",
    "offline": "offline",
    "zsmalloc": "zsmalloc",
    "unaccepted": "unaccepted",
}


class Use(NamedTuple):
    """What is the same for all pages of a compound page, or of a page that is none."""

    kind: str
    detail: str | None
    order: int
    mapping: int
    pgoff: int
    memcg: str | None
    entire_mapcount: int
    average_mapcount: int | None


class Uses:
    """
    Says what pages are used for, and remembers it of compound pages.

    :param missing: The kind of a compound page whose head cannot be read.
    """

    def __init__(
        self, prog: Program, layout: PageLayout, types: PageTypes, missing: str
    ) -> None:
        self._prog = prog
        self._layout = layout
        self._types = types
        self._missing = missing
        self._names = PageNames(prog)
        self._compounds: dict[int, Use] = {}
        self._zero_pfns = zero_pfns(prog)
        self._page_size: int = prog["PAGE_SIZE"].value_()
        try:
            self._device_zone: int = prog["ZONE_DEVICE"].value_()
        except LookupError:
            self._device_zone = -1

    def is_device(self, flags: int) -> bool:
        """Whether ``page->flags`` are of a page in ZONE_DEVICE."""
        return bool(page_flags_zonenum(self._prog, flags) == self._device_zone)

    def of_compound(self, address: int) -> Use:
        """Say what a compound page is, by the address of its head."""
        try:
            return self._compounds[address]
        except KeyError:
            pass
        layout = self._layout
        pfn = (address - layout.page0) // layout.size
        try:
            data = self._prog.read(address, 3 * layout.size)
        except FaultError:
            result = Use(
                self._missing, "its head page cannot be read", 0, 0, 0, None, 0, None
            )
        else:
            result = self.of_page(
                pfn, PageWords(*np.frombuffer(data, layout.page, 1)[0].item()), data
            )
        self._compounds[address] = result
        return result

    def of_page(self, pfn: int, page: PageWords, folio: bytes | None = None) -> Use:
        """
        Say what a page, or from three ``struct page`` the compound page that begins
        there, is.
        """
        layout, pg = self._layout, self._layout.pg
        flags, mapping = page.flags, page.mapping
        order = entire = 0
        average = None
        if folio is not None:
            order = _order(layout.order_word(folio) & 0xFF)
            if layout.entire_mapcount is not None:
                entire = layout.int32(folio, layout.entire_mapcount) + 1
            average = self._average_mapcount(folio, order, entire)
        kind: str
        detail: str | None = None
        file_mapping = 0
        type_name = self._types.name(page.type)
        if type_name == "buddy":
            kind, order = "free", _order(page.private)
        elif self._is_slab(flags, type_name):
            kind, detail = "slab", self._names.cache(page.slab_cache)
        elif self._is_hugetlb(type_name, folio):
            kind = "hugetlb"
            size_text = _size(self._page_size << order)
            if mapping and not mapping & _MAPPING_FLAGS:
                file_mapping = mapping
                detail = f"{size_text}, {self._names.file(mapping)[1] or 'in use'}"
            elif mapping & _MAPPING_ANON:
                file_mapping = mapping
                detail = f"{size_text}, anonymous"
            else:
                detail = (
                    f"{size_text},"
                    f" {'in use' if page.refcount > 0 else 'free in its pool'}"
                )
        elif type_name is not None:
            kind = _TYPE_KINDS.get(type_name, type_name.replace("_", " "))
        elif pfn in self._zero_pfns:
            kind, detail = "zero", self._zero_pfns[pfn]
        elif self.is_device(flags):
            kind = "device"
        elif flags & pg["reserved"]:
            kind, detail = "reserved", self._names.resource(pfn)
        elif mapping & _MAPPING_ANON:
            kind = "ksm" if mapping & _MAPPING_FLAGS == _MAPPING_FLAGS else "anon"
            file_mapping = mapping
            details = [f"part of {_size(self._page_size << order)}"] if order else []
            if flags & pg["swapcache"] and flags & pg["swapbacked"]:
                details.append(f"also in swap: {self._names.swap_slot(page.private)}")
            detail = ", ".join(details) or None
        elif flags & pg["swapcache"] and flags & pg["swapbacked"] and page.refcount > 0:
            kind, detail = "swap cache", self._names.swap_slot(page.private)
        elif mapping & _MAPPING_FLAGS == _MAPPING_MOVABLE:
            kind = "movable"
        elif mapping and page.refcount > 0 and self._names.file(mapping)[0]:
            kind, detail = self._names.file(mapping)
            if kind == "file" and flags & pg["swapbacked"]:
                kind = "shmem"
            file_mapping = mapping
        elif page.refcount == 0:
            kind = "no references"
        elif page.lru & _PP_MASK == _PP_SIGNATURE:
            kind = "page pool"
        else:
            kind = "kernel"
        memcg = None
        if kind not in ("slab", "free", "no references", "reserved", "zero", "device"):
            memcg = self._names.memcg(page.memcg_data)
        return Use(
            kind, detail, order, file_mapping, page.pgoff, memcg, entire, average
        )

    def mapcount(self, value: int, use: Use) -> int:
        """``folio_precise_page_mapcount()``, and for 6.1 ``__page_mapcount()``."""
        if use.average_mapcount is not None:
            return use.average_mapcount
        return (
            0 if self._types.is_type(value) else ((value + 1) & 0xFFFFFFFF)
        ) + use.entire_mapcount

    def _average_mapcount(self, folio: bytes, order: int, entire: int) -> int | None:
        """
        ``folio_average_page_mapcount()``, for a kernel that no longer counts page by
        page (CONFIG_PAGE_MAPCOUNT=n, 7.x).
        """
        if self._layout.large_mapcount is None or self._page_mapcount:
            return None
        mapcount = self._layout.int32(folio, self._layout.large_mapcount) + 1
        if mapcount <= entire:
            return max(entire, 0)
        return max((mapcount - entire + (1 << order >> 1) >> order) + entire, 1)

    @functools.cached_property
    def _page_mapcount(self) -> bool:
        """``CONFIG_PAGE_MAPCOUNT``"""
        try:
            config = get_kconfig(self._prog)
        except (LookupError, FaultError):
            # CONFIG_IKCONFIG=n. The default of every architecture is to count.
            return True
        return "CONFIG_NO_PAGE_MAPCOUNT" not in config

    def _is_slab(self, flags: int, type_name: str | None) -> bool:
        # Since Linux kernel commit 46df8e73a4a3 ("mm: free up PG_slab") (in v6.10) it
        # is a page type.
        return type_name == "slab" or bool(flags & self._layout.pg["slab"])

    def _is_hugetlb(self, type_name: str | None, folio: bytes | None) -> bool:
        if type_name == "hugetlb":
            return True
        if folio is None:
            return False
        # Before Linux kernel commit d99e3140a4d3 ("mm: turn folio_test_hugetlb into a
        # PageType") (in v6.9), a flag of the first tail page. Before Linux kernel
        # commit 9c5ccf2db04b ("mm: remove HUGETLB_PAGE_DTOR") (in v6.6), the compound
        # page's destructor.
        prog = self._prog
        try:
            dtor = prog["HUGETLB_PAGE_DTOR"].value_()
        except LookupError:
            pass
        else:
            struct, member = (
                ("struct folio", "_folio_dtor")
                if prog.type("struct folio").has_member("_folio_dtor")
                else ("struct page", "")
            )
            offset = (
                offset_of(prog.type(struct), member)
                if member
                else self._layout.size + offset_of(prog.type(struct), "compound_dtor")
            )
            return bool(folio[offset] == dtor)
        try:
            bit = prog["PG_hugetlb"].value_()
        except LookupError:
            return False
        return bool(self._layout.order_word(folio) >> bit & 1)


def _order(order: int) -> int:
    """
    An order; 0 for one that no block has: then the page is damaged, or was being made
    part of one.
    """
    return order if order <= GREATEST_ORDER else 0


def _size(size: int) -> str:
    for unit, shift in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if size >> shift:
            return f"{size >> shift} {unit}"
    return f"{size} bytes"

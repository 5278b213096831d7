# SPDX-License-Identifier: GPL-2.0-or-later
"""
What pages, or the compound pages that they are in, are used for: the questions of
``stable_page_flags()`` (``fs/proc/page.c``), in its order, asked of many pages at once.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from drgn import Program
from numpy.typing import NDArray

from pagedbg.mm._folios import Folios
from pagedbg.mm._page_layout import PageLayout, counts_each_page
from pagedbg.mm._page_names import PageNames, zero_pfns
from pagedbg.mm._page_words import MAPPING_FLAGS, PP_MASK, PP_SIGNATURE
from pagedbg.mm.mmzone import page_flags_zonenum
from pagedbg.mm.page_flags import PageTypes
from pagedbg.mm.zsmalloc import zsmalloc_mapping
from pagedbg.schema.owner_record import GREATEST_ORDER

__all__ = ("Detail", "Use", "Uses")

# The two low bits of page->mapping (MAPPING_FLAGS). Their names changed, their values
# never did: anonymous; movable by its driver (before 7.x); both: KSM.
_MAPPING_ANON = 0x1
_MAPPING_MOVABLE = 0x2

_TYPE_KINDS = {
    "table": "page table",
    "guard": "guard",
    "offline": "offline",
    "zsmalloc": "zsmalloc",
    "unaccepted": "unaccepted",
}

# Physical addresses of 64 bits.
_MOST_PFNS = 1 << 52

# To which nothing is charged page by page.
_UNCHARGED = ("slab", "free", "no references", "reserved", "zero", "device")


class Detail(enum.IntEnum):
    """
    What more there is to say of a page, and what its key is then. (An array is compared
    with its ``value``: with a member of an enum it takes NumPy 70 times as long.)
    """

    NONE = 0
    CACHE = enum.auto()
    """In a slab cache: the ``struct kmem_cache *``."""
    FILE = enum.auto()
    """Of a file or a device: the ``struct address_space *``."""
    PART = enum.auto()
    """Of a compound page, if it has an order."""
    PART_AND_SWAP = enum.auto()
    """The same, and also in swap: the ``swp_entry_t``."""
    SWAP = enum.auto()
    """In swap: the ``swp_entry_t``."""
    HUGE_FILE = enum.auto()
    """A huge page of a file: the ``struct address_space *``."""
    HUGE_ANON = enum.auto()
    HUGE_USED = enum.auto()
    HUGE_FREE = enum.auto()
    ZERO = enum.auto()
    """A page of zeroes: the page frame number."""
    RESERVED = enum.auto()
    """Reserved: the page frame number."""
    BUDDY = enum.auto()
    """In a block of the buddy allocator."""
    PCP = enum.auto()
    """On a per-CPU list: its key in :class:`PcpLists`."""
    WAS = enum.auto()
    """Taken out of use: the code of the kind that it was."""
    NO_HEAD = enum.auto()
    """The head of its compound page cannot be read."""


# By the detail, whether the index in the address space or in the process is known.
_MAPPED = np.zeros(len(Detail), np.bool_)
_MAPPED[
    [
        Detail.FILE,
        Detail.PART,
        Detail.PART_AND_SWAP,
        Detail.HUGE_FILE,
        Detail.HUGE_ANON,
    ]
] = True


class Use(NamedTuple):
    """What is the same for all pages of a compound page; an element a page."""

    kind: NDArray[np.uint8]
    detail: NDArray[np.uint8]
    key: NDArray[np.uint64]
    order: NDArray[np.uint8]
    mapping: NDArray[np.uint64]
    pgoff: NDArray[np.uint64]
    memcg_data: NDArray[np.uint64]


class Uses:
    """
    Says what pages are used for.

    :param kinds: The names of the codes of kinds; types of pages that have none get
        one.
    :param missing: The kind of a compound page whose head cannot be read.
    """

    def __init__(
        self,
        prog: Program,
        layout: PageLayout,
        types: PageTypes,
        names: PageNames,
        kinds: list[str],
        missing: str,
    ) -> None:
        self._prog = prog
        self._layout = layout
        self._types = types
        self._names = names
        self._kinds = kinds
        self._codes = {kind: code for code, kind in enumerate(kinds)}
        self._missing = missing
        # Until there is a huge one, its number is ~0UL.
        self._zero_pfns = [pfn for pfn in zero_pfns(prog) if pfn < _MOST_PFNS]
        try:
            self._device_zone: int = prog["ZONE_DEVICE"].value_()
        except LookupError:
            self._device_zone = -1
        self._zsmalloc = np.uint64(zsmalloc_mapping(prog))

    def is_device(self, flags: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Whether ``page->flags`` are of pages in ZONE_DEVICE."""
        if self._device_zone < 0:
            return np.zeros(len(flags), np.bool_)
        found: NDArray[np.bool_] = (
            page_flags_zonenum(self._prog, flags) == self._device_zone
        )
        return found

    def not_single(self, first: int, flags: NDArray[np.uint64]) -> Iterator[int]:
        """
        Which of neighbouring pages are of a device, or of zeroes, whatever their other
        words say.

        :param first: the page frame number of the first
        """
        zeroes = (pfn - first for pfn in self._zero_pfns)
        yield from (i for i in zeroes if 0 <= i < len(flags))
        # The zones that any page may be in by these bits.
        any_of = page_flags_zonenum(self._prog, int(np.bitwise_or.reduce(flags)))
        if self._device_zone >= 0 and any_of & self._device_zone == self._device_zone:
            yield from np.flatnonzero(self.is_device(flags)).tolist()

    def of(self, folios: Folios) -> Use:
        """Say what pages are used for."""
        pg, count = self._layout.pg, len(folios.row)

        def word(
            name: str, at: NDArray[np.int64] | slice = slice(None)
        ) -> NDArray[np.uint64]:
            return folios.table[name][folios.row[at]].astype(np.uint64, copy=False)

        flags, mapping, private = word("flags"), word("mapping"), word("private")
        refcount = folios.table["refcount"][folios.row]
        kind = np.zeros(count, np.uint8)
        detail = np.zeros(count, np.uint8)
        key = np.zeros(count, np.uint64)
        order, hugetlb = self._compound(folios)
        open_ = np.ones(count, np.bool_)

        def decide(
            among: NDArray[np.bool_], name: str, more: Detail = Detail.NONE
        ) -> NDArray[np.int64]:
            if not among.any():
                # As of most kinds in most places.
                return np.zeros(0, np.int64)
            chosen = np.flatnonzero(open_ & among)
            kind[chosen] = self._code(name)
            detail[chosen] = more
            open_[chosen] = False
            return chosen

        decide(folios.lost, self._missing, Detail.NO_HEAD)
        types, type_of = self._types_of(folios.table["type"][folios.row])
        buddy = decide(type_of("buddy"), "free")
        order[buddy] = _sane(private[buddy])
        # Since Linux kernel commit 46df8e73a4a3 ("mm: free up PG_slab") (in v6.10) it
        # is a page type.
        slab = decide(
            type_of("slab") | (flags & np.uint64(pg["slab"]) != 0), "slab", Detail.CACHE
        )
        key[slab] = word("slab_cache", slab)
        huge = decide(type_of("hugetlb") | hugetlb, "hugetlb")
        detail[huge] = _huge_detail(mapping[huge], refcount[huge])
        for name in types:
            decide(type_of(name), _TYPE_KINDS.get(name, name.replace("_", " ")))
        for pfn in self._zero_pfns:
            key[decide(folios.head == pfn, "zero", Detail.ZERO)] = pfn
        decide(self.is_device(flags), "device")
        reserved = decide(
            flags & np.uint64(pg["reserved"]) != 0, "reserved", Detail.RESERVED
        )
        key[reserved] = folios.head[reserved].view(np.uint64)
        low = mapping & np.uint64(MAPPING_FLAGS)
        swapbacked = flags & np.uint64(pg["swapbacked"]) != 0
        in_swap = (flags & np.uint64(pg["swapcache"]) != 0) & swapbacked
        for mask, name in (
            (low == MAPPING_FLAGS, "ksm"),
            (low == _MAPPING_ANON, "anon"),
        ):
            anon = decide(mask, name, Detail.PART)
            also = anon[in_swap[anon]]
            detail[also], key[also] = Detail.PART_AND_SWAP, private[also]
        swap = decide(in_swap & (refcount > 0), "swap cache", Detail.SWAP)
        key[swap] = private[swap]
        decide(mapping == self._zsmalloc, "zsmalloc")
        decide(low == _MAPPING_MOVABLE, "movable")
        for name, mask in self._files(open_, mapping, refcount):
            if name == "file":
                decide(mask & swapbacked, "shmem", Detail.FILE)
            decide(mask, name, Detail.FILE)
        decide(refcount == 0, "no references")
        rest = decide(open_, "kernel")
        pool = rest[word("lru", rest) & np.uint64(PP_MASK) == PP_SIGNATURE]
        kind[pool] = self._code("page pool")

        of_file = np.flatnonzero(
            (detail == Detail.FILE.value) | (detail == Detail.HUGE_FILE.value)
        )
        key[of_file] = mapping[of_file]
        charged = np.ones(len(self._kinds), np.bool_)
        charged[[self._code(name) for name in _UNCHARGED]] = False
        memcg = np.zeros(count, np.uint64)
        if "memcg_data" in (self._layout.page.names or ()):
            memcg = word("memcg_data")
        return Use(
            kind,
            detail,
            key,
            np.where(folios.lost, 0, order),
            np.where(_MAPPED[detail], mapping, 0),
            word("pgoff"),
            np.where(charged[kind] & ~folios.lost, memcg, 0),
        )

    def mapcount(self, values: NDArray[np.uint32], folios: Folios) -> NDArray[np.int64]:
        """
        ``folio_precise_page_mapcount()``, and for 6.1 ``__page_mapcount()``.

        :param values: ``_mapcount`` of the pages themselves, as ``unsigned int``
        """
        count = (values + np.uint32(1)).astype(np.int64)
        typed = np.flatnonzero((values >= 0x80000000) & (values != 0xFFFFFFFF))
        distinct, which = np.unique(values[typed], return_inverse=True)
        is_type = [self._types.is_type(value) for value in distinct.tolist()]
        count[typed[np.array(is_type, np.bool_)[which]]] = 0
        if not len(folios.compound):
            return count
        fields, at = self._layout.folio, folios.compound
        entire = np.zeros(len(at), np.int64)
        if "entire_mapcount" in fields:
            entire = self._field(folios, "entire_mapcount").astype(np.int64) + 1
        if "large_mapcount" in fields and not self._counts_each_page:
            # folio_average_page_mapcount(), for a kernel that no longer counts page by
            # page (CONFIG_PAGE_MAPCOUNT=n, 7.x).
            large = self._field(folios, "large_mapcount").astype(np.int64) + 1
            word = self._field(folios, "order").astype(np.uint64, copy=False)
            order = _sane(word & np.uint64(0xFF)).astype(np.int64)
            parts = large - entire + (np.int64(1) << order >> 1) >> order
            found = np.where(
                large <= entire, np.maximum(entire, 0), np.maximum(parts + entire, 1)
            )
        elif "second_flags" in fields:
            anon = folios.table["mapping"][folios.row[at]] & _MAPPING_ANON != 0
            twice = self._field(folios, "second_flags") & self._layout.pg["double_map"]
            huge = self._field(folios, "dtor") == self._layout.hugetlb_dtor
            # Of a huge page of a file each page has its own count only.
            found = count[at] + np.where(anon | huge, entire - (twice != 0), 0)
        else:
            found = count[at] + entire
        count[at] = np.where(folios.lost[at], count[at], found)
        return count

    @functools.cached_property
    def _counts_each_page(self) -> bool:
        return counts_each_page(self._prog)

    def _types_of(
        self, values: NDArray[np.uint32]
    ) -> tuple[list[str], Callable[[str], NDArray[np.bool_]]]:
        """
        Return the types that pages have, and a function that says which pages have one
        of them.
        """
        names: dict[str, int] = {}
        codes = np.zeros(len(values), np.uint8)
        typed = np.flatnonzero((values >= 0x80000000) & (values != 0xFFFFFFFF))
        distinct, which = np.unique(values[typed], return_inverse=True)
        of_value = [self._types.name(value) for value in distinct.tolist()]
        for name in of_value:
            if name is not None:
                names.setdefault(name, len(names) + 1)
        codes[typed] = np.array(
            [0 if name is None else names[name] for name in of_value], np.uint8
        )[which]
        # No page has the code of a type that was not met.
        return list(names), lambda name: codes == names.get(name, 0xFF)

    def _files(
        self,
        among: NDArray[np.bool_],
        mapping: NDArray[np.uint64],
        refcount: NDArray[np.int32],
    ) -> list[tuple[str, NDArray[np.bool_]]]:
        """Return which of some pages have an address space of a kind, by the kind."""
        at = np.flatnonzero(among & (mapping != 0) & (refcount > 0))
        kinds, which = self.file_kinds(mapping[at])
        result = []
        for name in sorted({*kinds} - {""}):
            mask = np.zeros(len(among), np.bool_)
            mask[at] = np.array([kind == name for kind in kinds], np.bool_)[which]
            result.append((name, mask))
        return result

    def file_kinds(self, mapping: NDArray[Any]) -> tuple[list[str], NDArray[np.intp]]:
        """
        Return kinds of address spaces (:meth:`PageNames.file_kind`), and for each
        mapping the place of its own among them.
        """
        # Pages of one file often lie behind each other.
        begins = np.ones(len(mapping), np.bool_)
        begins[1:] = mapping[1:] != mapping[:-1]
        distinct, which = np.unique(mapping[begins], return_inverse=True)
        kinds = [self._names.file_kind(value) for value in distinct.tolist()]
        return kinds, which[np.cumsum(begins) - 1]

    def _code(self, name: str) -> int:
        """The code of a kind."""
        if name not in self._codes:
            self._codes[name] = len(self._kinds)
            self._kinds.append(name)
        return self._codes[name]

    def _compound(self, folios: Folios) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Return the order of each compound page, and whether it is of hugetlbfs."""
        layout = self._layout
        order = np.zeros(len(folios.row), np.uint8)
        hugetlb = np.zeros(len(folios.row), np.bool_)
        if len(folios.compound):
            word = self._field(folios, "order").astype(np.uint64, copy=False)
            order[folios.compound] = _sane(word & np.uint64(0xFF))
            hugetlb[folios.compound] = (
                self._field(folios, "dtor") == layout.hugetlb_dtor
                if layout.hugetlb_dtor is not None
                else word & np.uint64(layout.hugetlb_bit) != 0
            )
        return order, hugetlb

    def _field(self, folios: Folios, name: str) -> NDArray[Any]:
        """A field of the compound pages that pages are part of."""
        rows = folios.row[folios.compound] + self._layout.folio[name]
        found: NDArray[Any] = folios.table[name][rows]
        return found


def _sane(orders: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """
    Return orders, with 0 for one that no block has: then the page is damaged, or was
    being made part of one.
    """
    return np.where(orders <= GREATEST_ORDER, orders, np.uint64(0))


def _huge_detail(
    mapping: NDArray[np.uint64], refcount: NDArray[np.int32]
) -> NDArray[np.uint8]:
    """Say what pages of hugetlbfs are used for."""
    detail = np.where(refcount > 0, Detail.HUGE_USED, Detail.HUGE_FREE)
    detail[mapping & np.uint64(_MAPPING_ANON) != 0] = Detail.HUGE_ANON
    detail[(mapping != 0) & (mapping & np.uint64(MAPPING_FLAGS) == 0)] = (
        Detail.HUGE_FILE
    )
    return detail.astype(np.uint8)

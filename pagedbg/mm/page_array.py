# SPDX-License-Identifier: GPL-2.0-or-later
"""
Pages in bulk
-------------

Helpers for ``include/linux/mm_types.h``: what pages are used for, millions at a time,
as arrays of numbers and pointers. A name is looked up only when somebody asks for it.

The order of the questions is that of ``stable_page_flags()`` (``fs/proc/page.c``), and
/proc/kpageflags and /proc/kpagecount are what the answers are tested against.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from drgn import FaultError, Program, ProgramFlags
from numpy.typing import NDArray

from pagedbg.mm._buddy import find_free_blocks
from pagedbg.mm._memmap import segments
from pagedbg.mm._page_layout import PageLayout, page_layout
from pagedbg.mm._page_names import PageNames
from pagedbg.mm._page_use import Detail, Folios, Uses
from pagedbg.mm._pcp_lists import PcpLists
from pagedbg.mm.bulk_read import read_array
from pagedbg.mm.mmzone import page_flags_nid, page_flags_zonenum
from pagedbg.mm.page_flags import page_types
from pagedbg.mm.page_kinds import KINDS
from pagedbg.mm.pageblock_flags import max_page_order

__all__ = ("Detail", "PageDecoder", "Pages")

# 2 MiB of struct page, and a section of x86-64.
_PAGES_PER_PIECE = 1 << 15


@dataclasses.dataclass
class Pages:
    """
    What neighbouring page frames are; every array has an element a page. Of a page that
    is not ``present`` nothing but its kind is known, and the other elements are 0.
    """

    first: int
    """The first page frame number."""
    kinds: Sequence[str]
    """What the codes in ``kind`` mean, mostly :data:`pagedbg.mm.page_kinds.KINDS`."""
    kind: NDArray[np.uint8]
    present: NDArray[np.bool_]
    detail: NDArray[np.uint8]
    """What more there is to say: a :class:`Detail`."""
    key: NDArray[np.uint64]
    """Whom the detail is about: the slab cache, the address space, the swap slot …"""
    flags: NDArray[np.uint64]
    """``page->flags``."""
    refcount: NDArray[np.int32]
    mapcount: NDArray[np.int64]
    """How many page table entries map it, as /proc/kpagecount has it."""
    head: NDArray[np.int64]
    """
    The page frame number of the first page of the compound page or free block that it
    is in; itself if in none.
    """
    order: NDArray[np.uint8]
    """The order of that compound page or free block."""
    mapping: NDArray[np.uint64]
    """``folio->mapping``, with its low bits."""
    pgoff: NDArray[np.uint64]
    """Where there is a mapping: the index in it of the first page."""
    memcg_data: NDArray[np.uint64]
    """``folio->memcg_data``, with its low bits."""

    def __len__(self) -> int:
        return len(self.kind)

    def zone(self, prog: Program) -> NDArray[np.int16]:
        """Return the zone of each page, an ``enum zone_type``; -1 if not present."""
        zones = page_flags_zonenum(prog, self.flags).astype(np.int16)
        return np.where(self.present, zones, np.int16(-1))

    def node(self, prog: Program) -> NDArray[np.int16]:
        """Return the NUMA node of each page; -1 if not present."""
        nodes = page_flags_nid(prog, self.flags).astype(np.int16)
        return np.where(self.present, nodes, np.int16(-1))


class PageDecoder:
    """
    Reads the memory map and says what its pages are; made for one answer and then
    dropped, since a live kernel changes.

    :param prog: the kernel
    """

    def __init__(self, prog: Program) -> None:
        self._prog = prog
        self._layout = page_layout(prog)
        self._types = page_types(prog)
        self._max_order = max_page_order(prog)
        self._missing = (
            "unreadable" if prog.flags & ProgramFlags.IS_LIVE else "not in the dump"
        )
        self._kinds = list(KINDS)
        self.names = PageNames(prog)
        self.pcp = PcpLists(prog, self._layout)
        self._uses = Uses(
            prog, self._layout, self._types, self.names, self._kinds, self._missing
        )
        # The first pages of compound pages that begin in another piece.
        self._heads: dict[int, bytes | None] = {}

    @property
    def layout(self) -> PageLayout:
        """Where ``struct page`` and its members lie."""
        return self._layout

    def pieces(self, start_pfn: int, end_pfn: int) -> Iterator[Pages]:
        """
        Say what all page frames of a range are, in order and some ten thousand at a
        time.

        :param start_pfn: the first page frame number
        :param end_pfn: the one after the last
        """
        for a, b, kind in segments(self._prog, start_pfn, end_pfn):
            for start in range(a, b, _PAGES_PER_PIECE):
                end = min(start + _PAGES_PER_PIECE, b)
                if kind in ("", "offline section"):
                    yield self._piece(start, end, bool(kind))
                else:
                    yield self._blank(
                        start, np.full(end - start, self._code(kind), np.uint8)
                    )

    def _code(self, kind: str) -> int:
        return self._kinds.index(kind)

    def _blank(self, first: int, kind: NDArray[np.uint8]) -> Pages:
        """Pages of which nothing but the kind is known."""

        def zeros(dtype: type[Any]) -> NDArray[Any]:
            return np.zeros(len(kind), dtype)

        return Pages(
            first,
            self._kinds,
            kind,
            present=zeros(np.bool_),
            detail=zeros(np.uint8),
            key=zeros(np.uint64),
            flags=zeros(np.uint64),
            refcount=zeros(np.int32),
            mapcount=zeros(np.int64),
            head=zeros(np.int64),
            order=zeros(np.uint8),
            mapping=zeros(np.uint64),
            pgoff=zeros(np.uint64),
            memcg_data=zeros(np.uint64),
        )

    def _piece(self, start: int, end: int, offline: bool) -> Pages:
        # A free block is marked on its first page only: begin where the largest one
        # would. And one page more, for compound_head().
        low = start >> self._max_order << self._max_order
        layout = self._layout
        pages, known = read_array(
            self._prog, layout.page0 + low * layout.size, end + 1 - low, layout.page
        )
        result = self._absent(start, pages[start - low : -1], known[start - low : -1])
        if offline:
            device = self._uses.is_device(result.flags)
            result.present &= device
            result.kind[~result.present] = self._code("offline section")
        at = np.flatnonzero(result.present)
        rows = at + (start - low)
        if not len(rows):
            result.flags[:] = 0
            return result
        folios = self._folios(pages, known, low, rows)
        use = self._uses.of(folios)
        kind, detail, key, order, head = *use[:4], folios.head
        refcount = pages["refcount"][rows]
        unused = np.flatnonzero(refcount == 0)
        blocks = find_free_blocks(self._types, pages[:-1], known[:-1], self._max_order)
        inside, first, orders = blocks.find(rows[unused])
        free = unused[inside]
        head[free], order[free] = low + first, orders
        detail[free], key[free] = Detail.BUDDY, 0
        kind[free] = self._code("free")
        maybe = unused[kind[unused] == self._code("no references")]
        for i, pfn, list_order, which in self.pcp.blocks(pages, low, rows[maybe]):
            of = maybe[i]
            head[of], order[of], key[of] = pfn, list_order, which
            detail[of] = Detail.PCP
            kind[of] = self._code("free")
        flags = pages["flags"][rows]
        poison = np.flatnonzero(flags & layout.pg["hwpoison"])
        if len(poison):
            nothing = [self._code(k) for k in ("hwpoison", "kernel", "no references")]
            was = ~np.isin(kind[poison], nothing)
            detail[poison] = np.where(was, Detail.WAS, Detail.NONE)
            key[poison] = np.where(was, kind[poison], 0)
            kind[poison] = self._code("hwpoison")
        result.kind[at] = kind
        result.detail[at] = detail
        result.key[at] = key
        result.refcount[at] = refcount
        result.mapcount[at] = self._uses.mapcount(pages["type"][rows], folios)
        result.head[at] = head
        result.order[at] = order
        result.mapping[at] = use.mapping
        result.pgoff[at] = use.pgoff
        result.memcg_data[at] = use.memcg_data
        result.flags[~result.present] = 0
        return result

    def _absent(
        self, first: int, pages: NDArray[Any], known: NDArray[np.bool_]
    ) -> Pages:
        """Pages of which it is known whether they are present, and their flags."""
        flags = pages["flags"].astype(np.uint64)
        # Everything but the words that stay zero in a page in use.
        blank = flags == 0
        for name in ("refcount", "type", "compound", "mapping"):
            blank &= pages[name] == 0
        poisoned = pages["flags"] == np.array(-1).astype(pages["flags"].dtype)
        kind = np.full(len(pages), self._code("not initialised"), np.uint8)
        if self._missing == "not in the dump":
            kind[blank] = self._code(self._missing)
        kind[~known] = self._code(self._missing)
        result = self._blank(first, kind)
        result.present = known & ~blank & ~poisoned
        result.flags = flags
        return result

    def _folios(
        self,
        pages: NDArray[Any],
        known: NDArray[np.bool_],
        low: int,
        rows: NDArray[np.int64],
    ) -> Folios:
        """Find what pages are parts of."""
        layout = self._layout
        base = layout.page0 + low * layout.size
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
        first[compound] = self._pfns(of)
        return Folios(pages, row, compound, lost, first)

    def _pfns(self, addresses: NDArray[np.uint64]) -> NDArray[np.int64]:
        """
        The page frame numbers that addresses of ``struct page`` would have; of one
        below the first, which only damaged memory has, a negative one.
        """
        page0, size = np.uint64(self._layout.page0), np.uint64(self._layout.size)
        above = ((addresses - page0) // size).view(np.int64)
        below = ((page0 - addresses + size - np.uint64(1)) // size).view(np.int64)
        return np.where(addresses >= page0, above, -below)

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
        word = pages["compound"].astype(np.uint64)
        own = word[rows]
        tail = own & np.uint64(1) != 0
        if self._layout.compound_has_mask:
            return np.where(tail, address & own, address)
        # Before 7.1 a huge page whose memory map was freed (HVO) has pages that look
        # like a head and are none.
        following = word[rows + 1]
        false = (pages["flags"][rows] & self._layout.pg["head"] != 0) & (
            following & np.uint64(1) != 0
        )
        return np.where(
            tail,
            own - np.uint64(1),
            np.where(false, following - np.uint64(1), address),
        )

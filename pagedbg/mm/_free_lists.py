# SPDX-License-Identifier: GPL-2.0-or-later
"""
Which free block a page is in: the buddy allocator's free areas and the lists that each
CPU keeps (``include/linux/mmzone.h``).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from drgn import FaultError, Program, sizeof
from drgn.helpers.linux.cpumask import for_each_possible_cpu
from drgn.helpers.linux.percpu import per_cpu_ptr
from numpy.typing import NDArray

from pagedbg.mm._page_layout import PageLayout
from pagedbg.mm.bulk_read import offset_of
from pagedbg.mm.migrate import decode_migratetype
from pagedbg.mm.mmzone import for_each_populated_zone
from pagedbg.mm.page_flags import PageTypes
from pagedbg.mm.pageblock_flags import max_page_order, pageblock_order

__all__ = ("FreeBlock", "FreeBlocks", "PcpLists", "find_free_blocks")

FreeBlock = tuple[int, int, str]
"""First page, order, words for it."""

# mm/mmzone.h, PAGE_ALLOC_COSTLY_ORDER: up to it, orders have per-CPU lists of their
# own.
_COSTLY_ORDER = 3
_MAX_PCP_STEPS = 20000


class FreeBlocks:
    """
    The blocks of the buddy allocator in a piece of the memory map, found by any page in
    them.
    """

    def __init__(
        self, heads: NDArray[Any], orders: NDArray[Any], low: int, max_order: int
    ) -> None:
        self._heads = heads
        self._orders = orders
        self._low = low
        self._max_order = max_order

    def get(self, i: int) -> FreeBlock | None:
        """Return the free block that element *i* of the piece is in."""
        k = int(np.searchsorted(self._heads, i, "right")) - 1
        if k < 0:
            return None
        head, order = int(self._heads[k]), int(self._orders[k])
        if order > self._max_order or i >= head + (1 << order):
            return None
        return self._low + head, order, f"order {order} of the buddy allocator"


def find_free_blocks(
    types: PageTypes,
    pages: NDArray[Any],
    known: NDArray[np.bool_],
    low: int,
    max_order: int,
) -> FreeBlocks:
    """
    Find the blocks of the buddy allocator in a piece of the memory map.

    :param pages: The piece, as :attr:`PageLayout.page`, from page frame *low* on.
    :param known: Which of its elements could be read.
    """
    # Few pages have a type at all: most are mapped, or have a map count of -1.
    candidates = np.flatnonzero(
        known & (pages["type"] >= 0x80000000) & (pages["type"] != 0xFFFFFFFF)
    )
    found = pages["type"][candidates]
    buddies = [
        value for value in np.unique(found).tolist() if types.name(value) == "buddy"
    ]
    heads = candidates[np.isin(found, buddies)]
    return FreeBlocks(heads, pages["private"][heads], low, max_order)


class PcpLists:
    """
    The per-CPU lists of free pages, followed from the pages that are on them; remembers
    the way.
    """

    def __init__(self, prog: Program, layout: PageLayout) -> None:
        self._prog = prog
        self._layout = layout
        self._found: dict[int, tuple[int, int] | None] = {}
        self._areas: list[tuple[int, int, int]] | None = None
        self._max_order = max_page_order(prog)
        try:
            self._pcptypes: int = prog["MIGRATE_PCPTYPES"].value_()
        except LookupError:
            self._pcptypes = 3

    def block(self, pfn: int) -> FreeBlock | None:
        """Find a page that is on no list of the buddy allocator on a per-CPU list."""
        for order in (
            *range(min(_COSTLY_ORDER, self._max_order) + 1),
            pageblock_order(self._prog),
        ):
            head = pfn >> order << order
            found = self._list(head)
            if found is None:
                continue
            cpu, nr = found
            if nr < self._pcptypes * (_COSTLY_ORDER + 1):
                list_order, name = (
                    nr // self._pcptypes,
                    f", {decode_migratetype(self._prog, nr % self._pcptypes)}",
                )
            else:
                list_order, name = pageblock_order(self._prog), ""
            if list_order >= order:
                return head, list_order, f"order {list_order} on CPU {cpu}'s list{name}"
        return None

    def _list(self, pfn: int) -> tuple[int, int] | None:
        """
        Follow the list that a free page is on to its head, and if that is one of the
        lists of ``struct per_cpu_pages``, return the CPU and the number of the list.
        """
        layout = self._layout
        first = address = layout.page0 + pfn * layout.size
        if first in self._found:
            return self._found[first]
        fields = layout.page.fields
        assert fields is not None
        lru, refcount = fields["lru"][1], fields["refcount"][1]
        word = sizeof(self._prog.type("unsigned long"))
        last = layout.page0 + self._prog["max_pfn"].value_() * layout.size
        visited: set[int] = set()
        result = None
        try:
            if layout.int32(self._prog.read(first + refcount, 4), 0) == 0:
                # A page on no list links to itself.
                while address not in visited and len(visited) < _MAX_PCP_STEPS:
                    if address in self._found:
                        result = self._found[address]
                        break
                    if not layout.page0 <= address < last:
                        result = self._area(address + lru)
                        break
                    visited.add(address)
                    address = (
                        int.from_bytes(
                            self._prog.read(address + lru, word), layout.byteorder
                        )
                        - lru
                    )
        except FaultError:
            pass
        for address in visited or [first]:
            self._found[address] = result
        return result

    def _area(self, address: int) -> tuple[int, int] | None:
        prog = self._prog
        pcp_type = prog.type("struct per_cpu_pages")
        lists = offset_of(pcp_type, "lists")
        if self._areas is None:
            self._areas = []
            for zone in for_each_populated_zone(prog):
                pageset = zone.per_cpu_pageset.read_()
                for cpu in for_each_possible_cpu(prog):
                    area = per_cpu_ptr(pageset, cpu).value_()
                    self._areas.append((area + lists, area + sizeof(pcp_type), cpu))
        for start, end, cpu in self._areas:
            if start <= address < end:
                return cpu, (address - start) // sizeof(prog.type("struct list_head"))
        return None

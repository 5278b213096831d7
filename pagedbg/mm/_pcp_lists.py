# SPDX-License-Identifier: GPL-2.0-or-later
"""
Which free block a page is in that is on no list of the buddy allocator but on one of
those that each CPU keeps (``include/linux/mmzone.h``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
from pagedbg.mm.pageblock_flags import max_page_order, pageblock_order

__all__ = ("PcpLists",)

# mm/mmzone.h, PAGE_ALLOC_COSTLY_ORDER: up to it, orders have per-CPU lists of their
# own.
_COSTLY_ORDER = 3
# Since Linux kernel commit 90b41691b988 ("mm: add framework for PCP high auto-tuning")
# (in v6.7) a list may be as long as an eighth of a zone divided by its CPUs.
_MAX_PCP_STEPS = 1 << 20
# More lists than a CPU has in a zone, for a number that has both of them.
_MOST_LISTS = 1 << 16


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
        # The piece that was read last: its address, and two words of its pages.
        none = np.zeros(0, np.uint64)
        self._near: tuple[int, NDArray[Any], NDArray[Any]] = 0, none, none
        self._max_order = max_page_order(prog)
        self._max_pfn: int = prog["max_pfn"].value_()
        self._pageblock_order = pageblock_order(prog)
        try:
            self._pcptypes: int = prog["MIGRATE_PCPTYPES"].value_()
        except LookupError:
            self._pcptypes = 3

    def blocks(
        self, pages: NDArray[Any], low: int, rows: NDArray[np.int64]
    ) -> Iterator[tuple[int, int, int, int]]:
        """
        Find pages that are on no list of the buddy allocator on the per-CPU lists.

        :param pages: A piece of the memory map, from page frame *low* on.
        :param rows: Which of its elements to find.
        :return: Of each that is found its place in *rows*, the first page frame and the
            order of its block, and its list for :meth:`words`
        """
        if not len(rows):
            return
        first = self._layout.address(low)
        self._near = first, pages["refcount"], pages["lru"]
        orders = *range(min(_COSTLY_ORDER, self._max_order) + 1), self._pageblock_order
        heads = [(low + rows >> order << order) - low for order in orders]
        leads = self._leads(pages, low, heads)
        # Most pages that are in no use lead to no list, and no list is followed.
        maybe = np.zeros(len(rows), np.bool_)
        for of in heads:
            maybe |= (of < 0) | leads[of]
        for i in np.flatnonzero(maybe).tolist():
            found = self._block(low + int(rows[i]), orders)
            if found is not None:
                yield i, *found

    def words(self, key: int) -> str:
        """Say which list it is."""
        cpu, nr = divmod(key, _MOST_LISTS)
        order = self._order(nr)
        name = (
            f", {decode_migratetype(self._prog, nr % self._pcptypes)}"
            if nr < self._pcptypes * (_COSTLY_ORDER + 1)
            else ""
        )
        return f"order {order} on CPU {cpu}'s list{name}"

    def _order(self, nr: int) -> int:
        """The order of the blocks on a list."""
        return (
            nr // self._pcptypes
            if nr < self._pcptypes * (_COSTLY_ORDER + 1)
            else self._pageblock_order
        )

    def _block(self, pfn: int, orders: Sequence[int]) -> tuple[int, int, int] | None:
        for order in orders:
            head = pfn >> order << order
            found = self._list(head)
            if found is None:
                continue
            cpu, nr = found
            if self._order(nr) >= order:
                return head, self._order(nr), cpu * _MOST_LISTS + nr
        return None

    def _leads(
        self, pages: NDArray[Any], low: int, asked: Sequence[NDArray[np.int64]]
    ) -> NDArray[np.bool_]:
        """
        Say of pages whether each may be on a list: its first link leads to another page
        or to a list. (One that is on none often links to itself.)

        :param asked: which pages; of others it is not said
        """
        leads = np.zeros(len(pages), np.bool_)
        for rows in asked:
            leads[rows] = True
        at = np.flatnonzero(leads)
        layout = self._layout
        assert layout.page.fields is not None
        link = pages["lru"][at].astype(np.uint64)
        page = link - np.uint64(layout.page.fields["lru"][1])
        last = layout.address(self._max_pfn)
        own = at.view(np.uint64) * np.uint64(layout.size)
        own += np.uint64(layout.address(low))
        found: NDArray[np.bool_] = (
            (page >= layout.page0) & (page < last) & (page != own)
        )
        areas = np.array(
            [(0, 0), *sorted((start, end) for start, end, _ in self._all_areas())],
            np.uint64,
        )
        which = np.searchsorted(areas[:, 0], link, "right") - 1
        found |= link < areas[which, 1]
        leads[at] = found & (pages["refcount"][at] == 0)
        return leads

    def _list(self, pfn: int) -> tuple[int, int] | None:
        """
        Follow the list that a free page is on to its head, and if that is one of the
        lists of ``struct per_cpu_pages``, return the CPU and the number of the list.
        """
        layout = self._layout
        first = address = layout.address(pfn)
        if first in self._found:
            return self._found[first]
        fields = layout.page.fields
        assert fields is not None
        lru = fields["lru"][1]
        last = layout.address(self._max_pfn)
        visited: set[int] = set()
        result = None
        try:
            refcount, link = self._page(first)
            if refcount == 0:
                # A page on no list links to itself.
                while address not in visited and len(visited) < _MAX_PCP_STEPS:
                    if address in self._found:
                        result = self._found[address]
                        break
                    if not layout.page0 <= address < last:
                        result = self._area(address + lru)
                        break
                    visited.add(address)
                    if address != first:
                        _, link = self._page(address)
                    address = link - lru
        except FaultError:
            pass
        for address in visited or [first]:
            self._found[address] = result
        return result

    def _page(self, address: int) -> tuple[int, int]:
        """The reference count and the first link of one ``struct page``."""
        size, (first, refcount, link) = self._layout.size, self._near
        row, rest = divmod(address - first, size)
        if not rest and 0 <= row < len(link):
            return int(refcount[row]), int(link[row])
        page = np.frombuffer(self._prog.read(address, size), self._layout.page)[0]
        return int(page["refcount"]), int(page["lru"])

    def _area(self, address: int) -> tuple[int, int] | None:
        for start, end, cpu in self._all_areas():
            if start <= address < end:
                size = sizeof(self._prog.type("struct list_head"))
                return cpu, (address - start) // size
        return None

    def _all_areas(self) -> list[tuple[int, int, int]]:
        """Where the lists of each zone and CPU begin and end, and the CPU."""
        if self._areas is None:
            prog = self._prog
            pcp_type = prog.type("struct per_cpu_pages")
            lists = offset_of(pcp_type, "lists")
            self._areas = []
            try:
                for zone in for_each_populated_zone(prog):
                    pageset = zone.per_cpu_pageset.read_()
                    for cpu in for_each_possible_cpu(prog):
                        area = per_cpu_ptr(pageset, cpu).value_()
                        end = area + sizeof(pcp_type)
                        self._areas.append((area + lists, end, cpu))
            except FaultError:
                # The lists of the others are still lists.
                pass
        return self._areas

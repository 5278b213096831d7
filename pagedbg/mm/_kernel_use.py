# SPDX-License-Identifier: GPL-2.0-or-later
"""
What the kernel uses its own pages for, where the pages themselves do not tell: the
kernel's lists say it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from drgn import Program
from numpy.typing import NDArray

from pagedbg.mm._direct_map import direct_pfns
from pagedbg.mm.page_ext import for_each_page_ext_range, page_ext_size
from pagedbg.mm.percpu import for_each_pcpu_chunk
from pagedbg.mm.stackdepot import StackDepot
from pagedbg.mm.vmalloc import for_each_vmalloc_area
from pagedbg.target.links import UNREADABLE

__all__ = ("KERNEL_USES", "KernelUses")

KERNEL_USES = (
    "vmalloc",
    "kernel stack",
    "module",
    "pagedbg",
    "page_ext",
    "stack depot",
    "per-CPU",
)
"""Kinds that are found here, in :data:`pagedbg.mm.page_kinds.KINDS`."""


# What pages are used for, their frames, and where vmalloc() was called for them.
_Stretch = tuple[str, NDArray[Any], int]


class KernelUses:
    """
    Says what the kernel uses its pages for; made for one answer and then dropped. What
    of its lists cannot be read leaves pages out: :attr:`unread` says which lists.

    The page frames of vmalloc areas are held in memory: 17 bytes a page of theirs.

    :param prog: the kernel
    """

    def __init__(self, prog: Program) -> None:
        self._prog = prog
        self.unread: list[str] = []
        self._stacks: dict[int, NDArray[np.int64]] = {}
        pfns, codes, callers = [], [], []
        for name, found in (
            ("vmalloc areas", self._vmalloc()),
            ("page_ext", self._page_ext()),
            ("the stack depot's pools", self._depot()),
        ):
            try:
                for kind, part, caller in found:
                    pfns.append(part)
                    codes.append(np.full(len(part), KERNEL_USES.index(kind), np.uint8))
                    callers.append(np.full(len(part), caller, np.uint64))
            except UNREADABLE:
                self.unread.append(name)
        self._pfns = np.concatenate([np.zeros(0, np.int64), *pfns])
        self._codes = np.concatenate([np.zeros(0, np.uint8), *codes])
        self._callers = np.concatenate([np.zeros(0, np.uint64), *callers])
        order = np.argsort(self._pfns, kind="stable")
        self._pfns, self._codes = self._pfns[order], self._codes[order]
        self._callers = self._callers[order]
        self._chunks = np.zeros(0, np.uint64)
        try:
            self._chunks = np.array(
                [chunk.value_() for chunk in for_each_pcpu_chunk(prog)], np.uint64
            )
        except UNREADABLE:
            self.unread.append("per-CPU chunks")

    def find(
        self, first: int, count: int, words: Iterable[NDArray[Any]]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """
        Find what neighbouring pages are used for, if they are the kernel's.

        :param first: the first page frame number
        :param count: how many pages there are
        :param words: ``page->index`` and ``page->private`` of each
        :return: which of the pages that is known of, and its places in
            :data:`KERNEL_USES`; what is said later of a page counts
        """
        start, end = np.searchsorted(self._pfns, (first, first + count)).tolist()
        found = [self._pfns[start:end][::-1] - first]
        uses = [self._codes[start:end][::-1].astype(np.int64)]
        # pcpu_set_page_chunk() in mm/percpu-internal.h: in page->index, and in
        # page->private where there is no index any more.
        for word in words if len(self._chunks) else ():
            least, greatest = self._chunks.min(), self._chunks.max()
            maybe = np.flatnonzero(word - least <= greatest - least)
            if len(maybe):
                maybe = maybe[np.isin(word[maybe].astype(np.uint64), self._chunks)]
                found.append(maybe)
                uses.append(np.full(len(maybe), KERNEL_USES.index("per-CPU")))
        return np.concatenate(found), np.concatenate(uses)

    def callers(self, first: int, count: int) -> NDArray[np.uint64]:
        """
        Return where ``vmalloc()`` was called for each of neighbouring pages, 0 for
        those that are in no area.
        """
        start, end = np.searchsorted(self._pfns, (first, first + count)).tolist()
        found = np.zeros(count, np.uint64)
        found[self._pfns[start:end] - first] = self._callers[start:end]
        return found

    def stack_pfns(self, address: int) -> NDArray[np.int64] | None:
        """The page frames of a task's stack, None if vmalloc() has not made it."""
        return self._stacks.get(address)

    def _vmalloc(self) -> Iterator[_Stretch]:
        for area in for_each_vmalloc_area(self._prog):
            if area.kind == "kernel stack":
                self._stacks[area.address] = area.pfns
            yield area.kind, area.pfns, area.caller

    def _page_ext(self) -> Iterator[_Stretch]:
        try:
            # Nobody needs any: page_owner and the like are off.
            if not self._prog["page_ext_size"]:
                return
        except LookupError:
            # CONFIG_PAGE_EXTENSION=n
            return
        size = page_ext_size(self._prog)
        for part in for_each_page_ext_range(self._prog):
            length = size * (part.end_pfn - part.start_pfn)
            yield from self._direct("page_ext", part.address, length)

    def _depot(self) -> Iterator[_Stretch]:
        try:
            depot = StackDepot(self._prog)
        except LookupError:
            # CONFIG_STACKDEPOT=n
            return
        for address in depot.pools():
            yield from self._direct("stack depot", address, depot.pool_size)

    def _direct(self, kind: str, address: int, length: int) -> Iterator[_Stretch]:
        """The pages of a stretch, unless vmalloc() has made it."""
        yield kind, direct_pfns(self._prog, address, length), 0

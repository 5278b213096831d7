# SPDX-License-Identifier: GPL-2.0-or-later
"""
What the numbers in columns of pages stand for: kinds, slab caches, files, memory
cgroups. Beside it the one decoder that a command's pages come out of.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable

import numpy as np
from drgn import Program
from numpy.typing import NDArray

from pagedbg.mm.alloc_tag import AllocTags, mem_alloc_profiling_enabled
from pagedbg.mm.migrate import decode_migratetype
from pagedbg.mm.page_array import Detail, PageDecoder, Pages
from pagedbg.mm.page_holders import PageHolders
from pagedbg.mm.page_kinds import ABSENT
from pagedbg.mm.page_tags import PageTags
from pagedbg.mm.pageblock_flags import NO_MIGRATETYPE
from pagedbg.mm.reserved import REASONS, ReservedMemory
from pagedbg.sources.witnesses import WITNESSES
from pagedbg.target.links import UNREADABLE

__all__ = ("IN_SWAP", "ON_CPU_LISTS", "PageWords")

ON_CPU_LISTS, IN_SWAP = "per-CPU lists", "also in swap"
_PLAIN = ("", ON_CPU_LISTS, IN_SWAP)
_USES = (*_PLAIN, *REASONS)

_NO_MEMORY = REASONS.index("no memory")


class PageWords:
    """The words for the pages of a kernel, for one run of a command."""

    def __init__(self, prog: Program) -> None:
        self._prog = prog
        self.decoder = PageDecoder(prog, counts=False)

    @functools.cached_property
    def reserved(self) -> ReservedMemory:
        """Why memory is reserved."""
        return ReservedMemory(self._prog, self.decoder.names)

    @functools.cached_property
    def tags(self) -> AllocTags | None:
        """The kernel's allocation tags; None if it has none, or none that is read."""
        if not mem_alloc_profiling_enabled(self._prog):
            return None
        try:
            return AllocTags(self._prog)
        except UNREADABLE:
            return None

    @functools.cached_property
    def page_tags(self) -> PageTags | None:
        """Which of them each page has; None if that cannot be read."""
        try:
            return PageTags(self._prog, self.tags) if self.tags else None
        except UNREADABLE:
            return None

    @functools.cached_property
    def holders(self) -> PageHolders:
        """Whom the kernel's structures name."""
        return PageHolders(self._prog, lambda: self.decoder.kernel_uses)

    def word(self, column: str, number: int) -> str | None:
        """
        Return what a number stands for, None for nothing and for what is not known.

        :param column: one of :data:`pagedbg.analysis.keys.PAGE_COLUMNS`
        """
        names = self.decoder.names
        match column:
            case "kind":
                return self.decoder.kinds[number]
            case "use":
                return _USES[number] or None
            case "cache":
                return names.cache(number) if number else None
            case "file":
                return names.file_name(number) if number else None
            case "memcg":
                return names.memcg(number)
            case "holder":
                return self.holders.name(number)
            case "witness":
                return WITNESSES[number] or None
            case "site":
                return self.tags.site(number) if self.tags and number else None
            case "pageblock_type":
                if number == NO_MIGRATETYPE:
                    return None
                return decode_migratetype(self._prog, number)
        raise LookupError(column)

    def uses(
        self,
        kind: NDArray[np.uint8],
        detail: NDArray[np.uint8],
        flags: NDArray[np.uint64],
        pfns: NDArray[np.uint64],
    ) -> NDArray[np.uint8]:
        """
        Return what more there is to say of pages than their kind, as numbers.

        :param detail: :attr:`Pages.detail`
        :param flags: :attr:`Pages.flags`
        """
        uses = np.zeros(len(kind), np.uint8)
        for of, word in ((Detail.PCP, ON_CPU_LISTS), (Detail.PART_AND_SWAP, IN_SWAP)):
            uses[detail == of.value] = self.use_code(word)
        # The small page of zeroes is in the kernel's image, the huge one is allocated.
        at = np.flatnonzero(self.among(kind, ("reserved", "zero")))
        bit = np.uint64(self.decoder.layout.pg["reserved"])
        at = at[flags[at] & bit != 0]
        uses[at] = len(_PLAIN) + self.reserved.find(pfns[at].astype(np.int64))
        return uses

    def memory(self, pages: Pages) -> NDArray[np.bool_]:
        """
        Return which page frames are memory: not the holes, nor what has a struct page
        without being RAM.
        """
        found = ~self.among(pages.kind, ("hole", "beyond the end"))
        doubted = self.among(pages.kind, ("reserved", *ABSENT))
        at = np.flatnonzero(doubted & found)
        found[at] = self.reserved.find(pages.first + at) != _NO_MEMORY
        return found

    def among(self, kind: NDArray[np.uint8], names: Iterable[str]) -> NDArray[np.bool_]:
        """Which pages are of some kinds."""
        found = np.zeros(len(kind), np.bool_)
        # Some comparisons take less time than one look into a table.
        for name in names:
            found |= kind == self.code(name)
        return found

    def use_code(self, detail: str) -> int:
        """The number of a detail in ``use``."""
        return _USES.index(detail)

    def code(self, kind: str) -> int:
        """The number of a kind."""
        return self.decoder.kinds.index(kind)

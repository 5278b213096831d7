# SPDX-License-Identifier: GPL-2.0-or-later
"""
The words of ``struct page`` that most pages are told by, each kind of word one behind
the other in memory: so they are looked at several times faster.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pagedbg.mm._page_layout import PageLayout

__all__ = ("MAPPING_FLAGS", "NO_TYPE", "PP_MASK", "PP_SIGNATURE", "Words")

NO_TYPE = 0xFFFFFFFF
"""``_mapcount`` of a page that is not mapped, and has no type."""

MAPPING_FLAGS = 0x3
"""The two low bits of ``page->mapping``."""

# include/linux/poison.h: PP_SIGNATURE = 0x40 + POISON_POINTER_DELTA. Below and above
# bit 6, pp_magic has flags and an index of its own.
_POISON_POINTER_DELTA = 0xDEAD000000000000
PP_MASK = 0xFFFF00000000007C
PP_SIGNATURE = 0x40 + _POISON_POINTER_DELTA

# Flags that ask for more questions.
_TELLING = ("head", "slab", "reserved", "swapcache", "hwpoison")


class Words(NamedTuple):
    """Words of neighbouring pages; an element a page."""

    flags: NDArray[np.uint64]
    type: NDArray[np.uint32]
    """``_mapcount``, which is also the type."""
    refcount: NDArray[np.int32]
    compound: NDArray[Any]
    """In a page that is no tail, the word is also ``lru.next`` and ``pp_magic``."""
    mapping: NDArray[Any]

    @classmethod
    def of(cls, pages: NDArray[Any]) -> Words:
        """:param pages: records of :attr:`PageLayout.page`"""
        return cls(
            flags=pages["flags"].astype(np.uint64),
            type=np.ascontiguousarray(pages["type"]),
            refcount=np.ascontiguousarray(pages["refcount"]),
            compound=np.ascontiguousarray(pages["compound"]),
            mapping=np.ascontiguousarray(pages["mapping"]),
        )

    def behind(self, row: int) -> Words:
        """The words of the pages from a row on."""
        flags, type_, refcount, compound, mapping = self
        return Words(
            flags[row:], type_[row:], refcount[row:], compound[row:], mapping[row:]
        )

    @property
    def types(self) -> NDArray[np.int64]:
        """Which pages have a type, or a map count that looks like one."""
        # Few have: most are mapped, or have a map count of -1.
        typed = (self.type >= 0x80000000) & (self.type != NO_TYPE)
        found: NDArray[np.int64] = np.flatnonzero(typed)
        return found

    def singles(self, layout: PageLayout) -> NDArray[np.bool_]:
        """
        Which pages have references, and a mapping at most that says what they are: by
        the questions of :mod:`pagedbg.mm._page_use` they are of no compound page, and
        the kernel's own, of a file or anonymous; unless they are of a device, or the
        page of zeroes.
        """
        telling = 0
        for name in _TELLING:
            telling |= layout.pg[name]
        # No type: a map count, or -1.
        found: NDArray[np.bool_] = self.type + np.uint32(1) <= 0x80000000
        found &= self.refcount > 0
        found &= self.compound & 1 == 0
        found &= self.flags & np.uint64(telling) == 0
        return found

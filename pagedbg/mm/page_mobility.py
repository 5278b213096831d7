# SPDX-License-Identifier: GPL-2.0-or-later
"""
Mobility of pages
-----------------

What the allocator can do about pages that are in the way of a larger free block: those
of processes and of files compaction can move (``isolate_migratepages_block()`` in
``mm/compaction.c``), unless somebody holds them; those of some slab caches may be
reclaimed; everything else stays until its owner frees it.
"""

from __future__ import annotations

import enum

import numpy as np
from drgn import Object, Program
from numpy.typing import NDArray

from pagedbg.mm._page_references import LRU_KINDS
from pagedbg.mm.gfp import gfpflag_names
from pagedbg.mm.page_array import Detail, PageDecoder, Pages
from pagedbg.target.links import UNREADABLE

__all__ = ("FIXED", "Mobility", "PageMobility")


class Mobility(enum.IntEnum):
    """What can become of a page."""

    FREE = 0
    """In a free block of the buddy allocator."""
    PCP = enum.auto()
    """Free, but on a list that a CPU keeps."""
    MOVABLE = enum.auto()
    """Compaction can move it."""
    PINNED = enum.auto()
    """Compaction could move it, but for references that nothing accounts for."""
    RECLAIMABLE = enum.auto()
    """Of a slab cache that gives memory back under pressure (``__GFP_RECLAIMABLE``)."""
    UNMOVABLE = enum.auto()
    """It stays until it is freed."""
    UNKNOWN = enum.auto()
    """It cannot be read, or is on its way from one state to another."""
    ABSENT = enum.auto()
    """There is no such page, or it is offline."""


FIXED = (Mobility.PINNED, Mobility.RECLAIMABLE, Mobility.UNMOVABLE)
"""What compaction does not move."""

_BY_KIND = {
    "free": Mobility.FREE,
    **dict.fromkeys(LRU_KINDS, Mobility.MOVABLE),
    "movable": Mobility.MOVABLE,
    # Its pages are made known to compaction with operations to move them.
    "zsmalloc": Mobility.MOVABLE,
    **dict.fromkeys(
        ("unknown", "no references", "not initialised", "unaccepted"),
        Mobility.UNKNOWN,
    ),
    **dict.fromkeys(("not in the dump", "unreadable"), Mobility.UNKNOWN),
    **dict.fromkeys(("beyond the end", "hole", "offline section"), Mobility.ABSENT),
}


class PageMobility:
    """
    Says what can become of pages; made for one answer and then dropped.

    :param prog: the kernel
    """

    def __init__(self, prog: Program) -> None:
        self._prog = prog
        self.decoder = PageDecoder(prog, references=True)
        """Reads the pages that are asked about."""
        self._reclaimable: dict[int, Mobility] = {}

    def of(self, pages: Pages) -> NDArray[np.uint8]:
        """Return the :class:`Mobility` of each of some pages of the decoder."""
        by_code = bytes(
            _BY_KIND.get(kind, Mobility.UNMOVABLE) for kind in pages.kinds
        ).ljust(256, b"\0")
        # Bytes are looked up many times faster than elements of an array.
        found = np.frombuffer(bytearray(pages.kind).translate(by_code), np.uint8)
        np.putmask(found, pages.detail == Detail.PCP.value, np.uint8(Mobility.PCP))
        np.putmask(found, pages.extra > 0, np.uint8(Mobility.PINNED))
        slab = np.flatnonzero(pages.detail == Detail.CACHE.value)
        if len(slab):
            caches, which = np.unique(pages.key[slab], return_inverse=True)
            of_cache = [self._of_cache(address) for address in caches.tolist()]
            found[slab] = np.array(of_cache, np.uint8)[which]
        return found

    def _of_cache(self, address: int) -> Mobility:
        """What can become of the pages of a ``struct kmem_cache *``."""
        if address not in self._reclaimable:
            cache = Object(self._prog, "struct kmem_cache *", address)
            try:
                bit = next(
                    mask
                    for mask, name in gfpflag_names(self._prog)
                    if name == "__GFP_RECLAIMABLE"
                )
                gives_back = cache.allocflags.value_() & bit
                self._reclaimable[address] = (
                    Mobility.RECLAIMABLE if gives_back else Mobility.UNMOVABLE
                )
            except UNREADABLE:
                self._reclaimable[address] = Mobility.UNKNOWN
        return self._reclaimable[address]

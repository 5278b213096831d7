# SPDX-License-Identifier: GPL-2.0-or-later
"""
The state of a page
-------------------

Helpers for ``include/linux/mm_types.h``: what a page is used for. The order of the
questions is that of ``stable_page_flags()`` (``fs/proc/page.c``), and /proc/kpageflags
and /proc/kpagecount are what the answers are tested against.

``struct page`` is read in pieces of 2 MiB, never member by member; a drgn Object is
made only for what has a name: a slab cache, a file.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Iterator

import numpy as np
from drgn import IntegerLike, Object, Program, ProgramFlags
from drgn.helpers.common.prog import takes_program_or_default
from drgn.helpers.linux.mm import page_to_pfn

from pagedbg.mm._free_lists import PcpLists, find_free_blocks
from pagedbg.mm._memmap import segments
from pagedbg.mm._page_layout import PageWords, page_layout
from pagedbg.mm._page_use import Uses
from pagedbg.mm.bulk_read import read_array
from pagedbg.mm.fs import inode_name
from pagedbg.mm.page_flags import PageTypes, decode_page_flags, page_types
from pagedbg.mm.pageblock_flags import max_page_order

__all__ = (
    "ABSENT",
    "KINDS",
    "PageState",
    "PageTypes",
    "decode_page_flags",
    "inode_name",
    "page_refcount",
    "page_state",
    "page_states",
    "page_types",
    "pfn_state",
)

ABSENT = {
    "beyond the end": "it lies beyond the end of memory",
    "hole": "it lies in a hole: there is no memory there",
    "offline section": "its section of memory is offline",
    "not initialised": "its struct page was never initialised",
    "not in the dump": "its struct page is not in the dump",
    "unreadable": "its struct page cannot be read",
}
"""
The kinds of page frames of which nothing is known, with the end of a sentence that says
so.
"""

KINDS = {
    "free": "free",
    "slab": "slab objects",
    "large kmalloc": "a kmalloc() too large for the slab allocator",
    "anon": "anonymous memory of processes",
    "ksm": "anonymous memory merged by KSM",
    "swap cache": "a page on its way from or to swap",
    "file": "page cache of a file",
    "shmem": "shared memory or tmpfs",
    "block device": "page cache of a block device",
    "hugetlb": "a huge page of hugetlbfs",
    "page table": "a page table",
    "page pool": "a network receive buffer (page_pool)",
    "zsmalloc": "compressed memory (zsmalloc)",
    "movable": "a driver's movable page",
    "kernel": "memory of the kernel",
    "unknown": "not known",
    "zero": "the page of zeroes that reads of untouched memory share",
    "reserved": "reserved at boot",
    "offline": "logically offline: a balloon's or a hypervisor's",
    "guard": "a guard page (debug_pagealloc)",
    "unaccepted": "not yet accepted from the hypervisor",
    "hwpoison": "taken out of use after a memory error",
    "device": "memory of a device (ZONE_DEVICE)",
    "no references": (
        "on no free list and not referenced: isolated, frozen, being freed, or a tail"
        " of a block allocated without __GFP_COMP"
    ),
    **ABSENT,
}
"""What a page can be, with words for it."""

# 2 MiB of struct page, and a section of x86-64.
_PAGES_PER_PIECE = 1 << 15


@dataclasses.dataclass(frozen=True)
class PageState:
    """
    What one page frame is. Where there is no ``struct page`` (:data:`ABSENT`),
    everything but ``pfn`` and ``kind`` is None.
    """

    pfn: int
    kind: str
    """One of :data:`KINDS`."""
    detail: str | None = None
    """The slab cache, the file, the free block …"""
    page: int | None = None
    """Address of its ``struct page``."""
    flags: int | None = None
    """``page->flags``."""
    refcount: int | None = None
    mapcount: int | None = None
    """How many page table entries map it, as /proc/kpagecount has it."""
    head_pfn: int | None = None
    """
    The first page of the compound page or free block that it is in; itself if in none.
    """
    order: int | None = None
    """The order of that compound page or free block."""
    mapping: int | None = None
    """``folio->mapping``, with its low bits."""
    index: int | None = None
    """Where there is a mapping: the page's index in it."""
    memcg: str | None = None
    """The path of the memory cgroup that it is charged to."""

    @property
    def compound(self) -> bool:
        """Whether this is part of a compound page."""
        return bool(self.order) and self.kind != "free"


def page_refcount(page: Object) -> int:
    """
    Return the reference count of a page itself (a tail page has none, see its head).

    :param page: ``struct page *``
    """
    return int(page._refcount.counter.value_())


class _Reader:
    """
    Reads the memory map and says what its pages are; made for one answer and then
    dropped, since a live kernel changes.
    """

    def __init__(self, prog: Program) -> None:
        self._prog = prog
        self._layout = page_layout(prog)
        self._types = page_types(prog)
        self._max_order = max_page_order(prog)
        self._missing = (
            "unreadable" if prog.flags & ProgramFlags.IS_LIVE else "not in the dump"
        )
        self._uses = Uses(prog, self._layout, self._types, self._missing)
        self._pcp = PcpLists(prog, self._layout)

    def states(self, start: int, end: int) -> Iterator[PageState]:
        """Classify pages, piece by piece."""
        for a, b, kind in segments(self._prog, start, end):
            if kind and kind != "offline section":
                for pfn in range(a, b):
                    yield PageState(pfn, kind)
                continue
            for piece in range(a, b, _PAGES_PER_PIECE):
                yield from self._piece(
                    piece, min(piece + _PAGES_PER_PIECE, b), bool(kind)
                )

    def _piece(self, start: int, end: int, offline: bool) -> Iterator[PageState]:
        layout = self._layout
        # A free block is marked on its first page only: begin where the largest one
        # would. And one page more, for compound_head().
        low = start >> self._max_order << self._max_order
        pages, known = read_array(
            self._prog, layout.page0 + low * layout.size, end + 1 - low, layout.page
        )
        blocks = find_free_blocks(
            self._types, pages[:-1], known[:-1], low, self._max_order
        )
        skip = start - low
        words = [PageWords(*row) for row in pages.tolist()]
        # Everything but the words that stay zero in a page in use.
        blank = (
            (pages["flags"] == 0)
            & (pages["refcount"] == 0)
            & (pages["type"] == 0)
            & (pages["compound"] == 0)
            & (pages["mapping"] == 0)
        )
        poisoned = pages["flags"] == np.array(-1).astype(layout.page["flags"])
        for i in range(skip, end - low):
            pfn, page = low + i, words[i]
            address = layout.page0 + pfn * layout.size
            if not known[i]:
                yield PageState(
                    pfn, "offline section" if offline else self._missing, page=address
                )
                continue
            if blank[i] or poisoned[i]:
                kind = (
                    self._missing
                    if blank[i] and self._missing == "not in the dump"
                    else "not initialised"
                )
                yield PageState(
                    pfn, "offline section" if offline else kind, page=address
                )
                continue
            if offline and not self._uses.is_device(page.flags):
                yield PageState(pfn, "offline section", page=address)
                continue
            head = self._head_address(address, page, words[i + 1])
            alone = head == address and not page.flags & layout.pg["head"]
            use = (
                self._uses.of_page(pfn, page) if alone else self._uses.of_compound(head)
            )
            head_pfn = (head - layout.page0) // layout.size
            kind, detail, order = use.kind, use.detail, use.order
            block = blocks.get(i) if page.refcount == 0 else None
            if block is None and page.refcount == 0 and kind == "no references":
                block = self._pcp.block(pfn)
            if block is not None:
                head_pfn, order, detail = block
                kind = "free"
            if page.flags & layout.pg["hwpoison"]:
                kind, detail = (
                    "hwpoison",
                    (
                        None
                        if kind in ("hwpoison", "kernel", "no references")
                        else f"was {kind}"
                    ),
                )
            yield PageState(
                pfn,
                kind,
                detail,
                address,
                page.flags,
                page.refcount,
                self._uses.mapcount(page.type, use),
                head_pfn,
                order,
                use.mapping,
                use.pgoff + pfn - head_pfn if use.mapping else None,
                use.memcg,
            )

    def _head_address(self, address: int, page: PageWords, following: PageWords) -> int:
        """``compound_head()``"""
        if page.compound & 1:
            return (
                address & page.compound
                if self._layout.compound_has_mask
                else page.compound - 1
            )
        # Before 7.1 a huge page whose memory map was freed (HVO) has pages that look
        # like a head and are none.
        if (
            page.flags & self._layout.pg["head"]
            and following.compound & 1
            and not self._layout.compound_has_mask
        ):
            return following.compound - 1
        return address


@takes_program_or_default
def page_states(
    prog: Program, start_pfn: IntegerLike, end_pfn: IntegerLike
) -> Iterator[PageState]:
    """
    Say what every page frame of a range is, in order. The memory map is read in pieces
    of 2 MiB.

    :param start_pfn: the first page frame number
    :param end_pfn: the one after the last
    """
    return _Reader(prog).states(operator.index(start_pfn), operator.index(end_pfn))


@takes_program_or_default
def pfn_state(prog: Program, pfn: IntegerLike) -> PageState:
    """Say what a page frame is, whether it exists or not."""
    pfn = operator.index(pfn)
    return next(page_states(prog, pfn, pfn + 1))


def page_state(page: Object) -> PageState:
    """
    Say what a page is.

    >>> page_state(virt_to_page(find_task(1).mm))
    PageState(pfn=16945, kind='slab', detail='mm_struct', ...)

    :param page: ``struct page *``
    """
    return pfn_state(page.prog_, page_to_pfn(page).value_())

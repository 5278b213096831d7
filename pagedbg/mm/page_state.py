# SPDX-License-Identifier: GPL-2.0-or-later
"""
The state of a page
-------------------

Helpers for ``include/linux/mm_types.h``: what a page is used for, in words. What it is
says :mod:`pagedbg.mm.page_array`, for one page as for millions.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Iterator, Sequence

from drgn import IntegerLike, Object, Program
from drgn.helpers.common.prog import takes_program_or_default
from drgn.helpers.linux.mm import page_to_pfn

from pagedbg.mm._page_layout import PageLayout
from pagedbg.mm._page_names import format_size, zero_pfns
from pagedbg.mm.fs import inode_name
from pagedbg.mm.page_array import Detail, PageDecoder, Pages
from pagedbg.mm.page_flags import PageTypes, decode_page_flags, page_types
from pagedbg.mm.page_kinds import ABSENT, KINDS

__all__ = (
    "ABSENT",
    "KINDS",
    "PageDetails",
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

# Page frames that have no struct page.
_NO_PAGE = ("beyond the end", "hole")


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

    @property
    def second(self) -> bool:
        """Whether this is the first tail page of a compound page."""
        return (
            self.compound
            and self.head_pfn is not None
            and self.pfn == self.head_pfn + 1
        )


def page_refcount(page: Object) -> int:
    """
    Return the reference count of a page itself (a tail page has none, see its head).

    :param page: ``struct page *``
    """
    return int(page._refcount.counter.value_())


class PageDetails:
    """
    Finds words for what the decoder says in numbers; a name is looked up once for each
    pointer.
    """

    def __init__(self, prog: Program, decoder: PageDecoder) -> None:
        self._names = decoder.names
        self._pcp = decoder.pcp
        self._page_size: int = prog["PAGE_SIZE"].value_()
        self._zeroes = zero_pfns(prog)

    def detail(
        self, detail: int, key: int, order: int, kinds: Sequence[str]
    ) -> str | None:
        """
        Say what more there is to say of a page.

        :param detail: a :class:`Detail`
        """
        names = self._names
        size = format_size(self._page_size << order)
        part = [f"part of {size}"] if order else []
        match detail:
            case Detail.CACHE:
                return names.cache(key)
            case Detail.FILE:
                return names.file_name(key)
            case Detail.PART:
                return ", ".join(part) or None
            case Detail.PART_AND_SWAP:
                return ", ".join((*part, f"also in swap: {names.swap_slot(key)}"))
            case Detail.SWAP:
                return names.swap_slot(key)
            case Detail.HUGE_FILE:
                return f"{size}, {names.file_name(key) or 'in use'}"
            case Detail.HUGE_ANON:
                return f"{size}, anonymous"
            case Detail.HUGE_USED:
                return f"{size}, in use"
            case Detail.HUGE_FREE:
                return f"{size}, free in its pool"
            case Detail.ZERO:
                return self._zeroes[key]
            case Detail.RESERVED:
                return names.resource(key)
            case Detail.BUDDY:
                return f"order {order} of the buddy allocator"
            case Detail.PCP:
                return self._pcp.words(key)
            case Detail.WAS:
                return f"was {kinds[key]}"
            case Detail.NO_HEAD:
                return "its head page cannot be read"
        return None

    def memcg(self, data: int) -> str | None:
        """The path of the memory cgroup that ``memcg_data`` names."""
        return self._names.memcg(data)


def _states(
    pages: Pages, words: PageDetails, layout: PageLayout
) -> Iterator[PageState]:
    """Say in words what the decoder says in arrays."""
    columns = (
        pages.kind,
        pages.present,
        pages.detail,
        pages.key,
        pages.flags,
        pages.refcount,
        pages.mapcount,
        pages.head,
        pages.order,
        pages.mapping,
        pages.pgoff,
        pages.memcg_data,
    )
    rows = zip(*(column.tolist() for column in columns), strict=True)
    for pfn, row in enumerate(rows, pages.first):
        code, present, detail, key, flags, refcount, mapcount, head, order, *rest = row
        mapping, pgoff, memcg_data = rest
        kind = pages.kinds[code]
        page = layout.address(pfn)
        if not present:
            yield PageState(pfn, kind, page=None if kind in _NO_PAGE else page)
            continue
        yield PageState(
            pfn,
            kind,
            words.detail(detail, key, order, pages.kinds),
            page,
            flags,
            refcount,
            mapcount,
            head,
            order,
            mapping,
            pgoff + pfn - head if mapping else None,
            words.memcg(memcg_data),
        )


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
    decoder = PageDecoder(prog)
    words = PageDetails(prog, decoder)
    for pages in decoder.pieces(operator.index(start_pfn), operator.index(end_pfn)):
        yield from _states(pages, words, decoder.layout)


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

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
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
from drgn import Program, ProgramFlags
from numpy.typing import NDArray

from pagedbg.mm._buddy import FreeBlocks, find_free_blocks
from pagedbg.mm._folios import FolioFinder
from pagedbg.mm._kernel_use import KERNEL_USES, KernelUses
from pagedbg.mm._later_columns import LaterColumns
from pagedbg.mm._memmap import segments
from pagedbg.mm._page_layout import PageLayout, page_layout, read_pages
from pagedbg.mm._page_names import PageNames
from pagedbg.mm._page_references import extra_references
from pagedbg.mm._page_use import Detail, Uses
from pagedbg.mm._page_words import Words
from pagedbg.mm._pcp_lists import PcpLists
from pagedbg.mm._single_pages import SinglePages
from pagedbg.mm.mmzone import page_flags_nid, page_flags_zonenum
from pagedbg.mm.page_flags import page_types
from pagedbg.mm.page_kinds import KINDS
from pagedbg.mm.pageblock_flags import max_page_order
from pagedbg.progress import measured

__all__ = ("Detail", "PageDecoder", "Pages")

# 2 MiB of struct page, and a section of x86-64.
_PAGES_PER_PIECE = 1 << 15

# Where a page of per-CPU memory names its chunk, in this kernel or that.
_CHUNK_WORDS = ("pgoff", "private")


@dataclasses.dataclass
class Pages:
    """
    What neighbouring page frames are; every array has an element a page. Of a page that
    is not ``present`` nothing but its kind is known, and the other elements are 0.
    """

    COLUMNS: ClassVar = (
        *("kind", "present", "detail", "key", "flags", "refcount", "mapcount"),
        *("head", "order", "mapping", "pgoff", "memcg_data", "extra"),
    )
    """The names of the arrays; of some an array is made when it is asked for."""

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
    order: NDArray[np.uint8]
    """The order of the compound page or free block that it is in."""
    extra: NDArray[np.int32]
    """
    How many references its folio has that nothing accounts for
    (:func:`pagedbg.mm._page_references.extra_references`); 0 where nobody asked.
    """
    later: Callable[[str], NDArray[Any]]
    """What makes the other arrays."""

    @functools.cached_property
    def refcount(self) -> NDArray[np.int32]:
        """``page->_refcount``."""
        return self.later("refcount")

    @functools.cached_property
    def mapcount(self) -> NDArray[np.int64]:
        """How many page table entries map it, as /proc/kpagecount has it."""
        return self.later("mapcount")

    @functools.cached_property
    def head(self) -> NDArray[np.int64]:
        """
        The page frame number of the first page of the compound page or free block that
        it is in; itself if in none.
        """
        return self.later("head")

    @functools.cached_property
    def mapping(self) -> NDArray[np.uint64]:
        """``folio->mapping``, with its low bits."""
        return self.later("mapping")

    @functools.cached_property
    def pgoff(self) -> NDArray[np.uint64]:
        """Where there is a mapping: the index in it of the first page."""
        return self.later("pgoff")

    @functools.cached_property
    def memcg_data(self) -> NDArray[np.uint64]:
        """``folio->memcg_data``, with its low bits."""
        return self.later("memcg_data")

    def __len__(self) -> int:
        return len(self.kind)

    def between(self, start_pfn: int, end_pfn: int) -> Pages:
        """Return those of a range, of which some have to be here."""
        first = max(start_pfn, self.first)
        here = slice(first - self.first, end_pfn - self.first)
        if len(self.kind[here]) == len(self):
            return self
        arrays = {
            field.name: getattr(self, field.name)[here]
            for field in dataclasses.fields(self)[2:-1]
        }
        return Pages(
            first, self.kinds, later=lambda name: getattr(self, name)[here], **arrays
        )

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
    :param references: whether to say of pages how many references nothing accounts for
    :param counts: whether to say how often pages are mapped; else ``mapcount`` is 0
    """

    def __init__(
        self, prog: Program, references: bool = False, counts: bool = True
    ) -> None:
        self._prog = prog
        self._references = references
        self._counts = counts or references
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
        self._singles = SinglePages(
            self._layout, self._uses, self._code, self._counts, references
        )
        self._folios = FolioFinder(prog, self._layout)
        self._word_size = self._layout.page["flags"].itemsize

    @property
    def kinds(self) -> Sequence[str]:
        """What the codes of kinds mean; more may be met, and come behind."""
        return self._kinds

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
        parts = list(segments(self._prog, start_pfn, end_pfn))
        total = sum(b - a for a, b, _ in parts)
        with measured("looking at pages", total, "pages") as advance:
            for a, b, kind in parts:
                for start in range(a, b, _PAGES_PER_PIECE):
                    end = min(start + _PAGES_PER_PIECE, b)
                    if kind in ("", "offline section"):
                        yield self._piece(start, end, bool(kind))
                    else:
                        yield self._blank(
                            np.full(end - start, self._code(kind), np.uint8),
                            start,
                            LaterColumns(start, end - start),
                        )
                    advance(end - start)

    def _code(self, kind: str) -> int:
        return self._kinds.index(kind)

    def _blank(self, kind: NDArray[np.uint8], first: int, later: LaterColumns) -> Pages:
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
            order=zeros(np.uint8),
            extra=zeros(np.int32),
            later=later.column,
        )

    def _piece(self, start: int, end: int, offline: bool) -> Pages:
        # A free block is marked on its first page only: begin where the largest one
        # would. And one page more, for compound_head().
        low = start >> self._max_order << self._max_order
        skip = start - low
        pages, known = read_pages(self._prog, low, end + 1 - low)
        words = Words.of(pages[:-1])
        later = LaterColumns(start, end - start)
        result = self._absent(start, words.behind(skip), known[skip:-1], later)
        if offline:
            device = self._uses.is_device(result.flags)
            result.present &= device
            result.kind[~result.present] = self._code("offline section")
        if result.present.any():
            # Of most pages few words tell all, and the many questions are not asked.
            told = self._singles.tell(result, words.behind(skip), pages[skip:-1], later)
            blocks = find_free_blocks(
                self._types, words, pages["private"][:-1], known[:-1], self._max_order
            )
            self._free(result, words, blocks, low, told, later)
            rest = np.flatnonzero(result.present & ~told)
            self._others(result, rest, low, pages, known, later)
            self._name_uses(result, pages[skip:-1])
            self._poisoned(result)
        if not result.present.all():
            result.flags[~result.present] = 0
        return result

    def _free(
        self,
        result: Pages,
        words: Words,
        blocks: FreeBlocks,
        low: int,
        told: NDArray[np.bool_],
        later: LaterColumns,
    ) -> None:
        """Put which pages the buddy allocator has free, and that they are told of."""
        rows, first, order = blocks.pages(result.first - low, len(words.flags))
        at = rows - (result.first - low)
        poison = np.uint64(self._layout.pg["hwpoison"])
        free = result.present[at] & (words.refcount[rows] == 0)
        free &= words.flags[rows] & poison == 0
        if not free.all():
            at, first, order = at[free], first[free], order[free]
        result.kind[at] = self._code("free")
        result.detail[at] = Detail.BUDDY
        result.order[at] = order
        later.put(at, {"head": low + first})
        told[at] = True

    def _others(
        self,
        result: Pages,
        at: NDArray[np.int64],
        low: int,
        pages: NDArray[Any],
        known: NDArray[np.bool_],
        later: LaterColumns,
    ) -> None:
        """Put what some pages are, of which all questions have to be asked."""
        if not len(at):
            return
        rows = at + (result.first - low)
        folios = self._folios.find(pages, known, low, rows)
        use = self._uses.of(folios)
        kind, detail, key, order, head = *use[:4], folios.head
        refcount = pages["refcount"][rows]
        maybe = np.flatnonzero((refcount == 0) & (kind == self._code("no references")))
        for i, pfn, list_order, which in self.pcp.blocks(pages, low, rows[maybe]):
            of = maybe[i]
            head[of], order[of], key[of] = pfn, list_order, which
            detail[of] = Detail.PCP
            kind[of] = self._code("free")
        result.kind[at], result.detail[at] = kind, detail
        result.key[at], result.order[at] = key, order
        columns: dict[str, Any] = {
            "refcount": refcount,
            "head": head,
            "mapping": use.mapping,
            "pgoff": use.pgoff,
            "memcg_data": use.memcg_data,
        }
        if self._counts:
            mapcount = self._uses.mapcount(pages["type"][rows], folios)
            columns["mapcount"] = mapcount
            if self._references:
                result.extra[at] = extra_references(
                    self._layout, folios, self._kinds, kind, order, mapcount
                )
        later.put(at, columns)

    @functools.cached_property
    def kernel_uses(self) -> KernelUses:
        """What the kernel's lists say of its pages."""
        return KernelUses(self._prog)

    def _name_uses(self, result: Pages, pages: NDArray[Any]) -> None:
        """
        Put what the kernel uses its pages for. The tails of a block that was allocated
        without __GFP_COMP have no references.
        """
        kind = result.kind
        kernel = kind == self._code("kernel")
        kernel |= kind == self._code("no references")
        if not kernel.any():
            return
        words = (pages[name] for name in _CHUNK_WORDS)
        at, uses = self.kernel_uses.find(result.first, len(result), words)
        those = kernel[at]
        codes = np.array([self._code(name) for name in KERNEL_USES], np.uint8)
        kind[at[those]] = codes[uses[those]]

    def _poisoned(self, result: Pages) -> None:
        """Put which pages were taken out of use after a memory error."""
        bit = self._layout.pg["hwpoison"]
        if not int(np.bitwise_or.reduce(result.flags)) & bit:
            return
        at = np.flatnonzero(result.present & (result.flags & bit != 0))
        if not len(at):
            return
        kind = result.kind[at]
        nothing = [self._code(k) for k in ("hwpoison", "kernel", "no references")]
        was = ~np.isin(kind, nothing)
        result.detail[at] = np.where(was, Detail.WAS, Detail.NONE)
        result.key[at] = np.where(was, kind, 0)
        result.kind[at] = self._code("hwpoison")
        result.extra[at] = 0

    def _absent(
        self, first: int, words: Words, known: NDArray[np.bool_], later: LaterColumns
    ) -> Pages:
        """Pages of which it is known whether they are present, and their flags."""
        # Everything but the words that stay zero in a page in use.
        blank = np.flatnonzero(words.flags == 0)
        for column in words[1:]:
            blank = blank[column[blank] == 0]
        poisoned = words.flags == np.uint64((1 << 8 * self._word_size) - 1)
        kind = np.full(len(known), self._code("not initialised"), np.uint8)
        if self._missing == "not in the dump":
            kind[blank] = self._code(self._missing)
        kind[~known] = self._code(self._missing)
        result = self._blank(kind, first, later)
        result.present = known & ~poisoned
        result.present[blank] = False
        result.flags = words.flags
        return result

# SPDX-License-Identifier: GPL-2.0-or-later
"""
Pages as rows of numbers, some ten thousand at a time: what they are, and beside it what
page_owner has on record of them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator
from typing import Any, NamedTuple

import numpy as np
from drgn import Program
from numpy.typing import NDArray

from pagedbg.analysis.keys import PAGE_COLUMNS
from pagedbg.mm.page_array import Detail, Pages
from pagedbg.mm.page_ext import PageExtRanges
from pagedbg.mm.page_owner import page_owner_inited, special_handles
from pagedbg.mm.page_owner_bulk import (
    in_state,
    page_owner_dtype,
    page_owner_states,
    page_owners_of_pfns,
    read_page_owners,
)
from pagedbg.mm.page_tags import TaggedPages, untagged
from pagedbg.mm.pageblock_flags import migratetype_of_pfns, pageblock_order
from pagedbg.schema.blocks import Blocks
from pagedbg.schema.owner_record import ALLOCATED
from pagedbg.sources.page_words import PageWords
from pagedbg.sources.witnesses import (
    NOBODY,
    NOT_HELD,
    PAGE_OWNER,
    TAG,
    of_holders,
    of_kinds,
)

__all__ = ("BlocksAsPages", "PageBatch", "PageSource")

# Pages that are decoded at once.
_PIECE = 1 << 15


class PageBatch:
    """
    Neighbouring pages as a :class:`pagedbg.schema.batch.Batch`. A column is made when
    it is asked for. Of a page that is not allocated, or that page_owner does not know,
    the members of its record are 0, and ``recorded`` is False.
    """

    def __init__(
        self, source: PageSource, pages: Pages, chosen: NDArray[np.int64] | None
    ) -> None:
        """:param chosen: which of the pages, None for all"""
        self._source = source
        self._pages = pages
        self._chosen = chosen
        self._columns: dict[str, NDArray[Any]] = {}

    def __len__(self) -> int:
        return len(self._pages if self._chosen is None else self._chosen)

    @property
    def members(self) -> Collection[str]:
        """The names that :meth:`column` knows."""
        return (*PAGE_COLUMNS, "recorded", *self._source.members)

    def take(self, mask: NDArray[np.bool_]) -> PageBatch:
        """The pages of a mask."""
        if mask.all():
            return self
        which = np.flatnonzero(mask)
        chosen = which if self._chosen is None else self._chosen[which]
        taken = PageBatch(self._source, self._pages, chosen)
        taken._columns = {name: column[which] for name, column in self._columns.items()}
        return taken

    def column(self, member: str) -> NDArray[Any]:
        """Return a member of each page."""
        if member not in self._columns:
            self._columns[member] = self._column(member)
        return self._columns[member]

    def _of(self, column: NDArray[Any]) -> NDArray[Any]:
        """The elements of the chosen pages out of those of all."""
        return column if self._chosen is None else column[self._chosen]

    def _column(self, member: str) -> Any:
        pages = self._pages
        match member:
            case "pfn":
                end = pages.first + len(pages)
                return self._of(np.arange(pages.first, end, dtype=np.uint64))
            case "kind":
                return self._kind()
            case "use":
                return self._source.words.uses(
                    self.column("kind"),
                    self._of(pages.detail),
                    self._of(pages.flags),
                    self.column("pfn"),
                )
            case "cache":
                cached = self._of(pages.detail) == Detail.CACHE.value
                return np.where(cached, self._of(pages.key), np.uint64(0))
            case "file":
                detail = self._of(pages.detail)
                of_file = detail == Detail.FILE.value
                of_file |= detail == Detail.HUGE_FILE.value
                return np.where(of_file, self._of(pages.key), np.uint64(0))
            case "memcg":
                return self._of(pages.memcg_data)
            case "pageblock" | "pageblock_type":
                return self._source.of_pageblock(member, self.column("pfn"))
            case "order":
                order = self._of(pages.order).astype(np.uint16)
                if self._source.tracked:
                    own = self.column("recorded")
                    order[own] = self._record("order")[own]
                return order
            case "site":
                return self._of(self._source.sites(pages).tags)
            case "holder":
                return self._of(self._source.words.holders.find(pages))
            case "witness":
                return self._witness()
            case "vmalloc":
                uses = self._source.words.decoder.kernel_uses
                return self._of(uses.callers(pages.first, len(pages)))
            case "head":
                return self._of(self._source.sites(pages).heads)
            case "handle" if self._source.tagged:
                assert self._source.words.tags is not None
                return self._source.words.tags.numbers(self.column("site"))
            case "recorded":
                if not self._source.tracked:
                    return np.zeros(len(self), np.bool_)
                # A page that the buddy allocator has is free, whatever its record says.
                free = self._of(pages.kind) == self._source.words.code("free")
                return self._of(self._source.records(pages).allocated) & ~free
        if not self._source.tracked:
            return np.zeros((len(self), 2) if member == "comm" else len(self), np.int64)
        if member not in self._source.members:
            raise LookupError(f"this kernel's page_owner does not write down {member}")
        column, known = self._record(member), self.column("recorded")
        if known.all():
            return column
        column = column.copy()
        column[~known] = 0
        return column

    def _witness(self) -> NDArray[np.uint8]:
        of_kind = of_kinds(self._source.words.decoder.kinds)
        kind = self.column("kind")
        witness: NDArray[np.uint8] = of_kind[kind]
        holder = self.column("holder")
        held = holder != 0
        if held.any():
            of_holder = of_holders(self._source.words.holders.structures)
            witness[held] = of_holder[holder[held]]
        if self._source.words.page_tags is not None:
            witness[self.column("site") != 0] = TAG
        recorded = self.column("recorded")
        if recorded.any():
            # One of page_owner's own stacks is no answer.
            own = np.array(list(special_handles(self._source.prog)), np.uint32)
            recorded = recorded & ~np.isin(self.column("handle"), own)
        witness[recorded] = PAGE_OWNER
        return witness

    def unnamed(self) -> NDArray[np.bool_]:
        """
        Which pages are handed out and named by nobody. Those that do not tell
        themselves are asked after alone: to read all records takes long.
        """
        words = self._source.words
        kind = self.column("kind")
        doubted: NDArray[np.bool_] = of_kinds(words.decoder.kinds)[kind] == NOBODY
        doubted &= ~words.among(kind, NOT_HELD)
        if doubted.any():
            doubted[doubted] = self.take(doubted).column("witness") == NOBODY
        return doubted

    def _record(self, member: str) -> NDArray[Any]:
        column: NDArray[Any] = self._source.records(self._pages).table[member]
        return self._of(column)

    def _kind(self) -> NDArray[np.uint8]:
        """
        With what page_owner knows and the page does not: the tail of a block that was
        allocated without __GFP_COMP looks like a free page.
        """
        kind = self._of(self._pages.kind)
        source = self._source
        if source.tagged:
            tail = kind == source.words.code("no references")
            tail[tail] = self._of(source.sites(self._pages).tags)[tail] != 0
            return np.where(tail, np.uint8(source.words.code("kernel")), kind)
        if not source.tracked:
            return kind
        doubted = np.flatnonzero(kind == source.words.code("no references"))
        if len(doubted):
            records = source.records(self._pages)
            at = doubted if self._chosen is None else self._chosen[doubted]
            order = np.minimum(records.table["order"][at], 63).astype(np.uint64)
            pfns = (self._pages.first + at).astype(np.uint64)
            tail = pfns & ((np.uint64(1) << order) - np.uint64(1)) != 0
            kind = kind.copy()
            kind[doubted[records.allocated[at] & tail]] = source.words.code("kernel")
        return kind


class _Records(NamedTuple):
    """page_owner's records of the pages of a piece."""

    first: int
    table: NDArray[Any]
    allocated: NDArray[np.bool_]


class PageSource:
    """
    The pages of a kernel. How many records could not be read is in :attr:`unread`.

    :param words: for the pages' numbers; they have the decoder
    """

    def __init__(self, prog: Program, words: PageWords) -> None:
        self.prog = prog
        self.words = words
        self.unread = 0
        self.tracked = page_owner_inited(prog)
        self.members: tuple[str, ...] = ()
        if self.tracked:
            self.members = tuple(page_owner_dtype(prog).names or ())
        self._records: _Records | None = None
        self._ranges: PageExtRanges | None = None
        self._sites: tuple[Pages, TaggedPages] | None = None

    @functools.cached_property
    def tagged(self) -> bool:
        """Whether allocation tags say who holds pages: where page_owner is off."""
        return not self.tracked and self.words.page_tags is not None

    def sites(self, pages: Pages) -> TaggedPages:
        """The tags of pages, none where the kernel has no tags; the last are kept."""
        if self._sites is None or self._sites[0] is not pages:
            tags = self.words.page_tags
            self._sites = pages, tags.of_pages(pages) if tags else untagged(pages)
        return self._sites[1]

    def records(self, pages: Pages) -> _Records:
        """
        Read the records of pages. Those of the last ones are kept: several columns are
        made of them.
        """
        found = self._records
        first, count = pages.first, len(pages)
        if found is None or found.first != first or len(found.table) != count:
            if self._ranges is None:
                self._ranges = PageExtRanges(self.prog)
            end = first + count
            parts = list(read_page_owners(self.prog, first, end, self._ranges))
            if len(parts) == 1 and len(parts[0][1]) == count:
                _, table, known = parts[0]
            else:
                table = np.zeros(count, page_owner_dtype(self.prog))
                known = np.ones(count, np.bool_)
                for start, records, read in parts:
                    at = slice(start - first, start - first + len(records))
                    table[at], known[at] = records, read
            self.unread += int(count - np.count_nonzero(known))
            allocated = in_state(self.prog, table, ALLOCATED) & known
            found = self._records = _Records(first, table, allocated)
        return found

    def of_pageblock(self, member: str, pfns: NDArray[Any]) -> NDArray[Any]:
        """The first page frame of the pageblocks of pages, or their migratetypes."""
        if member == "pageblock_type":
            return migratetype_of_pfns(self.prog, pfns)
        order = np.uint64(pageblock_order(self.prog))
        return pfns >> order << order

    def batches(self, start: int, end: int) -> Iterator[PageBatch]:
        """
        Iterate over what is memory among page frames, in order.

        :param start: the first page frame number
        :param end: the one after the last
        """
        for pages in self.words.decoder.pieces(start, end):
            memory = self.words.memory(pages)
            if memory.all():
                yield PageBatch(self, pages, None)
            elif memory.any():
                yield PageBatch(self, pages, np.flatnonzero(memory))

    def of_pfns(self, pfns: NDArray[Any]) -> Callable[[str], NDArray[Any]]:
        """
        Decode some pages, those that lie near each other together.

        :param pfns: page frame numbers, in any order
        :return: what gives a column of them, an element for each
        """
        distinct, which = pfns.astype(np.int64), None
        # Blocks come in order, and to sort takes as long as to decode.
        if not (distinct[1:] > distinct[:-1]).all():
            distinct, which = np.unique(distinct, return_inverse=True)
        edges = np.flatnonzero(np.diff(distinct // _PIECE)) + 1
        batches = []
        for run in np.split(distinct, edges):
            if not len(run):
                continue
            for pages in self.words.decoder.pieces(int(run[0]), int(run[-1]) + 1):
                at = run[(run >= pages.first) & (run < pages.first + len(pages))]
                batches.append(PageBatch(self, pages, at - pages.first))

        def column(member: str) -> NDArray[Any]:
            parts = [batch.column(member) for batch in batches]
            if not parts:
                return np.zeros(0, np.uint64)
            found = np.concatenate(parts)
            return found if which is None else found[which]

        return column


class BlocksAsPages:
    """
    Blocks on record with the columns of a page of each, as a
    :class:`pagedbg.schema.batch.Batch`: the first of its pages that is left.
    """

    def __init__(self, blocks: Blocks, source: Callable[[], PageSource]) -> None:
        """:param source: called when such a column is asked for"""
        self._blocks = blocks
        self._source = source
        self._page: Callable[[str], NDArray[Any]] | None = None

    def __len__(self) -> int:
        return len(self._blocks)

    @property
    def members(self) -> Collection[str]:
        """The names that :meth:`column` knows."""
        return (*self._blocks.members, *PAGE_COLUMNS)

    def column(self, member: str) -> NDArray[Any]:
        """Return a member of each block."""
        if member in self._blocks.members or member not in PAGE_COLUMNS:
            return self._blocks.column(member)
        if member.startswith("pageblock"):
            return self._source().of_pageblock(member, self._blocks.pfn)
        if self._page is None:
            source = self._source()
            self._page = source.of_pfns(_first_pages(source, self._blocks))
        return self._page(member)


def _first_pages(source: PageSource, blocks: Blocks) -> NDArray[np.uint64]:
    """The first page of each block that still has the block's record."""
    first = blocks.pfn.copy()
    whole = np.int64(1) << blocks.order.astype(np.int64)
    if not source.tracked:
        return first
    rows = np.flatnonzero(blocks.pages < whole)
    of_blocks = blocks.take(rows).records
    states = page_owner_states(source.prog, of_blocks)
    for row, of_block, state in zip(rows.tolist(), of_blocks, states, strict=True):
        start = int(blocks.pfn[row])
        pfns = np.arange(start, start + int(whole[row]), dtype=np.uint64)
        records = page_owners_of_pfns(source.prog, pfns)
        same = records["state"] == state
        for member in ("handle", "order"):
            same &= records[member] == of_block[member]
        if same.any():
            first[row] = pfns[int(np.argmax(same))]
    return first

# SPDX-License-Identifier: GPL-2.0-or-later
"""
What the pages of pageblocks are, and who holds them, out of a kernel: a piece of the
memory map at a time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from drgn import Program
from numpy.typing import NDArray

from pagedbg.analysis.pageblock_holders import NO_RECORD, ON_RECORD, UNKNOWN
from pagedbg.mm.mmzone import ZoneSpan, zone_spans
from pagedbg.mm.page_array import PageDecoder, Pages
from pagedbg.mm.page_ext import PageExtRanges
from pagedbg.mm.page_mobility import FIXED, Mobility, PageMobility
from pagedbg.mm.page_owner_bulk import in_state, page_owner_dtype, read_page_owners
from pagedbg.mm.pageblock_flags import (
    NO_MIGRATETYPE,
    max_page_order,
    pageblock_migratetypes,
    pageblock_order,
)
from pagedbg.schema.owner_record import ALLOCATED

__all__ = (
    "PageblockPart",
    "PageblockTypes",
    "overlapped",
    "pageblock_parts",
    "zone_pages",
)

_Tags = Callable[[Pages], NDArray[np.uint32]]
_Sites = Callable[[Pages], NDArray[np.uint64]]

_NOT_HELD = (Mobility.FREE, Mobility.PCP, Mobility.ABSENT)
_SPOILT = (Mobility.UNKNOWN, Mobility.ABSENT)


class PageblockTypes:
    """The migratetypes of a zone's pageblocks, which are read once."""

    def __init__(self, prog: Program, span: ZoneSpan) -> None:
        self._order = pageblock_order(prog)
        self._first = span.start_pfn >> self._order
        # A zone that is damaged may span more.
        end = min(span.end_pfn, prog["max_pfn"].value_())
        self._types = pageblock_migratetypes(prog, span.start_pfn, end)

    def of_blocks(
        self, order: int, start: int, end: int
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """
        Return the least and the greatest migratetype of the pageblocks that each block
        of some pages is or is in, or that are in it; :data:`NO_MIGRATETYPE` where none
        is known.
        """
        own, first = self._order, start >> self._order
        count = ((end - 1) >> own) + 1 - first
        known = self._types[first - self._first :][:count]
        types = np.full(count, NO_MIGRATETYPE, np.uint8)
        types[: len(known)] = known
        blocks = np.arange(start >> order, ((end - 1) >> order) + 1)
        if order <= own:
            found = types[(blocks >> (own - order)) - first]
            return found, found
        begin = np.maximum((blocks << (order - own)) - first, 0)
        greatest = np.where(types == NO_MIGRATETYPE, 0, types)
        least = np.minimum.reduceat(types, begin)
        return least, np.where(
            least == NO_MIGRATETYPE, least, np.maximum.reduceat(greatest, begin)
        )


@dataclasses.dataclass(frozen=True)
class PageblockPart:
    """
    Neighbouring pageblocks, or blocks of another size, of one zone; the first and the
    last may be here in part.
    """

    span: int
    """Which of the zones."""
    order: int
    """That of the blocks."""
    pfns: tuple[int, int]
    """The first page frame that is here, and the one after the last."""
    start_pfn: NDArray[np.int64]
    """Where each block begins, or where the zone does."""
    counts: NDArray[np.int64]
    """For each block, how many of its pages are of each :class:`Mobility`."""
    held: dict[str, NDArray[Any]]
    """
    What :meth:`pagedbg.analysis.pageblock_holders.PageblockHolders.add` takes; empty
    where nobody asked.
    """
    unread: int = 0
    """Of how many pages in use the record could not be read: they are not on record."""

    def columns(
        self, types: PageblockTypes, names: Sequence[str]
    ) -> dict[str, NDArray[Any]]:
        """
        Return what :class:`pagedbg.analysis.pageblock_sums.PageblockSums` takes.

        :param types: those of the zone
        :param names: what the counts are called there
        """
        least, greatest = types.of_blocks(self.order, *self.pfns)
        return {
            "span": np.full(len(self.start_pfn), self.span),
            "block": self.start_pfn,
            **{name: self.counts[:, i] for i, name in enumerate(names)},
            "least_type": least,
            "greatest_type": greatest,
        }


def pageblock_parts(
    prog: Program,
    spans: Sequence[ZoneSpan],
    *orders: int,
    start_pfn: int = 0,
    end_pfn: int | None = None,
    numbers: Sequence[str] | None = None,
    as_free: str | None = None,
    tags: _Tags | None = None,
    sites: _Sites | None = None,
) -> Iterator[PageblockPart]:
    """
    Read the blocks of some orders in some zones.

    :param spans: as :func:`pagedbg.mm.mmzone.zone_spans` has them
    :param orders: of the blocks; :func:`pagedbg.mm.pageblock_flags.pageblock_order` for
        pageblocks. Of several, each has the same pages, one after another
    :param start_pfn: only blocks that end behind this page
    :param end_pfn: and begin before this one
    :param numbers: the members of page_owner's records that tell owners apart, as
        :func:`pagedbg.analysis.pageblock_holders.numbers_of` says; None if nobody asks
        for owners
    :param as_free: a kind of pages that count as free
    :param tags: what returns the handle of each page where these are allocation tags
    :param sites: what returns the tag of each page, asked if ``site`` is in ``numbers``
    """
    mobility, zones = PageMobility(prog), zone_spans(prog)
    ranges = None if numbers is None or tags is not None else PageExtRanges(prog)
    size = 1 << max(orders)
    start, end = start_pfn & -size, None
    if end_pfn is not None:
        end = -(-end_pfn // size) * size
    for number, span, pages in zone_pages(prog, mobility.decoder, spans, start, end):
        found = mobility.of(pages)
        if overlapped(zones, span):
            other = pages.zone(prog) != span.zone
            other |= pages.node(prog) != span.nid
            found[other] = Mobility.ABSENT
        if as_free is not None:
            kinds = mobility.decoder.kinds
            found[pages.kind == kinds.index(as_free)] = Mobility.FREE
        owners = None
        if ranges is not None:
            owners = _Owners.recorded(prog, pages, numbers or (), ranges)
        elif numbers is not None and tags is not None:
            owners = _Owners.tagged(pages, numbers, tags(pages))
        if owners is not None and sites is not None and "site" in owners.columns:
            owners.columns["site"] = sites(pages)
        for order in orders:
            yield _part(number, span, order, pages, found, owners)


def zone_pages(
    prog: Program,
    decoder: PageDecoder,
    spans: Sequence[ZoneSpan],
    start_pfn: int = 0,
    end_pfn: int | None = None,
) -> Iterator[tuple[int, ZoneSpan, Pages]]:
    """
    Read the pages of some zones, a piece at a time.

    :param start_pfn: the first page frame number that is wanted
    :param end_pfn: the one after the last
    :return: which of the zones, the zone, and pages that it spans
    """
    # A compound page is read as a whole.
    largest = 1 << max_page_order(prog)
    for number, span in enumerate(spans):
        start = max(span.start_pfn, start_pfn)
        end = span.end_pfn if end_pfn is None else min(span.end_pfn, end_pfn)
        if start < end:
            low = max(span.start_pfn, start & -largest)
            high = min(span.end_pfn, -(-end // largest) * largest)
            for pages in decoder.pieces(low, high):
                if pages.first < end and start < pages.first + len(pages):
                    yield number, span, pages.between(start, end)


def overlapped(zones: Sequence[ZoneSpan], span: ZoneSpan) -> bool:
    """Whether other zones span some of its pages: nodes may be interleaved."""
    return any(
        other.start_pfn < span.end_pfn and span.start_pfn < other.end_pfn
        for other in zones
        if (other.nid, other.zone) != (span.nid, span.zone)
    )


class _Owners:
    """The records of some pages: which are on record, and the numbers of their keys."""

    def __init__(self, count: int, numbers: Sequence[str]) -> None:
        self.allocated = np.zeros(count, np.bool_)
        self.unread = np.zeros(count, np.bool_)
        self.columns: dict[str, NDArray[Any]] = {}
        for name in numbers:
            of_words = name.startswith("comm_") or name == "site"
            kind = np.uint64 if of_words else np.uint32
            self.columns[name] = np.zeros(count, kind)

    @classmethod
    def tagged(
        cls, pages: Pages, numbers: Sequence[str], handles: NDArray[np.uint32]
    ) -> _Owners:
        """What allocation tags know, which is where pages were allocated."""
        made = cls(len(pages), numbers)
        made.allocated = handles != 0
        if "handle" in made.columns:
            made.columns["handle"] = handles
        return made

    @classmethod
    def recorded(
        cls,
        prog: Program,
        pages: Pages,
        numbers: Sequence[str],
        ranges: PageExtRanges,
    ) -> _Owners:
        """What page_owner knows."""
        made = cls(len(pages), numbers)
        made._read(prog, pages, ranges)
        return made

    def _read(self, prog: Program, pages: Pages, ranges: PageExtRanges) -> None:
        first, count = pages.first, len(pages)
        members = page_owner_dtype(prog).names or ()
        for pfn, records, known in read_page_owners(prog, first, first + count, ranges):
            here = slice(pfn - first, pfn - first + len(records))
            self.allocated[here] = in_state(prog, records, ALLOCATED) & known
            self.unread[here] = ~known
            for name, column in self.columns.items():
                member, _, word = name.partition("_")
                if member in members:
                    found = records[member]
                    column[here] = found[:, int(word)] if word else found
        # A page that was migrated has a record on its first page only (6.1:
        # __folio_copy_owner()).
        at = np.flatnonzero((pages.order > 0) & pages.present)
        if not len(at):
            return
        heads = pages.head[at] - first
        inside = (heads >= 0) & (heads < count)
        at, heads = at[inside], heads[inside]
        self.allocated[at] |= self.allocated[heads]
        for column in self.columns.values():
            column[at] = column[heads]


def _part(
    number: int,
    span: ZoneSpan,
    order: int,
    pages: Pages,
    mobility: NDArray[np.uint8],
    owners: _Owners | None,
) -> PageblockPart:
    if owners is not None:
        # The pages behind the first of a block that is no compound page have no
        # references of their own.
        tails = mobility == Mobility.UNKNOWN.value
        tails &= owners.allocated & pages.present
        if tails.any():
            mobility[tails & (pages.refcount == 0)] = Mobility.UNMOVABLE
    first, count = pages.first >> order, len(Mobility)
    blocks = (np.arange(pages.first, pages.first + len(pages)) >> order) - first
    width = int(blocks[-1]) + 1
    counts = np.bincount(blocks * count + mobility, minlength=width * count)
    counts = counts.reshape(width, count).astype(np.int64)
    start_pfn = np.maximum(np.arange(first, first + width) << order, span.start_pfn)
    held: dict[str, NDArray[Any]] = {}
    unread = 0
    if owners is not None:
        taken = np.ones(len(pages), np.bool_)
        for state in _NOT_HELD:
            taken &= mobility != state.value
        # Of a page that is not known but on record it is known whose it is.
        taken &= (mobility != Mobility.UNKNOWN.value) | owners.allocated
        at: NDArray[np.int64] | slice = slice(None)
        if not taken.all():
            at = np.flatnonzero(taken)
        allocated, among = owners.allocated[at], mobility[at]
        fixed = np.zeros(len(allocated), np.bool_)
        for state in FIXED:
            fixed |= among == state.value
        unread = int(np.count_nonzero(owners.unread[at]))
        held = {
            "span": np.full(len(fixed), number, np.uint16),
            "block": start_pfn.take(blocks[at]),
            "recorded": np.where(allocated, np.uint8(ON_RECORD), np.uint8(NO_RECORD)),
            **{name: column[at] * allocated for name, column in owners.columns.items()},
            "pages": np.ones(len(fixed), np.uint8),
            "fixed": fixed.view(np.uint8),
        }
        spoilt = counts[:, _SPOILT].sum(axis=1)
        also = np.flatnonzero(spoilt)
        if len(also):
            more: dict[str, Any] = {
                "span": number,
                "block": start_pfn[also],
                "recorded": UNKNOWN,
                "fixed": spoilt[also],
            }
            for name, column in held.items():
                # A block of them may have more than fit into a byte.
                kind = np.int64 if name == "fixed" else column.dtype
                rows = np.zeros(len(also), kind)
                rows[:] = more.get(name, 0)
                held[name] = np.concatenate((column, rows))
    pfns = pages.first, pages.first + len(pages)
    return PageblockPart(number, order, pfns, start_pfn, counts, held, unread)

# SPDX-License-Identifier: GPL-2.0-or-later
"""
All that is known of one page: its row joined with its slab object, with who maps it,
with its block and with its history.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import NamedTuple

import numpy as np
from drgn import Program
from drgn.helpers.linux.mm import in_direct_map, pfn_to_page, pfn_to_virt
from drgn.helpers.linux.slab import slab_object_info

from pagedbg.mm.page_owner_bulk import page_owner_states, read_page_owners
from pagedbg.mm.page_state import PageState, page_states
from pagedbg.mm.rmap import page_mappings
from pagedbg.mm.slab_track import slab_alloc_track
from pagedbg.schema.owner_record import ALLOCATED, FREED, GREATEST_ORDER
from pagedbg.schema.table import Row
from pagedbg.session import Session
from pagedbg.sources.page_address import Place
from pagedbg.sources.page_history import PageHistory, page_history
from pagedbg.sources.page_rows import PageRow, PageRows
from pagedbg.target.links import UNREADABLE, limited

__all__ = (
    "BlockPart",
    "PageFacts",
    "PageMapping",
    "SlabObject",
    "page_facts",
)

# Kinds of pages that processes map.
_MAPPED_KINDS = (
    "anon",
    "ksm",
    "file",
    "shmem",
    "block device",
    "secretmem",
    "hugetlb",
    "swap cache",
)

# What has become of a page of a block, and the words of the column ``part``.
_PARTS = ("unknown", "held", "reused", "freed")
_UNKNOWN, _HELD, _REUSED, _FREED = range(len(_PARTS))


class SlabObject(NamedTuple):
    """A row of :data:`pagedbg.schema.page_columns.SLAB_OBJECTS`."""

    address: int | None
    offset: int | None
    allocated: bool | None
    why_unknown: str | None
    pid: int | None = None
    stack: list[str] | None = None


class PageMapping(NamedTuple):
    """A row of :data:`pagedbg.schema.page_columns.PAGE_MAPPINGS`."""

    pid: int | None
    comm: str | None
    mm: int
    address: int


class BlockPart(NamedTuple):
    """A row of :data:`pagedbg.schema.page_columns.BLOCK_PARTS`."""

    start_pfn: int
    pages: int
    part: str


@dataclasses.dataclass(frozen=True)
class PageFacts:
    """
    What is known of one page. None is what it has not, or what is not known, as the
    columns of :data:`pagedbg.schema.page_columns.PAGE_FACTS` say.
    """

    page: PageRow
    offset: int
    address: int | None
    head_refcount: int | None
    object: SlabObject | None
    mappings: list[PageMapping] | None
    mappings_complete: bool | None
    parts: list[BlockPart] | None
    history: PageHistory | None

    def row(self) -> Row:
        """The row of PAGES and PAGE_FACTS."""
        history = self.history
        return (
            *self.page,
            self.offset,
            self.address,
            self.head_refcount,
            self.object,
            self.mappings,
            self.mappings_complete,
            self.parts,
            history.captured if history else None,
            history.events if history else None,
            history.losses if history else None,
        )


def page_facts(
    session: Session, rows: PageRows, place: Place, state: PageState
) -> PageFacts:
    """
    Find out all that is known of a page that there is.

    :param rows: what draws its row; what could not be read is added to its notes
    :param place: what was asked for
    :param state: the state of the page there
    """
    (page,) = rows.rows([state])
    found, complete = _mappings(session, state)
    facts = PageFacts(
        page,
        place.offset,
        place.address,
        _head_refcount(session, state),
        _object(session, place) if state.kind == "slab" else None,
        found,
        complete,
        _parts(session.prog, page),
        page_history(session, state.pfn, rows.notes),
    )
    rows.note()
    return facts


def _head_refcount(session: Session, state: PageState) -> int | None:
    if not state.compound or state.head_pfn is None:
        return None
    (head,) = page_states(session.prog, state.head_pfn, state.head_pfn + 1)
    return head.refcount


def _object(session: Session, place: Place) -> SlabObject | None:
    """The object at the address that was asked for, if that was a virtual one."""
    prog, address = session.prog, place.address
    if address is None:
        return None
    phys = (place.ranges[0][0] << prog["PAGE_SHIFT"].value_()) + place.offset
    try:
        virt = (
            address
            if in_direct_map(prog, address)
            else pfn_to_virt(prog, 0).value_() + phys
        )
        found = limited(slab_object_info, prog, virt)
    except UNREADABLE as error:
        return SlabObject(None, None, None, f"{error}")
    if found is None:
        return SlabObject(None, None, None, "the address is in none of the slab's")
    if not found.address:
        # CONFIG_SLOB
        return SlabObject(None, None, None, "this kernel does not write objects down")
    drawn = SlabObject(found.address, virt - found.address, found.allocated, None)
    try:
        track = slab_alloc_track(found.slab_cache, found.address)
        if track is None or found.allocated is False:
            return drawn
        stack = session.target.symbolize(track.pcs)
    except UNREADABLE:
        return drawn
    return drawn._replace(pid=track.pid, stack=stack)


def _mappings(
    session: Session, state: PageState
) -> tuple[list[PageMapping] | None, bool | None]:
    """Where processes map a page, and whether that is all; None where none could."""
    if state.kind not in _MAPPED_KINDS or state.index is None:
        return None, None
    if not state.mapcount:
        return [], True
    found = page_mappings(pfn_to_page(session.prog, state.pfn))
    return [
        PageMapping(each.pid, each.comm, each.mm.value_(), each.address)
        for each in found.mappings
    ], found.complete


def _parts(prog: Program, page: PageRow) -> list[BlockPart] | None:
    """
    What has become of a block that is allocated; None if there is none on record, or
    the record is damaged.

    Pages of one order in one naturally aligned range are one block: see
    for_each_block().
    """
    order, head = page.order, page.head
    if page.state != "allocated" or order is None or head is None:
        return None
    if order > GREATEST_ORDER:
        return None
    parts = np.zeros(1 << order, np.uint8)
    for first, records, known in read_page_owners(prog, head, head + (1 << order)):
        state = page_owner_states(prog, records)
        allocated = state == ALLOCATED
        found = np.select(
            [
                ~known,
                allocated & (records["order"] == order),
                allocated,
                state == FREED,
            ],
            [_UNKNOWN, _HELD, _REUSED, _FREED],
            _UNKNOWN,
        )
        parts[first - head : first - head + len(found)] = found
    edges = [0, *(np.flatnonzero(np.diff(parts)) + 1).tolist(), len(parts)]
    return [
        BlockPart(head + start, end - start, _PARTS[parts[start]])
        for start, end in itertools.pairwise(edges)
    ]

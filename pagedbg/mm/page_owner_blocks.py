# SPDX-License-Identifier: GPL-2.0-or-later
"""
Page owner's blocks
-------------------

The blocks of pages that page_owner has on record: neighbouring pages with one record
are put together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from drgn import Program
from drgn.helpers.common.prog import takes_program_or_default
from numpy.typing import NDArray

from pagedbg.mm._stale_records import StaleRecords
from pagedbg.mm.page_ext import for_each_page_ext_range
from pagedbg.mm.page_owner_bulk import in_state, read_page_owners
from pagedbg.schema.blocks import Blocks
from pagedbg.schema.owner_record import ALLOCATED, GREATEST_ORDER

__all__ = ("block_spans", "for_each_block")

# No kernel hands out a larger block: a gigantic page of 1 GiB in pages of 4 KiB.
_LARGEST = 18


@takes_program_or_default
def block_spans(
    prog: Program, start_pfn: int = 0, end_pfn: int | None = None
) -> list[tuple[int, int]]:
    """
    Cut pages where no block reaches across, for whoever looks at several parts of
    memory at once.

    :return: the first page frame number of each part that has records, and the one
        after its last; in order
    """
    size = 1 << _LARGEST
    found: list[tuple[int, int]] = []
    for part in for_each_page_ext_range(prog, start_pfn, end_pfn):
        for at in range(part.start_pfn >> _LARGEST, -(-part.end_pfn >> _LARGEST)):
            start = max(part.start_pfn, at * size)
            end = min(part.end_pfn, (at + 1) * size)
            if found and found[-1][0] // size == at:
                start = found.pop()[0]
            found.append((start, end))
    return found


@takes_program_or_default
def for_each_block(
    prog: Program,
    state: int = ALLOCATED,
    start_pfn: int = 0,
    end_pfn: int | None = None,
) -> Iterator[Blocks]:
    """
    Iterate over the blocks that have pages in a state, in order of page frame numbers
    and some ten thousand at a time.

    Two blocks of one order that begin at one page cannot exist together, so the pages
    with the same order that lie in the same naturally aligned range are one block,
    whatever has become of the others of that range: a page that was freed out of a
    block and allocated again has a record of its own. (Their times are not compared: up
    to 6.1 ``__folio_copy_owner()`` updates the head's record only.)

    Pages that the buddy allocator has are not allocated, whatever their record says.
    """
    stale = StaleRecords(prog) if state == ALLOCATED else None
    held: Blocks | None = None
    for first, records, known in read_page_owners(prog, start_pfn, end_pfn):
        chosen = in_state(prog, records, state)
        unread = int(len(known) - np.count_nonzero(known))
        if unread:
            # Of a record that lies half in a page that is missing, some members are
            # zero.
            chosen &= known
        # Out of the records once: neighbours in memory are looked at sooner.
        columns = {name: np.ascontiguousarray(records[name]) for name in _COPIED}
        order = columns["order"]
        if stale is not None:
            free = stale.find(first, columns["handle"], order, chosen)
            if len(free):
                chosen[free] = False
        blocks = _group(first, records, columns, chosen)
        blocks.unread = unread
        if held is not None and len(held):
            blocks = dataclasses.replace(
                Blocks.joined((held, blocks)),
                unread=blocks.unread,
                damaged=blocks.damaged,
            )
        held = None
        greatest = int(blocks.order.max(initial=0))
        if greatest:
            blocks = _join_parts(blocks)
        # A gigantic page goes on in the next piece. Blocks are aligned to their size:
        # one that is no larger than what this piece's end is aligned to does not reach
        # across.
        end = first + len(records)
        if 1 << greatest > end & -end:
            unfinished = blocks.end_pfn > np.uint64(end)
            held = blocks.take(unfinished)
            blocks = dataclasses.replace(
                blocks.take(~unfinished), unread=blocks.unread, damaged=blocks.damaged
            )
        yield blocks
    if held is not None:
        yield held


# What all blocks are told by.
_COPIED = ("order", "handle")

# Most blocks are single pages, and NumPy takes as long for one of them as for any
# other. So what only larger ones need is done to them alone.


def _group(
    first: int,
    records: NDArray[Any],
    columns: Mapping[str, NDArray[Any]],
    mask: NDArray[np.bool_],
) -> Blocks:
    """
    Make blocks of neighbouring pages that are of the same block; only of those in the
    mask.

    :param columns: some members of the records, with their order
    """
    order = columns["order"]
    index = None
    if not mask.all():
        index = np.flatnonzero(mask)
        order = order[index]
    damaged = 0
    greatest = int(order.max(initial=0))
    if greatest > GREATEST_ORDER:
        sane = np.flatnonzero(order <= GREATEST_ORDER)
        damaged = len(order) - len(sane)
        order, index = order[sane], sane if index is None else index[sane]
    order = order.astype(np.uint8)
    head = (
        np.arange(first, first + len(order), dtype=np.uint64)
        if index is None
        else index.view(np.uint64) + np.uint64(first)
    )
    if not greatest:
        pages = np.ones(len(order), np.int64)
        return Blocks(head, order, pages, records, index, columns=columns)
    large = np.flatnonzero(order)
    orders = order[large]
    heads = head[large] >> orders << orders
    head[large] = heads
    same = (
        (large[1:] == large[:-1] + 1)
        & (heads[1:] == heads[:-1])
        & (orders[1:] == orders[:-1])
    )
    begins = np.ones(len(order), np.bool_)
    begins[large[1:][same]] = False
    starts = np.flatnonzero(begins)
    pages = np.full(len(starts), len(order))
    pages[:-1] = starts[1:]
    pages -= starts
    return Blocks(
        head[starts],
        order[starts],
        pages,
        records,
        starts if index is None else index[starts],
        damaged=damaged,
        columns=columns,
    )


def _join_parts(blocks: Blocks) -> Blocks:
    """Join the parts of a block between which other blocks lie."""
    large = np.flatnonzero(blocks.order)
    parts = large[
        blocks.pages[large] < np.int64(1) << blocks.order[large].astype(np.int64)
    ]
    if len(parts) < 2:
        return blocks
    key = np.stack((blocks.pfn[parts], blocks.order[parts]))
    _, first, which, count = np.unique(
        key, axis=1, return_index=True, return_inverse=True, return_counts=True
    )
    if not (count > 1).any():
        return blocks
    pages = blocks.pages.copy()
    pages[parts[first]] = np.bincount(
        which.ravel(), weights=blocks.pages[parts]
    ).astype(np.int64)
    keep = np.ones(len(blocks), np.bool_)
    keep[parts] = False
    keep[parts[first]] = True
    joined = dataclasses.replace(blocks, pages=pages).take(keep)
    return dataclasses.replace(joined, unread=blocks.unread, damaged=blocks.damaged)

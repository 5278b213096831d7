# SPDX-License-Identifier: GPL-2.0-or-later
"""
Blocks of pages that allocation tags know the place of: in place of page_owner's records
where it is off.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pagedbg.schema.blocks import Blocks
from pagedbg.sources.page_batches import PageBatch, PageSource

__all__ = ("TAGGED", "tagged_blocks", "tagged_handles")

TAGGED = np.dtype(
    [
        *(("handle", "<u4"), ("site", "<u8")),
        *(("gfp_mask", "<i8"), ("pid", "<i8"), ("comm", "<u8", (2,))),
    ]
)
"""
What there is in place of a record; the last three are not known: negative, or empty.
"""


def tagged_blocks(source: PageSource, start: int, end: int) -> Iterator[Blocks]:
    """
    Iterate over the blocks that have a tag, in order and some ten thousand at a time.

    :param source: whose ``tagged`` is true
    :param start: the first page frame number
    :param end: the one after the last
    """
    held: Blocks | None = None
    for batch in source.batches(start, end):
        blocks = _blocks(batch)
        if held is not None:
            blocks = _joined(held, blocks)
        # The last may go on in the next piece.
        held = blocks.take(slice(-1, None))
        yield blocks.take(slice(0, -1))
    if held is not None:
        yield held


def tagged_handles(source: PageSource, end: int) -> list[int]:
    """The numbers of the tags that pages before one have."""
    found: set[int] = set()
    for batch in source.batches(0, end):
        found.update(np.unique(batch.column("handle")).tolist())
    return sorted(found - {0})


def _blocks(batch: PageBatch) -> Blocks:
    """The blocks of neighbouring pages."""
    batch = batch.take(batch.column("site") != 0)
    heads = batch.column("head")
    begins = np.ones(len(batch), np.bool_)
    begins[1:] = heads[1:] != heads[:-1]
    starts = np.flatnonzero(begins)
    pages = np.diff(np.append(starts, len(batch)))
    records = np.zeros(len(starts), TAGGED)
    records["gfp_mask"] = records["pid"] = -1
    for name in ("handle", "site"):
        records[name] = batch.column(name)[starts]
    order = batch.column("order")[starts]
    return Blocks(
        heads[starts].astype(np.uint64),
        np.maximum(order, _order_of(pages)).astype(np.uint8),
        pages,
        records,
    )


def _order_of(pages: NDArray[np.int64]) -> NDArray[np.int64]:
    """The order of a block that has so many pages."""
    order: NDArray[np.int64] = np.ceil(np.log2(np.maximum(pages, 1))).astype(np.int64)
    return order


def _joined(held: Blocks, blocks: Blocks) -> Blocks:
    """Blocks that follow each other, of which two may be parts of one."""
    both = Blocks.joined((held, blocks))
    at = len(held)
    if 0 < at < len(both) and both.pfn[at] == both.pfn[at - 1]:
        both.pages[at - 1] += both.pages[at]
        both.order[at - 1] = max(both.order[at - 1], both.order[at])
        keep = np.ones(len(both), np.bool_)
        keep[at] = False
        return both.take(keep)
    return both

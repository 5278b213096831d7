# SPDX-License-Identifier: GPL-2.0-or-later
"""Which pages are behind addresses of the direct map."""

from __future__ import annotations

import numpy as np
from drgn import Program
from drgn.helpers.linux.mm import (
    compound_order,
    in_direct_map,
    page_to_pfn,
    virt_to_page,
    virt_to_pfn,
)
from numpy.typing import NDArray

from pagedbg.mm.bulk_read import number
from pagedbg.schema.owner_record import GREATEST_ORDER
from pagedbg.target.links import Damaged

__all__ = (
    *("block_pfns", "check_pages", "direct_pfns", "pfns_of_block"),
    "together",
)

# Physical addresses of 64 bits.
_MOST_PFNS = 1 << 52


def check_pages(prog: Program, pages: int, what: str) -> None:
    """
    See that something has no more pages than the machine.

    :raises Damaged: if it has
    """
    if not 0 <= pages <= number(prog, "max_pfn", _MOST_PFNS):
        raise Damaged(
            f"the memory of this kernel is damaged: {what} would be of {pages:,} pages"
        )


def direct_pfns(
    prog: Program, address: int, size: int, what: str = "a structure in it"
) -> NDArray[np.int64]:
    """
    Return the pages of a stretch of the direct map, none if it begins elsewhere: what
    ``vmalloc()`` has made, or what is part of the kernel's image.

    :param size: in bytes
    :param what: what it is, for what is said if it cannot be
    :raises Damaged: if it would be longer than memory
    """
    if not size or not in_direct_map(prog, address):
        return np.zeros(0, np.int64)
    page_size = number(prog, "PAGE_SIZE", 1 << 18, 1 << 12)
    count = -(-(address % page_size + size) // page_size)
    check_pages(prog, count, what)
    first = virt_to_pfn(prog, address).value_()
    return np.arange(first, first + count, dtype=np.int64)


def block_pfns(prog: Program, address: int) -> NDArray[np.int64]:
    """
    Return the pages of what ``kmalloc()`` has given, if it is too large for slabs: then
    it begins a page, and is a compound page of its own.
    """
    page_size = number(prog, "PAGE_SIZE", 1 << 18, 1 << 12)
    if address % page_size or not in_direct_map(prog, address):
        return np.zeros(0, np.int64)
    page = virt_to_page(prog, address)
    return pfns_of_block(page_to_pfn(page).value_(), compound_order(page).value_())


def pfns_of_block(first: int, order: int) -> NDArray[np.int64]:
    """
    Return the pages of a block.

    :raises Damaged: if no block has so many
    """
    if not 0 <= order <= GREATEST_ORDER:
        raise Damaged(
            f"the memory of this kernel is damaged: a block in it has order {order}"
        )
    return np.arange(first, first + (1 << order), dtype=np.int64)


def together(parts: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Return the pages of all parts, of which there may be none."""
    return np.concatenate([np.zeros(0, np.int64), *parts])

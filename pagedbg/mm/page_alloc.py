# SPDX-License-Identifier: GPL-2.0-or-later
"""
The rules of the page allocator
-------------------------------

Which zone gives pages to whom, as ``mm/page_alloc.c`` has it, in plain numbers: of a
running kernel, of a dump, or of what a kernel has logged. Nothing here knows a kernel.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

__all__ = (
    "CMA",
    "FALLBACKS",
    "HIGHATOMIC",
    "AllocFlags",
    "FreeBlock",
    "ZoneState",
    "find_free_block",
    "fragmentation_index",
    "largest_order",
    "need",
    "unusable_free",
    "unusable_free_index",
    "zone_watermark_ok",
)

# As migratetype_names[] has them.
HIGHATOMIC, CMA = "HighAtomic", "CMA"

FALLBACKS = {
    "Unmovable": ("Reclaimable", "Movable"),
    "Movable": ("Reclaimable", "Unmovable"),
    "Reclaimable": ("Unmovable", "Movable"),
}
"""
For each migratetype that can be asked for, those that blocks are taken from where it
has none, in this order: ``fallbacks[][]``.
"""


@dataclasses.dataclass(frozen=True)
class ZoneState:
    """
    What the allocator looks at in a zone, in pages.

    ``zone`` is its ``enum zone_type``. The watermarks are with what fragmentation has
    boosted them by. ``lowmem_reserve`` is by ``enum zone_type`` of the highest zone
    that an allocation may come from. ``free_highatomic`` is ``nr_free_highatomic``, or
    where a kernel does not count that ``nr_reserved_highatomic``, which its allocator
    takes instead. ``blocks`` is how many free blocks there are, by order, and ``types``
    the migratetypes that each order has blocks of.
    """

    node: int
    zone: int
    name: str
    free: int
    wmark_min: int
    wmark_low: int
    wmark_high: int
    boost: int
    lowmem_reserve: tuple[int, ...]
    free_highatomic: int
    free_cma: int
    blocks: tuple[int, ...]
    types: tuple[frozenset[str], ...]


@dataclasses.dataclass(frozen=True)
class AllocFlags:
    """
    What an attempt may do: the ``ALLOC_*`` flags of ``mm/internal.h``.

    ``low``: it has to leave the low watermark, and not just the min watermark.
    """

    low: bool = False
    min_reserve: bool = False
    non_block: bool = False
    highatomic: bool = False
    cma: bool = False
    nofragment: bool = False

    @property
    def reserves(self) -> bool:
        """Whether it may use what is kept below the min watermark: ALLOC_RESERVES."""
        return self.min_reserve or self.non_block or self.highatomic


def unusable_free(zone: ZoneState, order: int, flags: AllocFlags) -> int:
    """
    Return how many of the free pages an attempt must not count on:
    ``__zone_watermark_unusable_free()``.
    """
    pages = (1 << order) - 1
    if not flags.reserves:
        pages += zone.free_highatomic
    if not flags.cma:
        pages += zone.free_cma
    return pages


def need(zone: ZoneState, order: int, highest_zone: int, flags: AllocFlags) -> int:
    """
    Return how many pages have to be free in a zone before ``__zone_watermark_ok()``
    looks for a block: the least number that is enough.

    :param highest_zone: ``enum zone_type`` that the allocation may come from at most.
    """
    least = zone.wmark_low if flags.low else zone.wmark_min
    if flags.min_reserve:
        least -= least // 2
        if flags.non_block:
            least -= least // 4
    reserve = (
        zone.lowmem_reserve[highest_zone]
        if highest_zone < len(zone.lowmem_reserve)
        else 0
    )
    return least + reserve + unusable_free(zone, order, flags) + 1


def zone_watermark_ok(
    zone: ZoneState, order: int, highest_zone: int, flags: AllocFlags
) -> bool:
    """
    Say whether an attempt passes a zone's watermark, as ``zone_watermark_fast()`` does:
    enough pages are free, and a block that is large enough is on a list that it may
    take from.

    :param highest_zone: ``enum zone_type`` that the allocation may come from at most.
    """
    if zone.free < need(zone, order, highest_zone, flags):
        # Single pages for which reserves are there need not leave what fragmentation
        # has boosted the min watermark by.
        return bool(
            not order
            and flags.min_reserve
            and not flags.low
            and zone.boost
            and zone.free
            >= need(
                dataclasses.replace(
                    zone, wmark_min=zone.wmark_min - zone.boost, boost=0
                ),
                order,
                highest_zone,
                flags,
            )
        )
    if not order:
        return True
    usable = {*FALLBACKS}
    if flags.cma:
        usable.add(CMA)
    if flags.highatomic:
        usable.add(HIGHATOMIC)
    return any(
        count and not usable.isdisjoint(types)
        for count, types in zip(zone.blocks[order:], zone.types[order:], strict=True)
    )


@dataclasses.dataclass(frozen=True)
class FreeBlock:
    """A free block that an allocation is made from."""

    order: int
    migratetype: str


def find_free_block(
    zone: ZoneState,
    order: int,
    migratetype: str,
    flags: AllocFlags,
    pageblock_order: int,
) -> FreeBlock | None:
    """
    Find what ``rmqueue_buddy()`` takes from a zone whose watermark is passed: from the
    lists of the migratetype that is asked for, or else from those of its fallbacks.
    What the CPUs keep on lists of their own is not looked at.

    :return: ``None`` if there is nothing that it may take
    """
    if flags.highatomic and (found := _smallest(zone, order, HIGHATOMIC)):
        return found
    mostly_cma = flags.cma and zone.free_cma > zone.free // 2
    if mostly_cma and (found := _smallest(zone, order, CMA)):
        return found
    if found := _smallest(zone, order, migratetype):
        return found
    if flags.cma and (found := _smallest(zone, order, CMA)):
        return found
    if found := _fallback(zone, order, migratetype, flags, pageblock_order):
        return found
    return _smallest(zone, order, HIGHATOMIC) if flags.non_block else None


def _smallest(zone: ZoneState, order: int, migratetype: str) -> FreeBlock | None:
    """``__rmqueue_smallest()``."""
    return next(
        (
            FreeBlock(each, migratetype)
            for each in range(order, len(zone.blocks))
            if migratetype in zone.types[each]
        ),
        None,
    )


def _fallback(
    zone: ZoneState,
    order: int,
    migratetype: str,
    flags: AllocFlags,
    pageblock_order: int,
) -> FreeBlock | None:
    """
    ``__rmqueue_claim()`` and ``__rmqueue_steal()``, or before Linux kernel commit
    c2f6ea38fc1b ("mm: page_alloc: don't steal single pages from biggest buddy") (in
    v6.15) ``__rmqueue_fallback()``: the largest block, but for a movable allocation
    where that is small the smallest one.
    """
    # Only whole pageblocks may change their type as long as mixing is to be avoided.
    least = max(order, pageblock_order) if flags.nofragment else order
    found = [
        FreeBlock(each, other)
        for each in range(len(zone.blocks) - 1, least - 1, -1)
        for other in FALLBACKS.get(migratetype, ())
        if other in zone.types[each]
    ]
    if not found:
        return None
    if migratetype == "Movable" and found[0].order < pageblock_order // 2:
        smallest = found[-1].order
        return next(each for each in found if each.order == smallest)
    return found[0]


def largest_order(
    zone: ZoneState, highest_zone: int, flags: AllocFlags = AllocFlags()
) -> int | None:
    """
    Return the greatest order that an attempt passes the zone's watermark with.

    >>> largest_order(state, state.zone)
    3

    :param highest_zone: ``enum zone_type`` that the allocation may come from at most;
        the zone's own for those that are meant for this zone.
    :return: ``None`` if not even a single page can be had
    """
    return max(
        (
            order
            for order in range(len(zone.blocks))
            if zone_watermark_ok(zone, order, highest_zone, flags)
        ),
        default=None,
    )


# ---- mm/vmstat.c ----------


def _suitable(blocks: Sequence[int], order: int) -> int:
    """How many blocks of an order the free ones can be split into."""
    return sum(
        count << (each - order) for each, count in enumerate(blocks) if each >= order
    )


def _pages(blocks: Sequence[int]) -> int:
    return sum(count << order for order, count in enumerate(blocks))


def unusable_free_index(blocks: Sequence[int], order: int) -> int:
    """
    Return the share of free memory that is in blocks too small for an order, in
    thousandths, as ``/sys/kernel/debug/extfrag/unusable_index`` has it:
    ``unusable_free_index()``.

    :param blocks: How many free blocks there are, by order.
    """
    pages = _pages(blocks)
    if not pages:
        return 1000
    return (pages - (_suitable(blocks, order) << order)) * 1000 // pages


def fragmentation_index(blocks: Sequence[int], order: int) -> int:
    """
    Return why an allocation of an order would find no block, in thousandths: near 0 for
    want of memory, near 1000 since memory is in pieces; −1000 where there is a block.
    ``/sys/kernel/debug/extfrag/extfrag_index`` has it: ``__fragmentation_index()``.

    :param blocks: How many free blocks there are, by order.
    """
    total = sum(blocks)
    if not total:
        return 0
    if _suitable(blocks, order):
        return -1000
    return 1000 - (1000 + _pages(blocks) * 1000 // (1 << order)) // total

# SPDX-License-Identifier: GPL-2.0-or-later
"""
What the allocator looks at
---------------------------

Zones in the order in which ``get_page_from_freelist()`` tries them, and what it looks
at in each.
"""

from __future__ import annotations

from drgn import Object, Program
from drgn.helpers.common.prog import takes_program_or_default
from drgn.helpers.linux.mmzone import (
    NODE_DATA,
    high_wmark_pages,
    low_wmark_pages,
    min_wmark_pages,
)

from pagedbg.mm.free_area import free_areas
from pagedbg.mm.migrate import decode_migratetype
from pagedbg.mm.mmzone import zone_idx, zone_name
from pagedbg.mm.page_alloc import ZoneState
from pagedbg.mm.vmstat import zone_page_state
from pagedbg.target.links import Damaged

__all__ = ("compactions_deferred", "kswapd_is_running", "zone_state", "zonelist_zones")


def zone_state(zone: Object) -> ZoneState:
    """
    Return what the allocator looks at in a zone. No lock is held: the numbers of a
    running kernel are not all from one moment.

    :param zone: ``struct zone *``
    """
    prog = zone.prog_
    # Linux kernel commit c928807f6f6b ("mm/page_alloc: keep track of free highatomic")
    # (in v6.13) added it, and stable kernels have it, too.
    try:
        highatomic = zone.nr_free_highatomic
    except AttributeError:
        highatomic = zone.nr_reserved_highatomic
    areas = free_areas(zone)
    # At once: the links of some sixty lists are as many reads one by one.
    copied = zone.free_area.read_()
    names = [
        decode_migratetype(prog, number) for number in range(len(areas[0].free_list))
    ]
    types = [
        frozenset(
            name
            for name, head, copy in zip(
                names, area.free_list, copied[order].free_list, strict=True
            )
            if copy.next.value_() != head.address_
        )
        for order, area in enumerate(areas)
    ]
    return ZoneState(
        node=zone.zone_pgdat.node_id.value_(),
        zone=zone_idx(zone),
        name=zone_name(zone),
        free=zone_page_state(zone, prog["NR_FREE_PAGES"]),
        wmark_min=min_wmark_pages(zone),
        wmark_low=low_wmark_pages(zone),
        wmark_high=high_wmark_pages(zone),
        boost=zone.watermark_boost.value_(),
        lowmem_reserve=tuple(zone.lowmem_reserve.read_().value_()),
        free_highatomic=highatomic.value_(),
        free_cma=zone_page_state(zone, prog["NR_FREE_CMA_PAGES"]),
        blocks=tuple(int(area.nr_free.value_()) for area in copied),
        types=tuple(types),
    )


@takes_program_or_default
def zonelist_zones(
    prog: Program, nid: int, highest_zone: int, *, this_node: bool = False
) -> list[Object]:
    """
    Return the zones that an allocation is tried from, in this order:
    ``for_each_zone_zonelist()`` over ``node_zonelist()``.

    :param nid: The node on which memory is wanted.
    :param highest_zone: ``enum zone_type`` that it may come from at most.
    :param this_node: Whether it may come from no other node (``__GFP_THISNODE``).
    :return: ``struct zone *`` objects
    :raises Damaged: if the list does not end
    """
    lists = NODE_DATA(prog, nid).node_zonelists
    # ZONELIST_NOFALLBACK is there with NUMA only.
    refs = lists[1 if this_node and len(lists) > 1 else 0]._zonerefs
    found: list[Object] = []
    for i in range(len(refs)):
        zone = refs[i].zone.read_()
        if not zone:
            return found
        if refs[i].zone_idx.value_() <= highest_zone:
            found.append(zone)
    raise Damaged(
        f"the memory of this kernel is damaged: the zones of node {nid} do not end"
    )


def compactions_deferred(zone: Object, order: int) -> int | None:
    """
    Return how many more times compaction is not tried for an order in a zone, since it
    has failed for this order or a smaller one: ``compaction_deferred()`` of
    ``mm/compaction.c``.

    :param zone: ``struct zone *``
    :return: None for a kernel that is built without compaction
    """
    try:
        failed = int(zone.compact_order_failed.value_())
    except AttributeError:
        return None
    if order < failed:
        return 0
    # COMPACT_MAX_DEFER_SHIFT is 6; more than that is damage.
    limit = 1 << min(int(zone.compact_defer_shift.value_()), 6)
    return max(0, limit - int(zone.compact_considered.value_()) - 1)


def kswapd_is_running(pgdat: Object) -> bool:
    """
    Return whether a node's kswapd is at work, and does not wait to be woken.

    :param pgdat: ``struct pglist_data *``
    """
    head = pgdat.kswapd_wait.head
    return bool(head.next.value_() == head.address_of_().value_())

# SPDX-License-Identifier: GPL-2.0-or-later
"""
Counters of zones
-----------------

Helpers for ``include/linux/vmstat.h``: what the kernel counts by zone.
"""

from __future__ import annotations

from drgn import IntegerLike, Object
from drgn.helpers.linux.cpumask import for_each_possible_cpu
from drgn.helpers.linux.percpu import per_cpu_ptr

__all__ = ("zone_managed_pages", "zone_page_state", "zone_pcp_pages")


def zone_page_state(zone: Object, item: IntegerLike) -> int:
    """
    Return a counter of a zone, without what the CPUs have not added to it yet, as
    ``/proc/zoneinfo`` has it.

    >>> zone_page_state(zone, prog["NR_FREE_PAGES"])
    7945

    :param zone: ``struct zone *``
    :param item: ``enum zone_stat_item``
    """
    # One CPU may have taken away already what another has not added yet.
    return max(0, int(zone.vm_stat[item].counter.value_()))


def zone_managed_pages(zone: Object) -> int:
    """
    Return how many pages of a zone the buddy allocator manages: those that there are,
    but for what was reserved at boot.

    :param zone: ``struct zone *``
    """
    return int(zone.managed_pages.counter.value_())


def zone_pcp_pages(zone: Object) -> int:
    """
    Return how many free pages the CPUs keep on lists of their own. The zone does not
    count them as free.

    :param zone: ``struct zone *``
    """
    pageset = zone.per_cpu_pageset.read_()
    return sum(
        int(per_cpu_ptr(pageset, cpu).count.value_())
        for cpu in for_each_possible_cpu(zone.prog_)
    )

# SPDX-License-Identifier: GPL-2.0-or-later
"""
Counters of zones and nodes, and of events
------------------------------------------

Helpers for ``include/linux/vmstat.h``: what the kernel counts by zone and by node, and
how often what has happened.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from drgn import IntegerLike, Object, Program
from drgn.helpers.common.prog import takes_program_or_default
from drgn.helpers.linux.cpumask import for_each_online_cpu, for_each_possible_cpu
from drgn.helpers.linux.mmzone import for_each_online_pgdat
from drgn.helpers.linux.percpu import per_cpu, per_cpu_ptr

from pagedbg.mm.mmzone import for_each_zone

__all__ = (
    "vm_counters",
    "vm_events",
    "zone_managed_pages",
    "zone_page_state",
    "zone_pcp_pages",
)


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


@takes_program_or_default
def vm_counters(prog: Program) -> dict[str, int]:
    """
    Return the kernel's counters of zones and nodes, summed up over all of them and with
    what the CPUs have not added yet, as ``zone_page_state_snapshot()`` has them; those
    in bytes are stored in pages.

    >>> vm_counters()["NR_FILE_PAGES"]
    2257904

    :return: by the name of the enumerator in ``enum zone_stat_item``
        and ``enum node_stat_item``
    """
    zone_sums = _sums(
        (zone.per_cpu_zonestats, "vm_stat_diff") for zone in for_each_zone(prog)
    )
    node_sums = _sums(
        (pgdat.per_cpu_nodestats, "vm_node_stat_diff")
        for pgdat in for_each_online_pgdat(prog)
    )
    found = {}
    for enum, variable, more in (
        ("zone_stat_item", "vm_zone_stat", zone_sums),
        ("node_stat_item", "vm_node_stat", node_sums),
    ):
        values = prog[variable].read_()
        for name, item in prog.type(f"enum {enum}").enumerators or ():
            if item < len(values):
                found[name] = int(values[item].counter) + more.get(item, 0)
    return found


@takes_program_or_default
def vm_events(prog: Program) -> dict[str, int]:
    """
    Return how often events have happened since the kernel was booted, on all CPUs, as
    ``all_vm_events()``. What a CPU that was taken away has counted, another has taken
    over.

    >>> vm_events()["OOM_KILL"]
    2

    :return: by the name of the enumerator in ``enum vm_event_item``
    :raises LookupError: for a kernel without ``CONFIG_VM_EVENT_COUNTERS``
    """
    states = prog["vm_event_states"]
    counts: list[int] = [0] * len(states.event)
    for cpu in for_each_online_cpu(prog):
        of_cpu = per_cpu(states, cpu).event.value_()
        counts = [have + more for have, more in zip(counts, of_cpu, strict=True)]
    return {
        name: counts[item]
        for name, item in prog.type("enum vm_event_item").enumerators or ()
        if item < len(counts)
    }


def _sums(parts: Iterator[tuple[Object, str]]) -> dict[int, int]:
    """The sums of per-CPU arrays of ``s8``, by their index."""
    sums: Counter[int] = Counter()
    for pointer, member in parts:
        pointer = pointer.read_()
        if not pointer:
            continue
        for cpu in for_each_online_cpu(pointer.prog_):
            diffs = per_cpu_ptr(pointer, cpu).member_(member).value_()
            sums.update(dict(enumerate(diffs)))
    return sums

# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether figures of memory are out of the ordinary, and which command says more."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from drgn import Program
from drgn.helpers.linux.hugetlb import hugetlb_total_pages
from drgn.helpers.linux.mm import totalram_pages, vm_memory_committed
from drgn.helpers.linux.swap import swap_total_usage

from pagedbg.mm.free_area import nr_free
from pagedbg.mm.mmzone import for_each_populated_zone
from pagedbg.mm.page_alloc import ZoneState, unusable_free_index
from pagedbg.mm.zone_state import zone_state
from pagedbg.schema.table import Row
from pagedbg.target.links import UNREADABLE

__all__ = ("health_rows",)

# Orders from 4 on are large: 64 KiB and more.
_LARGE = 4

# What is unusual, in per cent of what it is compared with.
_SLAB, _PAGE_TABLES, _UNACCOUNTED, _FRAGMENTED, _SWAP = 25, 2, 10, 95, 50
_MOST_RESERVE = 5

# sysctl vm.watermark_scale_factor, in ten-thousandths: ten is the default.
_SCALE = 100

_Sums = Sequence[Row]
_Check = tuple[bool, str, str]


def health_rows(prog: Program, sums: _Sums, uncounted: int) -> list[Row]:
    """
    Return the rows of :data:`pagedbg.schema.memory_columns.HEALTH`. What cannot be read
    is not judged.

    :param sums: kind, detail and pages of all memory
    :param uncounted: how many pages are in no counter of the kernel
    """
    kinds: dict[str, int] = {}
    for kind, _, pages, *_ in sums:
        kinds[kind] = kinds.get(kind, 0) + pages
    rows: list[Row] = []
    checks: dict[str, Callable[[], Iterator[_Check]]] = {
        "free memory": lambda: _free(prog),
        "fragmentation": lambda: _fragmentation(prog),
        "balance of nodes": lambda: _nodes(prog),
        "unaccounted": lambda: _unaccounted(prog, uncounted),
        "slab": lambda: _slab(prog, kinds.get("slab", 0)),
        "page tables": lambda: _page_tables(prog, kinds.get("page table", 0)),
        "min_free_kbytes": lambda: _min_free(prog),
        "watermark_scale_factor": lambda: _scale(prog),
        "committed memory": lambda: _committed(prog),
        "swap": lambda: _swap(prog),
        "memory errors": lambda: _poisoned(kinds.get("hwpoison", 0)),
    }
    for check, found in checks.items():
        try:
            rows += [(check, *each) for each in found()]
        except UNREADABLE:
            continue
    return rows


def _ram(prog: Program) -> int:
    """What there is for all but huge pages, in pages."""
    return max(int(totalram_pages(prog)) - hugetlb_total_pages(prog), 1)


def _states(prog: Program) -> Iterator[ZoneState]:
    for zone in for_each_populated_zone(prog):
        state = zone_state(zone)
        # A zone that is empty by design has nothing to be short of.
        if state.wmark_min:
            yield state


def _of(zone: ZoneState) -> str:
    return f"{zone.name} of node {zone.node}"


def _free(prog: Program) -> Iterator[_Check]:
    for zone in _states(prog):
        short = zone.free < zone.wmark_low
        yield (
            short,
            f"{_of(zone)}: {zone.free:,} pages are free,"
            f" {'below' if short else 'at or above'} the low watermark of"
            f" {zone.wmark_low:,}",
            "zones",
        )


def _fragmentation(prog: Program) -> Iterator[_Check]:
    for zone in _states(prog):
        share = unusable_free_index(zone.blocks, _LARGE) / 10
        yield (
            share > _FRAGMENTED,
            f"{_of(zone)}: {share:.1f}% of free memory is in blocks below order"
            f" {_LARGE}",
            f"explain order {_LARGE}",
        )


def _nodes(prog: Program) -> Iterator[_Check]:
    free: dict[int, int] = {}
    present: dict[int, int] = {}
    for zone in for_each_populated_zone(prog):
        node = int(zone.zone_pgdat.node_id.value_())
        pages = sum(count << order for order, count in enumerate(nr_free(zone)))
        free[node] = free.get(node, 0) + pages
        present[node] = present.get(node, 0) + int(zone.present_pages.value_())
    if len(free) < 2:
        return
    lowest = min(free, key=lambda node: free[node] / present[node])
    highest = max(free, key=lambda node: free[node] / present[node])
    share = 100 * free[lowest] / present[lowest]
    most = 100 * free[highest] / present[highest]
    yield (
        share <= 10 and most > 2 * share,
        f"of node {lowest} {share:.1f}% is free, of node {highest} {most:.1f}%",
        "memory --by node,kind",
    )


def _unaccounted(prog: Program, uncounted: int) -> Iterator[_Check]:
    share = 100 * uncounted / _ram(prog)
    yield (
        share >= _UNACCOUNTED,
        f"{uncounted:,} pages are in no counter of the kernel, {share:.1f}% of memory",
        "memory --unaccounted --by module,stack",
    )


def _slab(prog: Program, pages: int) -> Iterator[_Check]:
    share = 100 * pages / _ram(prog)
    yield share >= _SLAB, f"slabs are {share:.1f}% of memory", "memory --by cache"


def _page_tables(prog: Program, pages: int) -> Iterator[_Check]:
    share = 100 * pages / _ram(prog)
    many = share >= _PAGE_TABLES
    why = ": many processes map the same, or map without huge pages" if many else ""
    yield (
        many,
        f"page tables are {share:.1f}% of memory{why}",
        "memory --kind 'page table' --by comm",
    )


def _min_free(prog: Program) -> Iterator[_Check]:
    size = prog["PAGE_SIZE"].value_()
    kib = prog["min_free_kbytes"].value_()
    ram = int(totalram_pages(prog)) * size // 1024
    # calculate_min_free_kbytes() in mm/page_alloc.c
    default = min(max(math.isqrt(ram * 16), 128), 262144)
    share = 100 * kib / max(ram, 1)
    yield (
        kib < default // 2 or share > _MOST_RESERVE,
        f"{kib:,} KiB, {share:.1f}% of memory; by default it would be"
        f" {default:,} KiB at least",
        "zones",
    )


def _scale(prog: Program) -> Iterator[_Check]:
    factor = prog["watermark_scale_factor"].value_()
    yield factor > _SCALE, f"{factor}, by default 10", "zones"


def _committed(prog: Program) -> Iterator[_Check]:
    committed = vm_memory_committed(prog)
    there = _ram(prog) + prog["total_swap_pages"].value_()
    share = 100 * committed / there
    yield (
        committed > there,
        f"{share:.1f}% of memory and swap are promised to processes",
        "memory --section processes",
    )


def _swap(prog: Program) -> Iterator[_Check]:
    usage = swap_total_usage(prog)
    if usage.pages:
        share = 100 * usage.used_pages / usage.pages
        yield (
            share >= _SWAP,
            f"{share:.1f}% of swap is used",
            "memory --section processes",
        )


def _poisoned(pages: int) -> Iterator[_Check]:
    yield (
        pages > 0,
        f"{pages:,} pages are out of use after memory errors",
        "log --level err",
    )

# SPDX-License-Identifier: GPL-2.0-or-later
"""
What the kernel counts, beside what its pages are: for each counter the kinds of pages
that it should have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from drgn import Program
from drgn.helpers.linux.hugetlb import hugetlb_total_pages

from pagedbg.mm.mmzone import for_each_populated_zone
from pagedbg.mm.vmstat import vm_counters, zone_managed_pages, zone_pcp_pages
from pagedbg.sources.page_words import IN_SWAP, ON_CPU_LISTS
from pagedbg.target.links import UNREADABLE

__all__ = ("UNCOUNTED", "Counted", "counted_kinds", "ram_pages")

# A kind, and of it one detail, "" where it has none, or None for all of it.
Use = tuple[str, str | None]

UNCOUNTED = (
    *("kernel", "no references", "page pool", "stack depot", "movable", "unknown"),
    *("zsmalloc", "page_ext"),
)
"""Kinds of pages that are handed out and in no counter, or not in every kernel's."""


class Counted(NamedTuple):
    """A counter of the kernel."""

    counter: str
    """Its name, or how it is made of several."""
    uses: tuple[Use, ...]
    """The kinds of pages that it counts, those first that it is shown beside."""
    pages: int

    def covers(self, kind: str, detail: str | None) -> bool:
        """Whether it counts such pages."""
        return any(
            kind == name and which in (None, detail or "") for name, which in self.uses
        )


class _Counter(NamedTuple):
    counter: str
    uses: tuple[Use, ...]
    pages: Callable[[Program, Mapping[str, int]], int]


def _page_size(prog: Program) -> int:
    return int(prog["PAGE_SIZE"].value_())


def _vmalloc(prog: Program, values: Mapping[str, int]) -> int:
    # 7.x counts them by node.
    if "NR_VMALLOC" in values:
        return values["NR_VMALLOC"]
    return int(prog["nr_vmalloc_pages"].counter.value_())


def _present(prog: Program, values: Mapping[str, int]) -> int:
    return sum(
        zone.present_pages.value_() - zone_managed_pages(zone)
        for zone in for_each_populated_zone(prog)
    )


_COUNTERS = (
    _Counter(
        "NR_FREE_PAGES",
        (("free", ""),),
        lambda prog, values: values["NR_FREE_PAGES"],
    ),
    _Counter(
        "per_cpu_pages::count",
        (("free", ON_CPU_LISTS),),
        lambda prog, values: sum(map(zone_pcp_pages, for_each_populated_zone(prog))),
    ),
    # ___kmalloc_large_node() counts there, too.
    _Counter(
        "NR_SLAB_RECLAIMABLE_B + NR_SLAB_UNRECLAIMABLE_B",
        (("slab", None), ("large kmalloc", None)),
        lambda prog, values: (
            values["NR_SLAB_RECLAIMABLE_B"] + values["NR_SLAB_UNRECLAIMABLE_B"]
        ),
    ),
    _Counter(
        "NR_ANON_MAPPED",
        (("anon", None), ("ksm", None)),
        lambda prog, values: values["NR_ANON_MAPPED"],
    ),
    _Counter(
        "NR_FILE_PAGES - NR_SHMEM - NR_SWAPCACHE",
        (("file", None), ("block device", None), ("secretmem", None)),
        lambda prog, values: (
            values["NR_FILE_PAGES"] - values["NR_SHMEM"] - values.get("NR_SWAPCACHE", 0)
        ),
    ),
    _Counter("NR_SHMEM", (("shmem", None),), lambda prog, values: values["NR_SHMEM"]),
    _Counter(
        "NR_SWAPCACHE",
        (("swap cache", None), ("anon", IN_SWAP), ("ksm", IN_SWAP)),
        lambda prog, values: values["NR_SWAPCACHE"],
    ),
    _Counter(
        "hstate::nr_huge_pages",
        (("hugetlb", None),),
        lambda prog, values: hugetlb_total_pages(prog),
    ),
    _Counter(
        "NR_PAGETABLE",
        (("page table", None),),
        lambda prog, values: values["NR_PAGETABLE"],
    ),
    _Counter(
        "NR_KERNEL_STACK_KB",
        (("kernel stack", None),),
        lambda prog, values: values["NR_KERNEL_STACK_KB"] * 1024 // _page_size(prog),
    ),
    _Counter(
        "nr_vmalloc_pages",
        (
            *(("vmalloc", None), ("module", None), ("pagedbg", None)),
            ("kernel stack", None),
        ),
        _vmalloc,
    ),
    _Counter(
        "pcpu_nr_populated * pcpu_nr_units",
        (("per-CPU", None), ("reserved", "per-CPU areas")),
        lambda prog, values: int(
            prog["pcpu_nr_populated"].value_() * prog["pcpu_nr_units"].value_()
        ),
    ),
    _Counter(
        "NR_BALLOON_PAGES",
        (("offline", None),),
        lambda prog, values: values["NR_BALLOON_PAGES"],
    ),
    _Counter(
        "num_poisoned_pages",
        (("hwpoison", None),),
        lambda prog, values: int(prog["num_poisoned_pages"].counter.value_()),
    ),
    # What memblock kept, the page of zeroes among it.
    _Counter(
        "present - managed",
        (
            *(("reserved", reason) for reason in ("kernel image", "memory map")),
            *(("reserved", reason) for reason in ("crash kernel", "swiotlb")),
            *(("reserved", reason) for reason in ("first MiB", "per-CPU areas")),
            ("reserved", "early allocations"),
            ("zero", "kernel image"),
        ),
        _present,
    ),
)


def counted_kinds(prog: Program) -> Iterator[Counted]:
    """
    Iterate over the counters that a kernel has. Those of zones and nodes are with what
    the CPUs have not added yet, so that of a stopped kernel they are exact.
    """
    values = vm_counters(prog)
    for counter, uses, pages in _COUNTERS:
        try:
            yield Counted(counter, uses, pages(prog, values))
        except UNREADABLE:
            continue


def ram_pages(prog: Program) -> int:
    """Return how many pages the zones have present."""
    return sum(
        int(zone.present_pages.value_()) for zone in for_each_populated_zone(prog)
    )

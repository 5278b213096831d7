# SPDX-License-Identifier: GPL-2.0-or-later
"""
Reserved memory
---------------

What the page frames are there for that the buddy allocator was never given: the kernel
does not keep ``memblock.reserved``, so that its other lists have to say it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import numpy as np
from drgn import FaultError, Object, Program
from drgn.helpers.linux.cpumask import for_each_possible_cpu
from drgn.helpers.linux.mm import follow_phys, virt_to_phys
from drgn.helpers.linux.percpu import per_cpu_ptr
from numpy.typing import NDArray

from pagedbg.mm._page_layout import page_layout
from pagedbg.mm._page_names import PageNames
from pagedbg.mm._sections import pages_per_section_shift, sections
from pagedbg.mm.bulk_read import number
from pagedbg.mm.mmzone import zone_spans
from pagedbg.mm.percpu import for_each_pcpu_chunk
from pagedbg.target.links import UNREADABLE

__all__ = ("REASONS", "ReservedMemory")

REASONS = (
    "early allocations",
    "no memory",
    "firmware",
    "kernel image",
    "crash kernel",
    "memory map",
    "per-CPU areas",
    "swiotlb",
    "first MiB",
)
"""
Why memory is reserved. ``early allocations`` is what else memblock handed out: hash
tables, page tables, node data. ``no memory`` is no RAM at all, and ``firmware`` is what
the firmware has kept for itself.
"""

_RAM = "System RAM"
_FIRMWARE = ("Reserved", "ACPI Tables", "ACPI Non-volatile Storage", "reserved")
_FIRST_MIB = 1 << 20
_HUGE = 1 << 21

_Range = tuple[int, int]


class ReservedMemory:
    """
    Says why page frames are reserved; made for one answer and then dropped. What cannot
    be read is taken for early allocations: :attr:`unread` says what that is.

    :param prog: the kernel
    """

    def __init__(self, prog: Program, names: PageNames) -> None:
        self._prog = prog
        self.unread: list[str] = []
        self._shift = number(prog, "PAGE_SHIFT", 18, 12)
        self._resources = names.resources()
        ram = self._named((_RAM,))
        self._starts, self._codes = [0], [REASONS.index("no memory")]
        if not names.resources_whole:
            # Then all that zones span may be RAM.
            self.unread.append("the machine's memory map")
            for span in zone_spans(prog):
                self._cut(span.start_pfn, span.end_pfn, "early allocations")
        for start, end in self._named(_FIRMWARE):
            self._cut(start >> self._shift, -(-end >> self._shift), "firmware")
        for start, end in ram:
            # A page that is RAM only in part is no page of the kernel's.
            self._cut(-(-start >> self._shift), end >> self._shift, "early allocations")
        reasons: tuple[tuple[str, Callable[[], Iterator[_Range]]], ...] = (
            ("first MiB", lambda: self._first_mib(ram)),
            ("swiotlb", self._swiotlb),
            ("per-CPU areas", self._per_cpu),
            ("memory map", self._memory_map),
            ("kernel image", self._image),
            ("crash kernel", lambda: iter(self._named(("Crash kernel",)))),
        )
        for reason, ranges in reasons:
            try:
                for start, end in ranges():
                    self._cut(start >> self._shift, -(-end >> self._shift), reason)
            except UNREADABLE:
                self.unread.append(reason)
        self._bounds = np.array(self._starts, np.int64)
        self._reasons = np.array(self._codes, np.uint8)

    def find(self, pfns: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return why page frames would be reserved: places in :data:`REASONS`."""
        at = np.searchsorted(self._bounds, pfns, side="right") - 1
        found: NDArray[np.uint8] = self._reasons[np.maximum(at, 0)]
        return found

    def _cut(self, start: int, end: int, reason: str) -> None:
        """Give a range of page frames a reason, in place of what it had."""
        if start >= end:
            return
        i = int(np.searchsorted(self._starts, start, side="left"))
        j = int(np.searchsorted(self._starts, end, side="right"))
        behind = self._codes[j - 1]
        starts, codes = [start], [REASONS.index(reason)]
        if j == len(self._starts) or self._starts[j] != end:
            starts.append(end)
            codes.append(behind)
        self._starts[i:j], self._codes[i:j] = starts, codes

    def _named(self, names: tuple[str, ...]) -> list[_Range]:
        """The physical addresses of resources that have one of some names."""
        return [
            (start, last + 1) for start, last, name in self._resources if name in names
        ]

    def _first_mib(self, ram: list[_Range]) -> Iterator[_Range]:
        # x86 keeps it from the allocator, since firmware writes there:
        # reserve_real_mode() in arch/x86/realmode/init.c.
        for start, end in ram:
            if start < _FIRST_MIB:
                # A page that is RAM in part stays the firmware's.
                page = 1 << self._shift
                yield start, min(end & -page, _FIRST_MIB)

    def _image(self) -> Iterator[_Range]:
        """From the first to the last byte, as /proc/iomem has its parts."""
        parts = self._named(
            ("Kernel code", "Kernel rodata", "Kernel data", "Kernel bss")
        )
        if not parts:
            return
        start, end = min(parts)[0], max(part[1] for part in parts)
        with contextlib.suppress(LookupError):
            # With what x86 has used of .brk, which has no resource.
            brk = self._prog["_brk_end"].value_()
            end = max(end, start + brk - self._prog.symbol("_text").address)
        yield start, end

    def _per_cpu(self) -> Iterator[_Range]:
        """
        The units of the first chunk, which begin with the kernel's own per-CPU
        variables. Of all populated pages of a unit, the other chunks have theirs.
        """
        start = self._prog.symbol("__per_cpu_start").address
        pages = number(self._prog, "pcpu_nr_populated", 1 << 32) - sum(
            int(chunk.nr_populated)
            for chunk in for_each_pcpu_chunk(self._prog)
            if not chunk.immutable
        )
        size = max(pages, 0) << self._shift
        type_ = self._prog.pointer_type(self._prog.type("char"))
        variable = Object(self._prog, type_, start)
        for cpu in for_each_possible_cpu(self._prog):
            unit = virt_to_phys(per_cpu_ptr(variable, cpu)).value_()
            yield unit, unit + size

    def _swiotlb(self) -> Iterator[_Range]:
        try:
            memory = self._prog["io_tlb_default_mem"]
        except LookupError:
            return
        # Since Linux kernel commit 158dbe9c9a3d ("swiotlb: separate memory pool data
        # from other allocator data") (in v6.6).
        if memory.type_.has_member("defpool"):
            memory = memory.defpool
        yield memory.start.value_(), memory.end.value_()

    def _memory_map(self) -> Iterator[_Range]:
        """The pages that hold the ``struct page`` of all pages."""
        prog = self._prog
        layout = page_layout(prog)
        try:
            shift = pages_per_section_shift(prog)
            numbers = [nr for nr, _ in sections(prog, "section_mem_map")]
        except LookupError:
            # CONFIG_FLATMEM
            start = virt_to_phys(prog, layout.page0).value_()
            yield start, start + number(prog, "max_pfn", 1 << 52) * layout.size
            return
        for nr in numbers:
            start = layout.address(nr << shift)
            end = start + (layout.size << shift)
            for address in range(start & -_HUGE, end, _HUGE):
                yield from self._mapped(max(address, start), min(address + _HUGE, end))

    def _mapped(self, start: int, end: int) -> Iterator[_Range]:
        """Where a stretch of virtual addresses is, huge page or not."""
        step = 1 << self._shift
        first, last = self._phys(start), self._phys(end - step)
        if (
            first is not None
            and last is not None
            and last - first == end - step - start
        ):
            yield first, last + step
            return
        for address in range(start, end, step):
            phys = self._phys(address)
            if phys is not None:
                yield phys, phys + step

    def _phys(self, address: int) -> int | None:
        try:
            return int(follow_phys(self._prog["init_mm"].address_of_(), address))
        except FaultError:
            return None

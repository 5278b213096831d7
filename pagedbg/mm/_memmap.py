# SPDX-License-Identifier: GPL-2.0-or-later
"""
Which page frames have a ``struct page``: the memory map, its sections and subsections
(``include/linux/mmzone.h``).
"""

from __future__ import annotations

from collections.abc import Iterator

from drgn import Program, sizeof
from drgn.helpers.linux.mmzone import nr_to_section

from pagedbg.mm._sections import pages_per_section_shift, section_flag, sections
from pagedbg.mm.bulk_read import number

__all__ = ("segments",)


def segments(prog: Program, start: int, end: int) -> Iterator[tuple[int, int, str]]:
    """
    Cut page frames into stretches (first, one after the last, kind).

    :return: The kind is empty where the stretch has pages, else one of
        :data:`pagedbg.mm.page_state.ABSENT`.
    """
    try:
        prog.symbol("mem_section")
    except LookupError:
        # CONFIG_FLATMEM
        first = prog["ARCH_PFN_OFFSET"].value_()
        valid = [(first, first + prog["max_mapnr"].value_(), "")]
    else:
        valid = list(_sparse_segments(prog, start, end))
    last_pfn = prog["max_pfn"].value_()
    at = start
    for a, b, kind in valid:
        a, b = max(a, at), min(b, end)
        if a >= b:
            continue
        yield from _absent(at, a, last_pfn)
        yield a, b, kind
        at = b
    yield from _absent(at, end, last_pfn)


def _absent(start: int, end: int, last_pfn: int) -> Iterator[tuple[int, int, str]]:
    if start < min(end, last_pfn):
        yield start, min(end, last_pfn), "hole"
    if max(start, last_pfn) < end:
        yield max(start, last_pfn), end, "beyond the end"


def _sparse_segments(
    prog: Program, start: int, end: int
) -> Iterator[tuple[int, int, str]]:
    online, early = (
        section_flag(prog, "SECTION_IS_ONLINE"),
        section_flag(prog, "SECTION_IS_EARLY"),
    )
    last_pfn = prog["max_pfn"].value_()
    shift = pages_per_section_shift(prog)
    for nr, mem_map in sections(
        prog, "section_mem_map", start >> shift, ((end - 1) >> shift) + 1
    ):
        a, b = nr << shift, (nr + 1) << shift
        kind = "" if mem_map & online else "offline section"
        if mem_map & early:
            # Its memory map is whole, though memory may end within it.
            yield a, min(b, last_pfn), kind
        else:
            yield from ((a + c, a + d, kind) for c, d in _subsections(prog, nr, b - a))


def _subsections(prog: Program, nr: int, pages: int) -> Iterator[tuple[int, int]]:
    """
    Iterate over the parts of a section, as page numbers in it, that memory was added to
    later (``pfn_section_valid()``).
    """
    usage = nr_to_section(prog, nr).usage.read_()
    try:
        words = [w.value_() for w in usage.subsection_map]
    except AttributeError:
        # CONFIG_SPARSEMEM_VMEMMAP=n
        yield 0, pages
        return
    bits = 8 * sizeof(prog.type("unsigned long"))
    bitmap = sum(w << (i * bits) for i, w in enumerate(words))
    # SUBSECTION_SHIFT is 21 everywhere: 2 MiB.
    step = 1 << (21 - number(prog, "PAGE_SHIFT", 18, 12))
    for i in range(pages // step):
        if bitmap >> i & 1:
            yield i * step, (i + 1) * step

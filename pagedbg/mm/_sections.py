# SPDX-License-Identifier: GPL-2.0-or-later
"""
Reading ``mem_section``, the table of memory sections (SPARSEMEM), in large pieces.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
from drgn import Program, TypeKind, sizeof

from pagedbg.mm.bulk_read import (
    byte_order,
    number,
    offset_of,
    read_array,
    record_dtype,
)

__all__ = ("pages_per_section_shift", "section_flag", "sections")


# They never changed.
_SECTION_FLAGS = {
    "SECTION_HAS_MEM_MAP": 0x2,
    "SECTION_IS_ONLINE": 0x4,
    "SECTION_IS_EARLY": 0x8,
}


def pages_per_section_shift(prog: Program) -> int:
    """
    Return ``PFN_SECTION_SHIFT``, the base-2 logarithm of the number of pages in a
    section.
    """
    return number(prog, "SECTION_SIZE_BITS", 40, 12) - number(
        prog, "PAGE_SHIFT", 18, 12
    )


def section_flag(prog: Program, name: str) -> int:
    """
    Return a flag in the low bits of ``mem_section::section_mem_map``, such as
    ``SECTION_IS_ONLINE``.
    """
    try:
        return 1 << number(prog, f"{name}_BIT", 63)
    except LookupError:
        # Macros before Linux kernel commit ed7802dd48f7 ("mm: memory_hotplug: enumerate
        # all supported section flags") (in v6.0).
        return _SECTION_FLAGS[name]


def sections(
    prog: Program, member: str, start_nr: int = 0, end_nr: int | None = None
) -> Iterator[tuple[int, int]]:
    """
    Iterate over the sections that have a memory map, as (section number, value of the
    pointer ``mem_section::member``).

    ``mem_section`` is ``struct mem_section **`` with CONFIG_SPARSEMEM_EXTREME, else
    ``struct mem_section [][1]``.
    """
    section_type = prog.type("struct mem_section")
    word = f"{byte_order(prog)}u{sizeof(prog.type('unsigned long'))}"
    dtype = record_dtype(
        {
            "map": (word, offset_of(section_type, "section_mem_map")),
            "member": (word, offset_of(section_type, member)),
        },
        sizeof(section_type),
    )
    has_map = np.uint64(section_flag(prog, "SECTION_HAS_MEM_MAP"))
    last_nr = min(
        prog["__highest_present_section_nr"].value_(),
        (
            1
            << number(prog, "MAX_PHYSMEM_BITS", 64, 12)
            >> number(prog, "SECTION_SIZE_BITS", 40, 12)
        )
        - 1,
    )
    # There is memory up to max_pfn, which adding some moves. If the table is damaged it
    # has a section wherever one looks.
    with contextlib.suppress(LookupError):
        last_nr = min(
            last_nr, number(prog, "max_pfn", 1 << 52) >> pages_per_section_shift(prog)
        )
    end_nr = last_nr + 1 if end_nr is None else min(end_nr, last_nr + 1)
    per_root = number(prog, "SECTIONS_PER_ROOT", 1 << 16, 1)
    for root_nr, address in _roots(prog, start_nr // per_root, -(-end_nr // per_root)):
        table, known = read_array(prog, address, per_root, dtype)
        for i in np.flatnonzero(known & (table["map"] & has_map != 0)):
            nr = root_nr * per_root + int(i)
            if start_nr <= nr < end_nr:
                yield nr, int(table["member"][i])


def _roots(prog: Program, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The parts of the table that there are, as (number, address)."""
    mem_section = prog["mem_section"]
    if mem_section.type_.unaliased_kind() != TypeKind.POINTER:
        yield from (
            (root_nr, mem_section[root_nr].address_) for root_nr in range(start, end)
        )
    elif mem_section and start < end:
        word = np.dtype(f"{byte_order(prog)}u{sizeof(mem_section.type_)}")
        addresses, _ = read_array(
            prog, mem_section.value_() + word.itemsize * start, end - start, word
        )
        yield from (
            (start + int(i), int(addresses[i])) for i in np.flatnonzero(addresses)
        )

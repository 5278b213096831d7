# SPDX-License-Identifier: GPL-2.0-or-later
"""
Pageblocks
----------

Helpers for ``include/linux/pageblock-flags.h``: the migratetype of each block of pages
that the allocator groups by mobility.
"""

from __future__ import annotations

import itertools
import operator
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
from drgn import IntegerLike, Object, Program, sizeof
from drgn.helpers.common.prog import takes_program_or_default
from drgn.helpers.linux.mm import page_to_pfn
from numpy.typing import NDArray

from pagedbg.mm._sections import pages_per_section_shift, sections
from pagedbg.mm.bulk_read import array_length, byte_order, number, offset_of, read_array
from pagedbg.mm.mmzone import for_each_populated_zone, zone_end_pfn
from pagedbg.target.links import Damaged

__all__ = (
    "NO_MIGRATETYPE",
    "get_pageblock_migratetype",
    "get_pfnblock_migratetype",
    "max_page_order",
    "migratetype_of_pfns",
    "pageblock_end_pfn",
    "pageblock_migratetypes",
    "pageblock_nr_pages",
    "pageblock_order",
    "pageblock_start_pfn",
)

NO_MIGRATETYPE = 0xFF
"""
Stands for the migratetype of a pageblock that does not exist or could not be read.
"""


# CONFIG_ARCH_FORCE_MAX_ORDER is 13 at most with pages of 4 KiB, and 10 with larger
# ones.
_MOST_ORDERS = 32


def _has(prog: Program, name: str) -> bool:
    """Return whether there is an enumerator or an object of that name."""
    try:
        prog[name]
    except LookupError:
        return False
    return True


def _has_symbol(prog: Program, name: str) -> bool:
    try:
        prog.symbol(name)
    except LookupError:
        return False
    return True


def _block_bits(prog: Program) -> int:
    """
    Return ``NR_PAGEBLOCK_BITS``, the bits kept for a pageblock: 4, or 8 where isolation
    has a bit of its own.
    """
    # Since "mm/page_isolation: make page isolation a standalone bit" (in v6.17), the
    # enumerator is __NR_PAGEBLOCK_BITS, and NR_PAGEBLOCK_BITS the macro
    # roundup_pow_of_two() of it.
    try:
        bits = number(prog, "__NR_PAGEBLOCK_BITS", 8, 4)
    except LookupError:
        bits = number(prog, "NR_PAGEBLOCK_BITS", 8, 4)
    return 1 << (int(bits) - 1).bit_length()


def _usage_stride(prog: Program) -> int | None:
    """
    Return the size of ``struct mem_section_usage`` with its bitmap, as the distance
    that most early sections' have: the kernel lays them out one after the other
    (``sparse_init_nid()``). ``None`` where there are too few sections.
    """
    usages = [usage for _, usage in sections(prog, "usage")]
    distances = Counter(b - a for a, b in itertools.pairwise(usages) if b > a)
    if not distances:
        return None
    stride, count = distances.most_common(1)[0]
    return stride if stride < 65536 and (count > 1 or len(usages) < 4) else None


@takes_program_or_default
def max_page_order(prog: Program) -> int:
    """
    Return ``MAX_PAGE_ORDER``, the largest order of the buddy allocator, from ``struct
    free_area zone::free_area[NR_PAGE_ORDERS]``.
    """
    length = array_length(prog.type("struct zone").member("free_area").type)
    if not length or length > _MOST_ORDERS:
        raise Damaged(
            "the types of this kernel are damaged: struct zone has no free areas, or"
            " too many"
        )
    return length - 1


@takes_program_or_default
def pageblock_order(prog: Program) -> int:
    """
    Return ``pageblock_order``, the order of a pageblock: 9 on x86-64.

    It is a variable only where huge pages vary in size
    (``CONFIG_HUGETLB_PAGE_SIZE_VARIABLE``). Elsewhere it is a macro, of which the size
    of a section's bitmap tells; failing that, it is worked out as the macro does: the
    order of a huge page, capped.
    """
    try:
        return prog.cache["pagedbg_pageblock_order"]  # type: ignore[no-any-return]
    except KeyError:
        pass
    order = None
    if _has_symbol(prog, "pageblock_order"):
        order = number(prog, "pageblock_order", _MOST_ORDERS, 1)
    else:
        max_order = max_page_order(prog)
        page_shift = prog["PAGE_SHIFT"].value_()
        # PMD_SHIFT - PAGE_SHIFT: one page of page table entries.
        pmd_order = page_shift - (sizeof(prog.type("unsigned long")).bit_length() - 1)
        huge = _has_symbol(prog, "hugetlb_max_hstate") or _has_symbol(
            prog, "transparent_hugepage_flags"
        )
        order = min(pmd_order, max_order) if huge else max_order
        stride = _usage_stride(prog) if _has_symbol(prog, "mem_section") else None
        if stride is not None:
            # SECTION_BLOCKFLAGS_BITS = (1 << (PFN_SECTION_SHIFT - pageblock_order)) *
            # NR_PAGEBLOCK_BITS, rounded up to whole longs
            bits = (stride - sizeof(prog.type("struct mem_section_usage"))) * 8
            blocks = bits // _block_bits(prog)
            measured = pages_per_section_shift(prog) - (blocks.bit_length() - 1)
            word = 8 * sizeof(prog.type("unsigned long"))
            if (
                blocks > 0
                and blocks & (blocks - 1) == 0
                and 0 < measured <= max_order
                and bits > word
            ):
                order = measured
    prog.cache["pagedbg_pageblock_order"] = order
    return order


@takes_program_or_default
def pageblock_nr_pages(prog: Program) -> int:
    """Return the number of pages in a pageblock."""
    return 1 << pageblock_order(prog)


@takes_program_or_default
def pageblock_start_pfn(prog: Program, pfn: IntegerLike) -> int:
    """Return the first page frame number of the pageblock that *pfn* is in."""
    return operator.index(pfn) & -pageblock_nr_pages(prog)


@takes_program_or_default
def pageblock_end_pfn(prog: Program, pfn: IntegerLike) -> int:
    """Return the first page frame number after the pageblock that *pfn* is in."""
    return pageblock_start_pfn(prog, pfn) + pageblock_nr_pages(prog)


def _bitmaps(
    prog: Program, start_pfn: int, end_pfn: int
) -> Iterator[tuple[int, int, int]]:
    """
    Iterate over the pageblock bitmaps that cover some pages, as (first pfn, pfn after
    the last, address of ``unsigned long []``).
    """
    if _has_symbol(prog, "mem_section"):
        shift = pages_per_section_shift(prog)
        offset = offset_of(prog.type("struct mem_section_usage"), "pageblock_flags")
        for nr, usage in sections(
            prog, "usage", start_pfn >> shift, ((end_pfn - 1) >> shift) + 1
        ):
            if usage:
                yield nr << shift, (nr + 1) << shift, usage + offset
    else:
        # CONFIG_FLATMEM
        for zone in for_each_populated_zone(prog):
            bitmap = zone.pageblock_flags.value_()
            first = pageblock_start_pfn(prog, zone.zone_start_pfn)
            end = zone_end_pfn(zone)
            if bitmap and first < end_pfn and start_pfn < end:
                yield first, end, bitmap


@takes_program_or_default
def pageblock_migratetypes(
    prog: Program, start_pfn: IntegerLike, end_pfn: IntegerLike
) -> NDArray[np.uint8]:
    """
    Return the ``enum migratetype`` of every pageblock from the one of *start_pfn* to
    the one of ``end_pfn - 1``, and
    :data:`NO_MIGRATETYPE` for those that do not exist or cannot be read.

    The bits are in ``mem_section_usage::pageblock_flags`` (SPARSEMEM) or
    ``zone::pageblock_flags`` (FLATMEM), see ``get_pfnblock_migratetype()`` in
    ``mm/page_alloc.c``.
    """
    start, end = operator.index(start_pfn), operator.index(end_pfn)
    if end <= start:
        return np.zeros(0, np.uint8)
    order = pageblock_order(prog)
    first_block, end_block = start >> order, -(-end >> order)
    result = np.full(end_block - first_block, NO_MIGRATETYPE, np.uint8)
    bits = _block_bits(prog)
    # The migratetype is in the bits below the one that compaction uses,
    # PB_migrate_0..2. In v6.17 that one was renamed, and isolation became a bit of its
    # own that hides the migratetype.
    try:
        mask = (1 << number(prog, "PB_compact_skip", 7)) - 1
    except LookupError:
        mask = (1 << number(prog, "PB_migrate_skip", 7)) - 1
    isolate_bit = isolate = 0
    if _has(prog, "PB_migrate_isolate"):
        isolate_bit = 1 << number(prog, "PB_migrate_isolate", 7)
        isolate = number(prog, "MIGRATE_ISOLATE", NO_MIGRATETYPE)
    word_size = sizeof(prog.type("unsigned long"))
    word = np.dtype(f"{byte_order(prog)}u{word_size}")
    per_word = 8 * word_size // bits
    shifts = np.arange(per_word, dtype=np.uint64) * np.uint64(bits)
    for bitmap_pfn, bitmap_end, address in _bitmaps(prog, start, end):
        # Blocks [a, b) of the bitmap, extended to whole words.
        a = max(first_block - (bitmap_pfn >> order), 0)
        b = min(
            end_block - (bitmap_pfn >> order), -(-(bitmap_end - bitmap_pfn) >> order)
        )
        first_word, end_word = a // per_word, -(-b // per_word)
        words, known = read_array(
            prog, address + first_word * word_size, end_word - first_word, word
        )
        flags = (
            (words.astype(np.uint64)[:, None] >> shifts).astype(np.uint8).reshape(-1)
        )
        types = flags & np.uint8(mask)
        if isolate_bit:
            types = np.where(flags & np.uint8(isolate_bit), np.uint8(isolate), types)
        types = np.where(np.repeat(known, per_word), types, np.uint8(NO_MIGRATETYPE))
        to = a + (bitmap_pfn >> order) - first_block
        result[to : to + b - a] = types[
            a - first_word * per_word : b - first_word * per_word
        ]
    return result


@takes_program_or_default
def migratetype_of_pfns(prog: Program, pfns: NDArray[Any]) -> NDArray[np.uint8]:
    """
    Return the ``enum migratetype`` of the pageblocks of many page frames, as
    :func:`pageblock_migratetypes()` does.
    """
    result = np.full(len(pfns), NO_MIGRATETYPE, np.uint8)
    if len(pfns):
        order = np.uint64(pageblock_order(prog))
        blocks = np.ascontiguousarray(pfns, np.uint64) >> order
        first = int(blocks.min())
        types = pageblock_migratetypes(
            prog, first << int(order), (int(blocks.max()) + 1) << int(order)
        )
        result = types[(blocks - np.uint64(first)).astype(np.intp)]
    return result


@takes_program_or_default
def get_pfnblock_migratetype(prog: Program, pfn: IntegerLike) -> int:
    """
    Return the migratetype of the pageblock that a page frame is in, or
    :data:`NO_MIGRATETYPE`.

    :return: ``enum migratetype``
    """
    pfn = operator.index(pfn)
    return int(pageblock_migratetypes(prog, pfn, pfn + 1)[0])


def get_pageblock_migratetype(page: Object) -> int:
    """
    Return the migratetype of the pageblock that a page is in, or
    :data:`NO_MIGRATETYPE`.

    :param page: ``struct page *``
    :return: ``enum migratetype``
    """
    return get_pfnblock_migratetype(page.prog_, page_to_pfn(page))

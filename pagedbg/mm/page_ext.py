# SPDX-License-Identifier: GPL-2.0-or-later
"""
Extended page data
------------------

Helpers for ``include/linux/page_ext.h``: the per-page bytes that debugging features
keep beside ``struct page``.

Their array is not indexed like ``struct page``: each memory section (SPARSEMEM) or node
(FLATMEM) has its own.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from drgn import NULL, IntegerLike, Object, Program
from drgn.helpers.common.prog import takes_program_or_default
from drgn.helpers.linux.mm import page_to_pfn
from drgn.helpers.linux.mmzone import for_each_online_pgdat
from numpy.typing import NDArray

from pagedbg.errors import PagedbgError
from pagedbg.mm._sections import pages_per_section_shift, sections
from pagedbg.mm.bulk_read import read_array
from pagedbg.mm.pageblock_flags import max_page_order
from pagedbg.progress import measured

__all__ = (
    "PageExtRange",
    "PageExtRanges",
    "for_each_page_ext_range",
    "lookup_page_ext",
    "page_ext_size",
    "pfn_to_page_ext",
    "read_page_ext",
)

# All clients together have some hundred bytes.
_GREATEST_SIZE = 4096

# mm/page_ext.c, PAGE_EXT_INVALID: set in the section's pointer while its memory goes
# offline.
_PAGE_EXT_INVALID = 0x1

# One read: some 2 MiB, which processors' caches hold until they have been looked at. A
# section of x86-64 has as many pages.
_PAGES_PER_READ = 1 << 15


class PageExtRange(NamedTuple):
    """
    The page_ext of pages ``start_pfn <= pfn < end_pfn`` is an array at ``address``.
    """

    start_pfn: int
    end_pfn: int
    address: int


@takes_program_or_default
def page_ext_size(prog: Program) -> int:
    """
    Return the number of bytes kept for each page: ``struct page_ext`` and the data of
    its clients (``unsigned long page_ext_size``).
    """
    size: int = prog["page_ext_size"].value_()
    if not 0 < size <= _GREATEST_SIZE:
        raise PagedbgError(
            f"page_ext_size is {size}, which cannot be: the memory of this kernel is"
            " damaged."
        )
    return size


@takes_program_or_default
def for_each_page_ext_range(
    prog: Program, start_pfn: int = 0, end_pfn: int | None = None
) -> Iterator[PageExtRange]:
    """
    Iterate over the arrays that hold the page_ext of the given pages, in order of page
    frame numbers.

    Sections without page_ext, or whose page_ext is being taken away, are passed over
    (``lookup_page_ext()`` in ``mm/page_ext.c``).
    """
    size = page_ext_size(prog)
    limit = end_pfn if end_pfn is not None else 1 << 64
    for found in _arrays(prog, size, start_pfn, limit):
        part = _clipped(found, start_pfn, limit, size)
        if part is not None:
            yield part


def _clipped(
    array: PageExtRange, start_pfn: int, end_pfn: int, size: int
) -> PageExtRange | None:
    """Those of some pages, None if there are none."""
    start, end = max(array.start_pfn, start_pfn), min(array.end_pfn, end_pfn)
    if start >= end:
        return None
    return PageExtRange(start, end, array.address + size * (start - array.start_pfn))


class PageExtRanges:
    """
    The arrays of a kernel, looked up once: :func:`for_each_page_ext_range` reads the
    table of all sections.
    """

    def __init__(self, prog: Program) -> None:
        self._size = page_ext_size(prog)
        self._arrays = list(for_each_page_ext_range(prog))
        self._ends = [array.end_pfn for array in self._arrays]

    def between(self, start_pfn: int, end_pfn: int | None) -> list[PageExtRange]:
        """The same as :func:`for_each_page_ext_range`."""
        limit = end_pfn if end_pfn is not None else 1 << 64
        found = []
        for i in range(bisect.bisect_right(self._ends, start_pfn), len(self._arrays)):
            part = _clipped(self._arrays[i], start_pfn, limit, self._size)
            if part is None:
                break
            found.append(part)
        return found


def _arrays(
    prog: Program, size: int, start_pfn: int, end_pfn: int
) -> Iterator[PageExtRange]:
    if _sparse(prog):
        shift = pages_per_section_shift(prog)
        for nr, base in sections(
            prog,
            "page_ext",
            start_pfn >> shift,
            None if end_pfn == 1 << 64 else -(-end_pfn >> shift),
        ):
            if base and not base & _PAGE_EXT_INVALID:
                # The stored base is biased: it is indexed by the pfn itself and may lie
                # below zero.
                first = nr << shift
                yield PageExtRange(
                    first,
                    (nr + 1) << shift,
                    (base + size * first) & 0xFFFFFFFFFFFFFFFF,
                )
    else:
        # CONFIG_FLATMEM
        block = 1 << max_page_order(prog)
        for pgdat in for_each_online_pgdat(prog):
            base = pgdat.node_page_ext.value_()
            if base:
                # mm/page_ext.c, alloc_node_page_ext(): the array begins at the block
                # that the node begins in, and holds whole blocks.
                first = pgdat.node_start_pfn.value_() // block * block
                yield PageExtRange(
                    first,
                    pgdat.node_start_pfn.value_() + pgdat.node_spanned_pages.value_(),
                    base,
                )


def _sparse(prog: Program) -> bool:
    try:
        section = prog.type("struct mem_section")
    except LookupError:
        return False
    return bool(section.has_member("page_ext"))


@takes_program_or_default
def pfn_to_page_ext(prog: Program, pfn: IntegerLike) -> Object:
    """
    Return the page_ext of a page frame.

    :return: ``struct page_ext *``, NULL if it has none
    """
    pfn = int(pfn)
    for found in for_each_page_ext_range(prog, pfn, pfn + 1):
        return Object(prog, "struct page_ext *", found.address)
    return NULL(prog, "struct page_ext *")


def lookup_page_ext(page: Object) -> Object:
    """
    Return the page_ext of a page.

    :param page: ``struct page *``
    :return: ``struct page_ext *``, NULL if it has none
    """
    return pfn_to_page_ext(page.prog_, page_to_pfn(page))


@takes_program_or_default
def read_page_ext(
    prog: Program,
    dtype: np.dtype[Any],
    start_pfn: int = 0,
    end_pfn: int | None = None,
    ranges: PageExtRanges | None = None,
) -> Iterator[tuple[int, NDArray[Any], NDArray[np.bool_]]]:
    """
    Read page_ext in bulk, some 2 MiB at a time.

    :param dtype: how to view a page's bytes; its ``itemsize`` is :func:`page_ext_size`
    :param ranges: where the arrays are, for who reads many pieces
    :return: Pieces in order of page frame numbers: the first pfn, an array with an
        element a page, and for each whether it could be read (if not, what is missing
        is zero)
    """
    parts = (
        list(for_each_page_ext_range(prog, start_pfn, end_pfn))
        if ranges is None
        else ranges.between(start_pfn, end_pfn)
    )
    total = sum(found.end_pfn - found.start_pfn for found in parts)
    with measured("reading records of pages", total, "pages") as advance:
        for found in parts:
            for pfn in range(found.start_pfn, found.end_pfn, _PAGES_PER_READ):
                count = min(_PAGES_PER_READ, found.end_pfn - pfn)
                records, known = read_array(
                    prog,
                    found.address + dtype.itemsize * (pfn - found.start_pfn),
                    count,
                    dtype,
                )
                yield pfn, records, known
                advance(count)

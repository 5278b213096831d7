# SPDX-License-Identifier: GPL-2.0-or-later
"""
Maps of our BPF programs, found by their names in all memory of the kernel: the last
resort where what leads to them is not in a dump. ``array_map_alloc()`` of
``kernel/bpf/arraymap.c`` puts the values of an array that can be mapped at the
beginning of a page, and ``struct bpf_array`` right before.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from drgn import Object, Program
from drgn.helpers.linux.mm import for_each_vmap_area, pfn_to_virt
from numpy.typing import NDArray

from pagedbg.mm.bulk_read import number, offset_of, read_array
from pagedbg.mm.page_array import PageDecoder
from pagedbg.target.links import UNREADABLE, bounded

__all__ = ("map_groups",)

_NAME = b"pagedbg_"

# What vmalloc() handed out, also where its areas cannot be read.
_KINDS = ("kernel", "vmalloc", "unknown")

# 1 MiB.
_PAGES = 256

# As many maps as 16 recorders have, with some that are being freed.
_MOST = 128


def map_groups(prog: Program) -> list[dict[str, Object]]:
    """
    Return the maps of each recorder, by their names: those of one are made one after
    the other.
    """
    groups: list[dict[str, Object]] = []
    found = {each.value_(): each for each in _maps(prog)}
    for each in sorted(found.values(), key=lambda each: each.id.value_()):
        name = each.name.string_().decode("ascii", "replace")
        if not groups or name in groups[-1]:
            groups.append({})
        groups[-1][name] = each
    return [group for group in groups if "pagedbg_header" in group]


def _maps(prog: Program) -> Iterator[Object]:
    kind = prog.type("struct bpf_map")
    name_at = offset_of(kind, "name")
    for address in _addresses(prog):
        try:
            if prog.read(address + name_at, len(_NAME)) == _NAME:
                yield Object(prog, kind, address=address).address_of_()
        except UNREADABLE:
            continue


def _addresses(prog: Program) -> Iterator[int]:
    """Where maps may be."""
    page = number(prog, "PAGE_SIZE", 1 << 18, 1 << 12)
    at = page - offset_of(prog.type("struct bpf_array"), "value")
    mutex = prog.type("struct mutex")
    if not mutex.has_member("wait_list"):
        # In 7.3 nothing in a map says where it is.
        yield from _in_vmalloc(prog, at)
        return
    kind = prog.type("struct bpf_map")
    itself = offset_of(kind, "freeze_mutex") + offset_of(mutex, "wait_list")
    dtype = np.dtype(
        {
            "names": ("name", "itself"),
            "formats": (f"S{len(_NAME)}", "<u8"),
            "offsets": (at + offset_of(kind, "name"), at + itself),
            "itemsize": page,
        }
    )
    left = _MOST
    for pages in _pages(prog, dtype):
        for address in pages["itself"][pages["name"] == _NAME].tolist():
            if left and (address - itself) % page == at:
                left -= 1
                yield address - itself


def _pages(prog: Program, dtype: np.dtype[Any]) -> Iterator[NDArray[Any]]:
    """The contents of pages of the kernel."""
    for pages in PageDecoder(prog).pieces(0, prog["max_pfn"].value_()):
        codes = [pages.kinds.index(kind) for kind in _KINDS if kind in pages.kinds]
        pfns = pages.first + np.flatnonzero(np.isin(pages.kind, codes))
        for run in np.split(pfns, np.flatnonzero(np.diff(pfns) != 1) + 1):
            for some in np.split(run, range(_PAGES, len(run), _PAGES)):
                if len(some):
                    address = pfn_to_virt(prog, int(some[0])).value_()
                    found, known = read_array(prog, address, len(some), dtype)
                    yield found[known]


def _in_vmalloc(prog: Program, at: int) -> Iterator[int]:
    try:
        for area in bounded(for_each_vmap_area(prog)):
            yield area.va_start.value_() + at
    except UNREADABLE:
        # As many of them as there are.
        return

# SPDX-License-Identifier: GPL-2.0-or-later
"""
BPF ring buffers
----------------

Helpers for ``include/linux/bpf.h``: the pages of ring buffers of BPF programs, which
are mapped twice behind each other and so no area of ``vmalloc()``.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from drgn import Object, Program, container_of
from drgn.helpers.linux.bpf import bpf_map_for_each
from numpy.typing import NDArray

from pagedbg.mm._direct_map import check_pages
from pagedbg.mm._page_layout import page_layout
from pagedbg.mm.bulk_read import byte_order, read_array
from pagedbg.target.links import bounded

__all__ = ("for_each_bpf_ringbuf",)

_TYPES = ("BPF_MAP_TYPE_RINGBUF", "BPF_MAP_TYPE_USER_RINGBUF")


def for_each_bpf_ringbuf(prog: Program) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """
    Iterate over the maps of BPF programs that are ring buffers: the name of each, or
    its number where it has none, and its pages.
    """
    types = []
    for name in _TYPES:
        try:
            types.append(prog.constant(name).value_())
        except LookupError:
            # CONFIG_BPF_SYSCALL=n, or before v6.1.
            continue
    if not types:
        return
    for map_ in bounded(bpf_map_for_each(prog)):
        if map_.map_type.value_() in types:
            ring = container_of(map_, "struct bpf_ringbuf_map", "map").rb.read_()
            name = map_.name.string_().decode("utf-8", "backslashreplace")
            yield name or str(map_.id.value_()), _pages(ring)


def _pages(ring: Object) -> NDArray[np.int64]:
    """The pages of a ``struct bpf_ringbuf *``."""
    prog, count = ring.prog_, ring.nr_pages.value_()
    check_pages(prog, count, "a BPF ring buffer")
    word = np.dtype(f"{byte_order(prog)}u8")
    pages, known = read_array(prog, ring.pages.value_(), count, word)
    return page_layout(prog).pfns(pages[known].astype(np.uint64))

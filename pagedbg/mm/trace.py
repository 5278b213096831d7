# SPDX-License-Identifier: GPL-2.0-or-later
"""
Tracing buffers
---------------

Helpers for ``kernel/trace/trace.h`` and ``include/linux/ring_buffer.h``: the memory
that traces are written to.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
from drgn import Object, Program, Type, TypeKind, sizeof
from drgn.helpers.linux.cpumask import for_each_possible_cpu
from drgn.helpers.linux.list import list_for_each_entry
from drgn.helpers.linux.mm import in_direct_map, virt_to_pfn
from numpy.typing import NDArray

from pagedbg.mm._direct_map import (
    block_pfns,
    check_pages,
    direct_pfns,
    pfns_of_block,
    together,
)
from pagedbg.mm.bulk_read import c_string, number, offset_of
from pagedbg.target.links import bounded

__all__ = ("for_each_trace_array", "saved_cmdlines_pfns")

# RB_FLAG_MASK: what the pointer to the next page says besides.
_FLAGS = 3


def for_each_trace_array(prog: Program) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """
    Iterate over the instances of the tracer: the name of each, none of what is always
    there, and the pages of its ring buffers.
    """
    try:
        arrays = prog["ftrace_trace_arrays"]
    except LookupError:
        # CONFIG_TRACING=n
        return
    # One for events, and where the kernel can keep one, a snapshot of it.
    buffers = [
        member.name
        for member in prog.type("struct trace_array").members or ()
        if member.name and _is_buffer(member.type)
    ]
    cpus = list(for_each_possible_cpu(prog))
    for array in bounded(
        list_for_each_entry("struct trace_array", arrays.address_of_(), "list")
    ):
        name = array.name.read_()
        parts = []
        for member in buffers:
            buffer = array.member_(member).buffer.read_()
            if buffer:
                parts += [_ring_pages(each) for each in _rings(buffer, cpus)]
        text = c_string(name).decode("utf-8", "backslashreplace") if name else ""
        yield text, together(parts)
    # What is written to while a buffer changes its size.
    with contextlib.suppress(LookupError):
        spare = prog["temp_buffer"].read_()
        if spare:
            yield "", together([_ring_pages(each) for each in _rings(spare, cpus)])


def _is_buffer(kind: Type) -> bool:
    return bool(kind.kind == TypeKind.STRUCT and kind.tag == "array_buffer")


def _rings(buffer: Object, cpus: list[int]) -> Iterator[Object]:
    """The ``struct ring_buffer_per_cpu *`` of a ``struct trace_buffer *``."""
    if buffer.buffers:
        rings = (buffer.buffers[cpu].read_() for cpu in cpus)
        yield from (ring for ring in rings if ring)


def _ring_pages(ring: Object) -> NDArray[np.int64]:
    """The pages of one CPU's ring, and what is kept for who reads it."""
    prog = ring.prog_
    kind = prog.type("struct buffer_page")
    link_at, page_at = (offset_of(kind, name) for name in ("list", "page"))
    check_pages(prog, ring.nr_pages.value_(), "the ring of a CPU")
    entries = [ring.reader_page.value_()] if ring.reader_page else []
    first = link = ring.pages.value_() & ~_FLAGS
    for _ in range(ring.nr_pages.value_()):
        entries.append(link - link_at)
        link = prog.read_word(link) & ~_FLAGS
        if link == first:
            break
    pages = [prog.read_word(entry + page_at) for entry in entries]
    free = ring.free_page
    if free.type_.kind == TypeKind.STRUCT:
        # Since v6.8, where the pages of a ring can be of any order.
        free = free.data
    if free:
        pages.append(free.value_())
    return _blocks(prog, pages, _order_of(ring.buffer))


def _order_of(buffer: Object) -> int:
    """The order of the blocks of a ``struct trace_buffer *``."""
    if not buffer.type_.type.has_member("subbuf_order"):
        return 0
    return int(buffer.subbuf_order)


def _blocks(prog: Program, addresses: list[int], order: int) -> NDArray[np.int64]:
    """The pages of blocks of one order in the direct map."""
    known = [each for each in addresses if in_direct_map(prog, each)]
    if not known:
        return np.zeros(0, np.int64)
    # What lies behind each other there lies behind each other in memory.
    shift = number(prog, "PAGE_SHIFT", 18, 12)
    firsts = np.array(known, np.uint64) - np.uint64(known[0])
    pfns = (firsts.view(np.int64) >> shift) + virt_to_pfn(prog, known[0]).value_()
    pages: NDArray[np.int64] = pfns[:, None] + pfns_of_block(0, order)
    return pages.ravel()


def saved_cmdlines_pfns(prog: Program) -> NDArray[np.int64]:
    """Return the pages of the names of tasks that the tracer remembers."""
    try:
        saved = prog["savedcmd"].read_()
    except LookupError:
        # CONFIG_TRACING=n
        return np.zeros(0, np.int64)
    if not saved:
        return np.zeros(0, np.int64)
    # kmalloc() has made it before Linux kernel commit 44dc5c41b5b1 ("tracing: Fix
    # wasted memory in saved_cmdlines logic") (in v6.8); then it is a block of its own,
    # and as many names as fit.
    block = block_pfns(prog, saved.value_())
    if len(block) > 1:
        return block
    return direct_pfns(prog, saved.value_(), _size_of_saved(saved))


def _size_of_saved(saved: Object) -> int:
    each: int = saved.prog_["TASK_COMM_LEN"].value_()
    each += sizeof(saved.prog_.type("unsigned int"))
    size: int = sizeof(saved.type_.type)
    return size + int(saved.cmdline_num) * each

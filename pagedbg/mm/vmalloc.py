# SPDX-License-Identifier: GPL-2.0-or-later
"""
Vmalloc areas
-------------

Helpers for ``include/linux/vmalloc.h``: which pages ``vmalloc()`` has put behind its
areas, and what for.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

import numpy as np
from drgn import Program, sizeof
from drgn.helpers.common.prog import takes_program_or_default
from drgn.helpers.linux.mm import for_each_vmap_area
from drgn.helpers.linux.module import for_each_module, module_address_regions
from numpy.typing import NDArray

from pagedbg.mm._own_memory import OwnMemory
from pagedbg.mm._page_layout import page_layout
from pagedbg.mm.bulk_read import (
    byte_order,
    number,
    offset_of,
    read_array,
    record_dtype,
)
from pagedbg.target.links import UNREADABLE, Damaged, bounded, limited

__all__ = ("VmallocArea", "for_each_vmalloc_area")

# include/linux/vmalloc.h: the area's pages were allocated for it, and are counted.
_VM_ALLOC = 0x2

# Who asks for the stacks of tasks, as __builtin_return_address(0) in
# alloc_thread_stack_node() finds it: that is inlined as the compiler sees fit.
_STACK_CALLERS = (
    *("alloc_thread_stack_node", "dup_task_struct", "copy_process", "kernel_clone"),
    *("fork_idle", "create_io_thread", "vhost_task_create", "kernel_thread"),
    "user_mode_thread",
)

# More areas no kernel has: two million tasks have so many stacks.
_MOST_AREAS = 1 << 21

# nr_vmap_nodes is 128 at most.
_MOST_NODES = 1 << 12


@dataclasses.dataclass(frozen=True)
class VmallocArea:
    """An area that pages were allocated for."""

    address: int
    kind: str
    """
    What it is for: ``kernel stack``, ``module``, ``pagedbg`` (rings of a recorder of
    its), or else ``vmalloc``.
    """
    pfns: NDArray[np.int64]
    """The page frames behind it, as far as they could be read."""
    caller: int
    """Who asked for it, an address in the kernel: ``vm_struct::caller``."""


@takes_program_or_default
def for_each_vmalloc_area(prog: Program) -> Iterator[VmallocArea]:
    """
    Iterate over the areas of ``vmalloc()``, which are those that ``nr_vmalloc_pages``
    counts. Areas without pages of their own (I/O memory, per-CPU chunks, what
    ``vmap()`` was given) are left out.

    :raises Damaged: if their list has no end
    """
    struct = prog.type("struct vm_struct")
    word = f"{byte_order(prog)}u{sizeof(prog.type('unsigned long'))}"
    names = ("addr", "size", "flags", "pages", "caller")
    fields = {name: (word, offset_of(struct, name)) for name in names}
    count = f"{byte_order(prog)}u{sizeof(struct.member('nr_pages').type)}"
    fields["nr_pages"] = (count, offset_of(struct, "nr_pages"))
    dtype = record_dtype(fields, sizeof(struct))
    page_size = number(prog, "PAGE_SIZE", 1 << 18, 1 << 12)
    modules = _module_addresses(prog)
    own = OwnMemory(prog)
    stacks: dict[int, bool] = {}
    for area in _vm_structs(prog):
        record = np.frombuffer(prog.read(area, dtype.itemsize), dtype)[0]
        address, size, caller = (
            int(record[name]) for name in ("addr", "size", "caller")
        )
        pages = min(int(record["nr_pages"]), size // page_size)
        if not int(record["flags"]) & _VM_ALLOC or not record["pages"] or not pages:
            continue
        if caller not in stacks:
            stacks[caller] = _function(prog, caller) in _STACK_CALLERS
        if stacks[caller]:
            kind = "kernel stack"
        elif np.searchsorted(modules, address) < np.searchsorted(
            modules, address + size
        ):
            kind = "module"
        elif address in own:
            kind = "pagedbg"
        else:
            kind = "vmalloc"
        try:
            pfns = _pfns(prog, int(record["pages"]), pages, word)
        except Damaged:
            continue
        yield VmallocArea(address, kind, pfns, caller)


def _vm_structs(prog: Program) -> Iterator[int]:
    """Iterate over the addresses of ``struct vm_struct`` that areas have."""
    # Before Linux kernel commit d093602919ad ("mm: vmalloc: remove global
    # vmap_area_root rb-tree") (in v6.9) there is one list.
    with contextlib.suppress(LookupError):
        number(prog, "nr_vmap_nodes", _MOST_NODES)
    seen: set[int] = set()
    for area in for_each_vmap_area(prog):
        address = area.value_()
        if address in seen or len(seen) == _MOST_AREAS:
            raise Damaged(
                "the memory of this kernel is damaged: its list of vmalloc areas has no"
                " end"
            )
        seen.add(address)
        struct = area.vm.value_()
        if struct:
            yield struct


def _module_addresses(prog: Program) -> NDArray[np.uint64]:
    """The addresses where the parts of modules begin, sorted."""
    found: list[int] = []
    try:
        for module in bounded(for_each_module(prog)):
            regions = limited(module_address_regions, module)
            found += [address for address, size in regions if size]
    except UNREADABLE:
        # Then their areas are plain vmalloc().
        pass
    return np.sort(np.array(found, np.uint64))


def _function(prog: Program, address: int) -> str | None:
    """The function that an address is in, without what the compiler adds."""
    try:
        return str(prog.symbol(address).name).partition(".")[0]
    except LookupError:
        return None


def _pfns(prog: Program, pages: int, count: int, word: str) -> NDArray[np.int64]:
    """The page frame numbers that an array of ``struct page *`` names."""
    layout = page_layout(prog)
    pointers, known = read_array(prog, pages, count, np.dtype(word))
    pointers = pointers[known].astype(np.uint64)
    pfns = layout.pfns(pointers)
    # One that points to no struct page is negative, or a huge number.
    return pfns[(pfns >= 0) & (pfns < 1 << 52)]

# SPDX-License-Identifier: GPL-2.0-or-later
"""
What else than page_owner can say whose pages are: the questions that ``doctor`` asks.
None of them walks a list of pages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pagedbg.mm.alloc_tag import alloc_tags_compiled, mem_alloc_profiling_enabled
from pagedbg.mm.bulk_read import number
from pagedbg.mm.dma_buf import has_dma_buf_list
from pagedbg.mm.page_holders import stack_size
from pagedbg.mm.page_tables import has_known_page_tables
from pagedbg.mm.slab_track import tracked_caches
from pagedbg.mm.zsmalloc import has_zs_pools
from pagedbg.sources.probes import Probe

if TYPE_CHECKING:
    from pagedbg.target.target import Target

__all__ = ("WITNESS_PROBES",)

# Some of those that lead to what the kernel has for itself, in any kernel with modules.
_VARIABLES = ("bus_kset", "mount_hashtable")

# MAX_CMA_AREAS is 2 to the power of 10 at most.
_MOST_AREAS = 1 << 10


def _tags(target: Target) -> tuple[bool, str]:
    if not alloc_tags_compiled(target.prog):
        return False, "this kernel was built without CONFIG_MEM_ALLOC_PROFILING"
    return (
        (True, "on: each line of the source has its allocations counted")
        if mem_alloc_profiling_enabled(target.prog)
        else (False, "memory allocation profiling is off")
    )


def _tracks(target: Target) -> tuple[bool, str]:
    caches = tracked_caches(target.prog)
    if not caches:
        return False, "no slab cache writes down who allocates its objects"
    more = f" and {len(caches) - 3} more" if len(caches) > 3 else ""
    return True, f"of {', '.join(caches[:3])}{more}"


def _areas_of_vmalloc(target: Target) -> tuple[bool, str]:
    # Before Linux kernel commit d093602919ad ("mm: vmalloc: remove global
    # vmap_area_root rb-tree") (in v6.9) there is one list of them.
    return (
        (True, "each has who called vmalloc() for it")
        if target.has_symbol("vmap_nodes") or target.has_symbol("vmap_area_list")
        else (False, "their lists are not found")
    )


def _stacks(target: Target) -> tuple[bool, str]:
    # Where vmalloc() does not make them, it takes how large they are.
    return (
        (True, "each task has its own")
        if target.prog.type("struct task_struct").has_member("stack_vm_area")
        or stack_size(target.prog)
        else (False, "how large they are is not known")
    )


def _page_tables(target: Target) -> tuple[bool, str]:
    return (
        (True, "each process leads to its own")
        if has_known_page_tables(target.prog)
        else (False, "those of this architecture are not known")
    )


def _page_pools(target: Target) -> tuple[bool, str]:
    return (
        (True, "each of their pages leads to its pool, and to the device")
        if target.has_symbol("page_pool_create")
        and target.prog.type("struct page").has_member("pp")
        else (False, "this kernel was built without CONFIG_PAGE_POOL")
    )


def _zs_pools(target: Target) -> tuple[bool, str]:
    return (
        (True, "each page of compressed memory leads to its own")
        if has_zs_pools(target.prog)
        else (False, "neither this kernel nor a module that is loaded has any")
    )


def _dma_bufs(target: Target) -> tuple[bool, str]:
    return (
        (True, "those of udmabuf and of the system heap have their pages")
        if has_dma_buf_list(target.prog)
        else (False, "this kernel lists none")
    )


def _balloon(target: Target) -> tuple[bool, str]:
    return (
        (True, "what a driver has given back is marked")
        if target.has_symbol("balloon_mops")
        else (False, "no page is marked as being in one")
    )


def _cma(target: Target) -> tuple[bool, str]:
    try:
        count = number(target.prog, "cma_area_count", _MOST_AREAS)
    except LookupError:
        return False, "this kernel was built without CONFIG_CMA"
    return (
        (True, f"{count}, each with which of its pages are taken")
        if count
        else (False, "no memory is set apart for any")
    )


def _structures(target: Target) -> tuple[bool, str]:
    return (
        (True, "rings, hash tables, buffers of the tracer and the like have their own")
        if all(target.has_symbol(name) for name in _VARIABLES)
        else (False, "variables of the kernel that lead to them are not found")
    )


WITNESS_PROBES = {
    "allocation tags": Probe(
        _tags,
        "owners --by site has nothing to list; page_owner knows more, and costs more",
        "Boot a kernel with CONFIG_MEM_ALLOC_PROFILING=y (6.10 and later) with"
        " sysctl.vm.mem_profiling=1 on its command line: 8 bytes a page, and some"
        " percent of each allocation's time",
    ),
    "slab tracks": Probe(
        _tracks,
        "inspect virt does not say who allocated a slab object",
        "Boot with slub_debug=U, or slub_debug=U,NAME for one cache; it takes 64 bytes"
        " an object, and each allocation walks its stack",
    ),
    "vmalloc areas": Probe(
        _areas_of_vmalloc,
        "memory --by vmalloc has nothing to list",
        "They cost nothing: give the kernel's vmlinux with -s",
    ),
    "kernel stacks": Probe(
        _stacks,
        "pages of a task's stack do not say whose",
        "Build the kernel with CONFIG_VMAP_STACK=y, where a fork takes a little longer,"
        " or give its vmlinux with -s",
    ),
    "page tables": Probe(
        _page_tables,
        "page tables do not say of which process they are",
        "They cost nothing; pagedbg walks those of x86-64 and arm64",
    ),
    "page pools": Probe(
        _page_pools,
        "network buffers do not say of which device they are",
        "They cost nothing: drivers that use them have CONFIG_PAGE_POOL=y selected",
    ),
    "structures": Probe(
        _structures,
        "memory that the kernel has for itself does not say what for",
        "They cost nothing: build the kernel with CONFIG_KALLSYMS_ALL=y, or give its"
        " vmlinux with -s",
    ),
    "zsmalloc pools": Probe(
        _zs_pools,
        "compressed memory does not say of which zram device or of zswap it is",
        "They cost nothing: who needs them loads zsmalloc; where it is a module, the"
        " kernel has to be built with CONFIG_DEBUG_INFO_BTF_MODULES=y",
    ),
    "DMA buffers": Probe(
        _dma_bufs,
        "memory that devices share is not said to be in one",
        "They cost nothing: drivers have CONFIG_DMA_SHARED_BUFFER=y selected, and"
        " CONFIG_DEBUG_FS=y has them listed",
    ),
    "balloon": Probe(
        _balloon,
        "what was given back to the hypervisor is only said to be offline",
        "Build the kernel with CONFIG_BALLOON_COMPACTION=y (in 7.x"
        " CONFIG_BALLOON_MIGRATION=y); a page takes no more for it",
    ),
    "CMA areas": Probe(
        _cma,
        "no page is said to be taken out of one",
        "Where devices need contiguous memory, boot with cma=SIZE: other users of that"
        " memory are moved away when a device asks",
    ),
}
"""By their names; those that nobody turns on are there or are not."""

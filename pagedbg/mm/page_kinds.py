# SPDX-License-Identifier: GPL-2.0-or-later
"""What a page frame can be, in words."""

from __future__ import annotations

__all__ = ("ABSENT", "KINDS", "OWN")

OWN = "pagedbg"
"""The kind of what pagedbg itself has the kernel hold."""

ABSENT = {
    "beyond the end": "it lies beyond the end of memory",
    "hole": "it lies in a hole: there is no memory there",
    "offline section": "its section of memory is offline",
    "not initialised": "its struct page was never initialised",
    "not in the dump": "its struct page is not in the dump",
    "unreadable": "its struct page cannot be read",
}
"""
The kinds of page frames of which nothing is known, with the end of a sentence that says
so.
"""

KINDS = {
    "free": "free",
    "slab": "slab objects",
    "large kmalloc": "a kmalloc() too large for the slab allocator",
    "anon": "anonymous memory of processes",
    "ksm": "anonymous memory merged by KSM",
    "swap cache": "a page on its way from or to swap",
    "file": "page cache of a file",
    "shmem": "shared memory or tmpfs",
    "block device": "page cache of a block device",
    "secretmem": "memory that the kernel does not map (memfd_secret())",
    "hugetlb": "a huge page of hugetlbfs",
    "page table": "a page table",
    "page pool": "a network receive buffer (page_pool)",
    "zsmalloc": "compressed memory (zsmalloc)",
    "movable": "a driver's movable page",
    "kernel": "memory of the kernel",
    "kernel stack": "the kernel stack of a task",
    "vmalloc": "memory of vmalloc()",
    "module": "code and data of a module",
    OWN: "pagedbg's own: the rings of a recorder",
    "per-CPU": "per-CPU memory of the kernel",
    "page_ext": "the page_ext array: page_owner's records",
    "stack depot": "the stacks that page_owner's records name",
    "unknown": "not known",
    "zero": "the page of zeroes that reads of untouched memory share",
    "reserved": "reserved at boot",
    "offline": "logically offline: a balloon's or a hypervisor's",
    "guard": "a guard page (debug_pagealloc)",
    "unaccepted": "not yet accepted from the hypervisor",
    "hwpoison": "taken out of use after a memory error",
    "device": "memory of a device (ZONE_DEVICE)",
    "no references": (
        "on no free list and not referenced: isolated, frozen, being freed, or a tail"
        " of a block allocated without __GFP_COMP"
    ),
    **ABSENT,
}
"""What a page can be, with words for it."""

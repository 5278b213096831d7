# SPDX-License-Identifier: GPL-2.0-or-later
"""Which of the kernel's structures says whose a page is."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pagedbg.mm.page_kinds import ABSENT

__all__ = (
    *("NOBODY", "NOT_HELD", "PAGE_OWNER", "SLAB_TRACK", "TAG", "WITNESSES"),
    *("of_holders", "of_kind", "of_kinds"),
)

NOT_HELD = ("free", "reserved", "device", "offline", "unaccepted", "hwpoison", *ABSENT)
"""Kinds of pages that nobody holds, or nobody of this kernel."""

_OF_KIND = {
    "slab": "kmem_cache",
    "anon": "anon_vma",
    "ksm": "anon_vma",
    "swap cache": "swap_info_struct",
    "file": "address_space",
    "shmem": "address_space",
    "block device": "address_space",
    "secretmem": "address_space",
    "hugetlb": "hstate",
    "vmalloc": "vm_struct",
    "kernel stack": "vm_struct",
    "module": "vm_struct",
    "per-CPU": "pcpu_chunk",
    "page_ext": "mem_section",
    "stack depot": "stack_depot",
    "zero": "zero_page",
}
"""What names the holder of a page of a kind, if nothing else does."""

_OF_HOLDERS = (
    *("task_struct", "mm_struct", "page_pool", "dma_buf", "balloon_dev_info"),
    *("zs_pool", "cma", "btf", "mempool", "virtqueue", "ftrace_page", "trace_array"),
    *("saved_cmdlines_buffer", "blk_mq_tags", "gen_pool", "hash table"),
    *("pipe_inode_info", "bpf_ringbuf"),
)
"""Whose structure it may be that names the holder of a page."""

WITNESSES = (
    *("", "page_owner", "tag"),
    *dict.fromkeys((*_OF_KIND.values(), *_OF_HOLDERS)),
    "track",
)
"""
By number: nobody, page_owner, an allocation tag, and structures by their type; of slab
objects their struct track.
"""

NOBODY, PAGE_OWNER, TAG = range(3)
SLAB_TRACK = len(WITNESSES) - 1


def of_kind(kind: str) -> int:
    """The number of what names a page of a kind."""
    return WITNESSES.index(_OF_KIND.get(kind, ""))


def of_kinds(kinds: Sequence[str]) -> NDArray[np.uint8]:
    """The same of all kinds, by their codes."""
    return _of_kinds(tuple(kinds))


def of_holders(structures: Sequence[str]) -> NDArray[np.uint8]:
    """
    The numbers of what names holders.

    :param structures: :attr:`pagedbg.mm.page_holders.PageHolders.structures`
    """
    return np.array([WITNESSES.index(each) for each in structures], np.uint8)


@functools.cache
def _of_kinds(kinds: tuple[str, ...]) -> NDArray[np.uint8]:
    return np.array([of_kind(kind) for kind in kinds], np.uint8)

# SPDX-License-Identifier: GPL-2.0-or-later
"""Which of the kernel's structures says whose a page is."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pagedbg.mm.page_kinds import ABSENT

__all__ = (
    *("NOBODY", "NOT_HELD", "PAGE_OWNER", "TAG", "WITNESSES"),
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

_OF_HOLDER = {
    "kernel stack": "task_struct",
    "page table": "mm_struct",
    "page pool": "page_pool",
    "kernel": "cma",
}
"""Whose structure it is that names the holder of a page of a kind."""

WITNESSES = (
    *("", "page_owner", "tag"),
    *dict.fromkeys((*_OF_KIND.values(), *_OF_HOLDER.values())),
)
"""By number: nobody, page_owner, an allocation tag, and structures by their type."""

NOBODY, PAGE_OWNER, TAG = range(3)


def of_kind(kind: str, held: bool = False) -> int:
    """
    The number of what names a page of a kind.

    :param held: whether :class:`pagedbg.mm.page_holders.PageHolders` has its holder
    """
    return WITNESSES.index((_OF_HOLDER if held else _OF_KIND).get(kind, ""))


def of_kinds(kinds: Sequence[str]) -> NDArray[np.uint8]:
    """The same of all kinds, by their codes."""
    return _of_kinds(tuple(kinds), False)


def of_holders(kinds: Sequence[str]) -> NDArray[np.uint8]:
    """The same where the holder is known, by the codes of kinds."""
    return _of_kinds(tuple(kinds), True)


@functools.cache
def _of_kinds(kinds: tuple[str, ...], held: bool) -> NDArray[np.uint8]:
    return np.array([of_kind(kind, held) for kind in kinds], np.uint8)

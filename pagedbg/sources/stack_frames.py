# SPDX-License-Identifier: GPL-2.0-or-later
"""
What a stack says: which function asked for the memory, and on behalf of which module.
"""

from __future__ import annotations

import abc
import functools
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from numpy.typing import NDArray

from pagedbg.schema.owner_record import decode_comm
from pagedbg.schema.stack_ids import FRAME, base_name, stack_id, stack_shape

# Functions that hand out memory and are never the reason for it: the page allocator,
# slab, vmalloc, per-CPU memory, page fragments, page_owner's own for what was allocated
# before it was ready, and what complains that there is none. Their names are as
# base_name() returns them.
_ALLOCATOR = re.compile(
    r"""
    _*(alloc|get|free)_(frozen_|zeroed_)?pages?(_\w+)? | post_alloc_hook | prep_new_page | _*rmqueue\w* | get_page_from_freelist
    | _*folio_alloc\w* | vma_alloc_\w*folio\w* | folio_prealloc | _*alloc_pages\w* | alloc_pages_bulk\w* | alloc_(migration|migrate)_target\w*
    | _*alloc_contig\w* | _*get_free_pages\w* | get_zeroed_page\w*
    | allocate_slab | new_slab | refill_\w*(sheaf|obj)\w* | alloc_(full_sheaf|from_pcs|single_from_\w+) | _*slab_alloc\w* | _*pcs_\w+ | alloc_slab_page
    | _*kmem_cache_alloc\w* | kmem_alloc_\w+ | _*kmalloc\w* | _*do_kmalloc\w* | _*k[vm]*realloc\w* | kvmalloc\w* | _*kvmalloc\w* | kmemdup\w* | kstrdup\w*
    | kv?asprintf\w* | mempool_\w+ | slob_\w+ | \w*_prefill_sheaf\w* | execmem_\w+ | module_alloc
    | _*vmalloc\w* | vzalloc\w* | vm_area_alloc_pages | _*pcpu_(?!balance_)\w+ | _*page_frag_\w+ | alloc_page_interleave
    | register_(early|dummy)_stack | init_page_owner | init_early_allocated_pages | init_pages_in_zone | save_stack | _*set_page_owner | create_dummy_stack
    | dump_stack\w* | warn_alloc\w* | dump_header\w* | oom_kill\w* | out_of_memory
    """,  # noqa: E501
    re.VERBOSE,
)


def module_of(stack: Sequence[str]) -> str | None:
    """
    The module of the innermost frame that belongs to one; None if the kernel image has
    them all. BPF programs only look on.
    """
    for frame in stack:
        if (
            (match := FRAME.fullmatch(frame))
            and match["module"]
            and match["module"] != "bpf"
        ):
            return match["module"]
    return None


def function_of(stack: Sequence[str]) -> str | None:
    """
    The innermost function that is not the allocator's own; the outermost one if all
    are, None for an empty stack.
    """
    name = None
    for frame in stack:
        match = FRAME.fullmatch(frame)
        if match and match["module"] == "bpf":
            continue
        name = match["symbol"] if match else frame
        if not _ALLOCATOR.fullmatch(base_name(name)):
            break
    return name


def allocator_frames(stack: Sequence[str]) -> int:
    """How many of the innermost frames are the allocator's own, or only look on."""
    for number, frame in enumerate(stack):
        match = FRAME.fullmatch(frame)
        if match and match["module"] == "bpf":
            continue
        if not _ALLOCATOR.fullmatch(base_name(match["symbol"] if match else frame)):
            return number
    return len(stack)


def _hexadecimal(
    hashed: Callable[[Iterable[str]], int], stack: Sequence[str]
) -> str | None:
    return f"{hashed(stack):#018x}" if stack else None


class StackNames(abc.ABC):
    """
    What is made of a stack and of a name in the same way by everybody who has them: a
    part of :class:`pagedbg.analysis.names.Names`.
    """

    recorder: int | None = None

    @abc.abstractmethod
    def stack(self, handle: int) -> list[str]:
        """Return the stack of a handle, innermost frame first; empty for none."""

    def stacks(self, handles: Iterable[int]) -> dict[int, list[str]]:
        """Return the stacks of many handles."""
        return {handle: self.stack(handle) for handle in set(handles)}

    def known_stack(self, handle: int) -> list[str]:
        """Return the stack of a handle, which is empty where it is lost, too."""
        return self.stack(handle)

    @functools.cache  # noqa: B019 - lives as long as a command
    def stack_id(self, handle: int) -> str | None:
        """Return the number of a stack in every boot of the build, in hexadecimal."""
        return _hexadecimal(stack_id, self.known_stack(handle))

    @functools.cache  # noqa: B019
    def stack_shape(self, handle: int) -> str | None:
        """Return the number of a stack in other builds, in hexadecimal."""
        return _hexadecimal(stack_shape, self.known_stack(handle))

    def faults(self) -> list[str]:
        """Return sentences on the stacks that could not be read."""
        return []

    def module(self, handle: int) -> str | None:
        """Return the module of the innermost frame that belongs to one."""
        return module_of(self.stack(handle))

    def function(self, handle: int) -> str | None:
        """Return the innermost function that is not the allocator's own."""
        return function_of(self.stack(handle))

    def of_page(self, column: str, number: int) -> str | None:
        """Only a kernel knows it."""
        return None

    @staticmethod
    def comm(words: NDArray[Any]) -> str:
        """Return the text of a ``comm``."""
        return decode_comm(words)

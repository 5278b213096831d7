# SPDX-License-Identifier: GPL-2.0-or-later
"""What is to be said against the owner on record of a page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from pagedbg.mm.alloc_tag import TagPlace
from pagedbg.schema.stack_ids import FRAME, base_name

__all__ = ("owner_doubts",)

# Kinds of pages whose contents may have been in swap.
_SWAPPABLE = ("anon", "ksm", "shmem", "swap cache")

# Functions that allocate pages for what is read back from swap, or call those that do;
# which of them are inlined is the compiler's choice.
_SWAP_IN = frozenset(
    (
        *("do_swap_page", "alloc_swap_folio", "swapin_readahead"),
        *("swap_cluster_readahead", "swap_vma_readahead", "read_swap_cache_async"),
        *("__read_swap_cache_async", "swap_cache_alloc_folio", "swapin_folio"),
        "__swap_cache_alloc",
        *("shmem_swapin_folio", "shmem_swap_alloc_folio", "shmem_swapin_cluster"),
    )
)


def owner_doubts(
    kind: str,
    stack: Sequence[str],
    place: TagPlace | None,
    migrate_reason: str | None,
    has_code: Callable[[str], bool],
) -> Iterator[str]:
    """
    Say why who allocated a page may not be who made use of it, and where page_owner and
    the allocation tag do not name the same.

    :param stack: the call path on record, empty if there is none
    :param place: where the page's tag is
    :param migrate_reason: why it was migrated last, if it is on record that it was
    :param has_code: whether the kernel has a function that is not only inlined
    """
    if migrate_reason:
        # __folio_copy_owner(): with the page's contents its record is copied.
        yield (
            f"the page was moved here ({migrate_reason}): the record is that of the"
            " page frame that it was moved from"
        )
    if place is None and kind not in _SWAPPABLE:
        # As of most pages.
        return
    functions = {base_name(_symbol(frame)) for frame in stack}
    of_tag = {base_name(place.function)} if place else set()
    if kind in _SWAPPABLE and (functions | of_tag) & _SWAP_IN:
        yield (
            "the page was read back from swap: the record is of that, and not of who"
            " had it before"
        )
    if place is not None and stack and _is_missing(place, stack, functions, has_code):
        yield (
            f"page_owner's call path does not have {place.function}, which the"
            " allocation tag names"
        )


def _is_missing(
    place: TagPlace,
    stack: Sequence[str],
    functions: set[str],
    has_code: Callable[[str], bool],
) -> bool:
    """
    Whether a call path cannot be that of a tag. A hash table that grows, say, is
    allocated by a worker and has the tag of who made it.
    """
    if base_name(place.function) in functions:
        return False
    if not place.modname:
        return has_code(place.function)
    matches = [FRAME.fullmatch(frame) for frame in stack]
    # Frames of a module that is gone are addresses.
    known = all(match and not match["symbol"].startswith("0x") for match in matches)
    modules = {match["module"] for match in matches if match}
    return known and place.modname not in modules


def _symbol(frame: str) -> str:
    match = FRAME.fullmatch(frame)
    return match["symbol"] if match else frame

# SPDX-License-Identifier: GPL-2.0-or-later
"""What else than page_owner says of single pages whose they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pagedbg.mm.page_state import PageState
from pagedbg.sources.kernel_names import KernelNames
from pagedbg.sources.witnesses import PAGE_OWNER, TAG, WITNESSES, of_kind

__all__ = ("callers_of", "holders_of", "tags_of", "witness_of")

_AREA = WITNESSES.index("vm_struct")


def tags_of(names: KernelNames, start: int, end: int) -> dict[int, int]:
    """The allocation tag of each page frame of a range, 0 for none."""
    words = names.pages
    found: dict[int, int] = {}
    if words.page_tags is not None:
        for pages in words.decoder.pieces(start, end):
            tags = words.page_tags.of_pages(pages).tags.tolist()
            found.update(enumerate(tags, pages.first))
    return found


def holders_of(names: KernelNames, states: Sequence[PageState]) -> dict[int, int]:
    """The number of whom the kernel's structures name as the holder of each page."""
    holders = names.pages.holders
    found: dict[int, int] = {}
    for kind in holders.KINDS:
        pfns = np.array([s.pfn for s in states if s.kind == kind], np.int64)
        if len(pfns):
            numbers = holders.of_kind(kind, pfns).tolist()
            found.update(zip(pfns.tolist(), numbers, strict=True))
    return found


def callers_of(names: KernelNames, states: Sequence[PageState]) -> dict[int, int]:
    """Where vmalloc() was called for pages, by page frame."""
    pfns = [state.pfn for state in states if of_kind(state.kind) == _AREA]
    if not pfns:
        return {}
    uses = names.pages.decoder.kernel_uses
    callers = uses.callers(pfns[0], pfns[-1] + 1 - pfns[0]).tolist()
    return dict(enumerate(callers, pfns[0]))


def witness_of(
    names: KernelNames, kind: str, recorded: bool, tagged: bool, holder: int
) -> str | None:
    """
    What says whose a page is.

    :param recorded: whether page_owner has its allocation, with a stack of it
    :param tagged: whether it has an allocation tag
    """
    if recorded:
        return WITNESSES[PAGE_OWNER]
    if tagged:
        return WITNESSES[TAG]
    if holder:
        return names.pages.holders.structures[holder]
    return WITNESSES[of_kind(kind)] or None

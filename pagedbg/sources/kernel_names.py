# SPDX-License-Identifier: GPL-2.0-or-later
"""
What the numbers in a record stand for by the kernel that is open; each is worked out
once.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from drgn import FaultError
from numpy.typing import NDArray

from pagedbg.mm.alloc_tag import TagPlace
from pagedbg.mm.gfp import (
    decode_gfp_mask,
    gfp_migratetype,
    gfpflag_names,
)
from pagedbg.mm.migrate import decode_migratetype, migratetype_names
from pagedbg.mm.mmzone import node_of_pfns, zone_of_pfns
from pagedbg.mm.page_array import Pages
from pagedbg.mm.page_owner import page_owner_inited, special_handles
from pagedbg.mm.page_tags import untagged
from pagedbg.mm.sched_clock import known_local_clock
from pagedbg.mm.stackdepot import StackDepot
from pagedbg.schema.sizes import several
from pagedbg.session import Session
from pagedbg.sources.page_words import PageWords
from pagedbg.sources.stack_frames import StackNames

# What it means that a record has one of the stacks that page_owner made for itself when
# it started.
_SPECIAL = {
    "dummy": "(allocated by page_owner itself)",
    "failure": "(the stack depot was full)",
    "early": "(before page_owner was ready)",
}


def special_label(kind: str) -> str:
    """What ``dummy``, ``failure`` or ``early`` in place of a stack means, in words."""
    return _SPECIAL[kind]


class KernelNames(StackNames):
    """
    The names of a session's target, for one run of a command: a running kernel changes.
    """

    no_clock = "the run queues' clocks cannot be read"

    def __init__(self, session: Session) -> None:
        self.target = session.target
        self.prog = session.prog
        if self.target.changes:
            self.target.symbolize.forget_modules()
        self._stacks: dict[int, list[str]] = {}

    @functools.cached_property
    def depot(self) -> StackDepot:
        """The kernel's stack depot."""
        return StackDepot(self.prog)

    @functools.cached_property
    def now(self) -> int | None:
        """``local_clock()`` in nanoseconds; None if it cannot be read."""
        if self.tagged:
            # There are no times to compare it with.
            return None
        return known_local_clock(self.prog)

    @property
    def migratetypes(self) -> Sequence[str]:
        """The names of the migratetypes, by ``enum migratetype``."""
        return migratetype_names(self.prog)

    @functools.cached_property
    def special(self) -> dict[int, str]:
        """``dummy``, ``failure`` and ``early`` by handle."""
        return special_handles(self.prog)

    @functools.cached_property
    def tagged(self) -> bool:
        """
        Whether handles are the numbers of allocation tags: where page_owner is off.
        """
        return not page_owner_inited(self.prog) and self.pages.page_tags is not None

    def tag_numbers(self, pages: Pages) -> NDArray[np.uint32]:
        """The handles of neighbouring pages, 0 for none, where these are tags."""
        tags = self.pages.tags
        assert tags is not None
        return tags.numbers(self.tags_of(pages))

    def tags_of(self, pages: Pages) -> NDArray[np.uint64]:
        """The allocation tags of neighbouring pages, 0 for none."""
        of_pages = self.pages.page_tags
        return (of_pages.of_pages(pages) if of_pages else untagged(pages)).tags

    def place_of(self, tag: int) -> TagPlace | None:
        """Where a tag is in the source; None for none, or if its module is gone."""
        return self.pages.tags.place(tag) if self.pages.tags and tag else None

    def _place(self, handle: int) -> TagPlace | None:
        """Where the tag with a number is in the source."""
        return self.place_of(self.pages.tags.at(handle) if self.pages.tags else 0)

    def _site(self, handle: int) -> list[str]:
        """All that is known of the call path: where it allocated."""
        tags = self.pages.tags
        if not handle or tags is None:
            return []
        address = tags.at(handle)
        return [tags.site(address) if address else f"(no tag {handle:#x} is known)"]

    def stacks(self, handles: Iterable[int]) -> dict[int, list[str]]:
        """Return the stacks of many handles, which are read together."""
        wanted = set(handles)
        if self.tagged:
            return {handle: self._site(handle) for handle in wanted}
        for handle, pcs in self.depot.fetch_many(
            wanted.difference(self._stacks)
        ).items():
            self._stacks[handle] = self.target.symbolize(pcs)
        return {handle: self._stacks[handle] for handle in wanted}

    def stack(self, handle: int) -> list[str]:
        """Return the stack of a handle; empty for none, and if it cannot be read."""
        return self.stacks((handle,))[handle]

    def function(self, handle: int) -> str | None:
        """
        Return the innermost function that is not the allocator's own; words in
        parentheses where the stack is not of the allocation.
        """
        if self.tagged:
            place = self._place(handle)
            return place.function if place else None
        return self.label(handle) or super().function(handle)

    def module(self, handle: int) -> str | None:
        """Return the module of the innermost frame that belongs to one."""
        if self.tagged:
            place = self._place(handle)
            return place.modname if place else None
        return super().module(handle)

    def label(self, handle: int) -> str | None:
        """
        Return what it means that a record has this handle, if it is one of page_owner's
        own.
        """
        kind = self.special.get(handle)
        return special_label(kind) if kind else None

    @functools.cached_property
    def pages(self) -> PageWords:
        """The words for pages, with their decoder."""
        return PageWords(self.prog)

    def of_page(self, column: str, number: int) -> str | None:
        """Return what a number in a column of pages stands for."""
        if column == "vmalloc":
            return self.target.symbolize((number,))[0] if number else None
        return self.pages.word(column, number)

    def faults(self) -> list[str]:
        """Return sentences on the stacks that could not be read."""
        # A kernel without a depot is not asked for what went wrong in it.
        faults = self.depot.faults if self._stacks else {}
        return (
            [
                f"{several(len(faults), 'stack')} could not be read; the first:"
                f" {next(iter(faults.values()))}."
            ]
            if faults
            else []
        )

    @property
    def gfp_names(self) -> Sequence[tuple[int, str]]:
        """Masks of gfp flags and their names, in the kernel's order."""
        return gfpflag_names(self.prog)

    @functools.cache  # noqa: B019 - lives as long as a command
    def gfp(self, mask: int) -> str:
        """Return a gfp mask as the kernel writes it."""
        return decode_gfp_mask(gfpflag_names(self.prog), mask)

    @functools.cache  # noqa: B019
    def migratetype(self, mask: int) -> str:
        """Return the name of the migratetype that a gfp mask asks for."""
        return decode_migratetype(self.prog, gfp_migratetype(self.prog, mask))

    def zones(self, pfns: NDArray[Any]) -> tuple[list[str], NDArray[Any]]:
        """
        Return the names of all zones, and the index of each page's, −1 if it is not
        known.
        """
        return zone_of_pfns(self.prog, pfns)

    def nodes(self, pfns: NDArray[Any]) -> NDArray[Any]:
        """Return the NUMA node of each page, −1 if it is not known."""
        return node_of_pfns(self.prog, pfns)


def kernel_names(session: Session) -> KernelNames | None:
    """Return the names of the kernel that is open; None if it has no stacks to tell."""
    try:
        names = KernelNames(session)
        # Opens the depot.
        names.stacks(())
    except (LookupError, FaultError):
        return None
    return names

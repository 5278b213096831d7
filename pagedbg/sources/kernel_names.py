# SPDX-License-Identifier: GPL-2.0-or-later
"""
What the numbers in a record stand for on one target: names, stacks, the time of now;
each worked out once.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pagedbg.mm.gfp import decode_gfp_mask, gfp_migratetype, gfpflag_names
from pagedbg.mm.migrate import decode_migratetype
from pagedbg.mm.mmzone import node_of_pfns, zone_of_pfns
from pagedbg.mm.page_owner import special_handles
from pagedbg.mm.sched_clock import known_local_clock
from pagedbg.mm.stackdepot import StackDepot
from pagedbg.schema.owner_record import decode_comm
from pagedbg.session import Session
from pagedbg.sources.stack_frames import function_of, module_of

# What it means that a record has one of the stacks that page_owner made for itself when
# it started.
_SPECIAL = {
    "dummy": "(allocated by page_owner itself)",
    "failure": "(the stack depot was full)",
    "early": "(before page_owner was ready)",
}


class Lookup:
    """
    Look-ups on a session's target, for one run of a command: a running kernel changes.
    """

    def __init__(self, session: Session) -> None:
        self.target = session.target
        self.prog = session.prog
        self.page_size: int = self.prog["PAGE_SIZE"].value_()
        self.depot = StackDepot(self.prog)
        if self.target.live:
            self.target.symbolize.forget_modules()
        self.notes: list[str] = []
        self._stacks: dict[int, list[str]] = {}
        self._gfp: dict[int, str] = {}

    @functools.cached_property
    def now(self) -> int | None:
        """``local_clock()`` in nanoseconds; None if it cannot be read."""
        return known_local_clock(self.prog)

    @functools.cached_property
    def special(self) -> dict[int, str]:
        """``dummy``, ``failure`` and ``early`` by handle."""
        return special_handles(self.prog)

    def stacks(self, handles: Iterable[int]) -> dict[int, list[str]]:
        """
        The stack of each handle as the kernel prints it, innermost frame first; empty
        for none.
        """
        wanted = set(handles)
        for handle, pcs in self.depot.fetch_many(
            wanted.difference(self._stacks)
        ).items():
            self._stacks[handle] = self.target.symbolize(pcs)
        return {handle: self._stacks[handle] for handle in wanted}

    def stack(self, handle: int) -> list[str]:
        """The stack of one handle."""
        return self.stacks((handle,))[handle]

    def module(self, handle: int) -> str | None:
        """The module of the innermost frame that belongs to one."""
        return module_of(self.stack(handle))

    def function(self, handle: int) -> str | None:
        """
        The innermost function that is not the allocator's own; words in parentheses
        where the stack is not of the allocation.
        """
        return self.label(handle) or function_of(self.stack(handle))

    def label(self, handle: int) -> str | None:
        """
        What it means that a record has this handle, if it is one of page_owner's own.
        """
        kind = self.special.get(handle)
        return _SPECIAL[kind] if kind else None

    @functools.cached_property
    def _gfp_names(self) -> tuple[tuple[int, str], ...]:
        return gfpflag_names(self.prog)

    def gfp(self, mask: int) -> str:
        """A gfp mask as the kernel writes it."""
        if mask not in self._gfp:
            self._gfp[mask] = decode_gfp_mask(self._gfp_names, mask)
        return self._gfp[mask]

    @functools.cache  # noqa: B019 - lives as long as a command
    def migratetype(self, mask: int) -> str:
        """The name of the migratetype that a gfp mask asks for."""
        return decode_migratetype(self.prog, gfp_migratetype(self.prog, mask))

    def zones(self, pfns: NDArray[Any]) -> tuple[list[str], NDArray[np.int8]]:
        """Names of the zones, and the index of each page's, −1 if not known."""
        return zone_of_pfns(self.prog, pfns)

    def nodes(self, pfns: NDArray[Any]) -> NDArray[np.int16]:
        """The node of each page, −1 if not known."""
        return node_of_pfns(self.prog, pfns)

    @staticmethod
    def comm(words: NDArray[Any]) -> str:
        """The text of a ``comm``."""
        return decode_comm(words)

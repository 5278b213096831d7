# SPDX-License-Identifier: GPL-2.0-or-later
"""
Whether an allocation would succeed, and from which zone: what ``__alloc_pages()`` of
``mm/page_alloc.c`` does until it has to reclaim memory or to compact it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from pagedbg.mm.page_alloc import (
    AllocFlags,
    FreeBlock,
    ZoneState,
    find_free_block,
    need,
    zone_watermark_ok,
)

__all__ = (
    "COULD",
    "GIVES",
    "IN_PIECES",
    "NO_TYPE",
    "SHORT",
    "Attempt",
    "Machine",
    "Outcome",
    "Request",
    "attempt",
)

GIVES = "gives"
COULD = "could give"
SHORT = "short"
IN_PIECES = "in pieces"
NO_TYPE = "wrong type"
"""
What becomes of an allocation in a zone: it comes from there; it could, but another zone
is asked before; too few pages are free; no free block is large enough; one is, but none
that this allocation may take.
"""

# include/linux/mmzone.h: above it an allocation is given up rather than retried.
PAGE_ALLOC_COSTLY_ORDER = 3


@dataclasses.dataclass(frozen=True)
class Request:
    """
    What is asked for. ``flags`` are the names of the single GFP flags,
    ``highest_zone`` is the ``enum zone_type`` that they allow at most, and
    ``migratetype`` is what they ask for.
    """

    order: int
    gfp_mask: int
    gfp: str
    flags: frozenset[str]
    migratetype: str
    highest_zone: int

    @property
    def may_reclaim(self) -> bool:
        """Whether whoever asks can wait for memory to be reclaimed or compacted."""
        return "__GFP_DIRECT_RECLAIM" in self.flags

    @property
    def costly(self) -> bool:
        """Whether it is so large that the kernel does not insist on it."""
        return self.order > PAGE_ALLOC_COSTLY_ORDER

    @property
    def gives_up(self) -> bool:
        """Whether it fails where one round of that has not helped."""
        if "__GFP_NOFAIL" in self.flags:
            return False
        if "__GFP_NORETRY" in self.flags:
            return True
        return self.costly and "__GFP_RETRY_MAYFAIL" not in self.flags

    @property
    def first_flags(self) -> AllocFlags:
        """What the first attempt may do, which is not to wake kswapd."""
        return AllocFlags(low=True, cma=self.migratetype == "Movable")

    @property
    def last_flags(self) -> AllocFlags:
        """What it may do at last: ``gfp_to_alloc_flags()``."""
        high = "__GFP_HIGH" in self.flags
        nomemalloc = "__GFP_NOMEMALLOC" in self.flags
        non_block = not self.may_reclaim and not nomemalloc
        return AllocFlags(
            min_reserve=high,
            non_block=non_block,
            highatomic=non_block and high and self.order > 0,
            cma=self.migratetype == "Movable",
        )

    @property
    def reserve_flags(self) -> AllocFlags | None:
        """
        What an allocation may do that is to free memory: it need not leave any
        watermark (``__gfp_pfmemalloc_flags()``). None for all others.
        """
        if "__GFP_MEMALLOC" not in self.flags or "__GFP_NOMEMALLOC" in self.flags:
            return None
        return AllocFlags(cma=self.migratetype == "Movable")


@dataclasses.dataclass(frozen=True)
class Machine:
    """
    What an allocation depends on besides the zones. ``normal_zone`` is ``ZONE_NORMAL``
    where the kernel has a ``ZONE_DMA32`` below it, and None otherwise. ``nodes`` is how
    many are online, ``defrag_mode`` the setting of that name.
    """

    pageblock_order: int
    normal_zone: int | None
    nodes: int = 1
    defrag_mode: bool = False


@dataclasses.dataclass(frozen=True)
class Attempt:
    """
    What becomes of an allocation in a zone, under the last and least strict rules.
    ``need`` is how many pages have to be free, ``result`` one of the words above, and
    ``block`` what it is made from.
    """

    zone: ZoneState
    need: int
    result: str
    block: FreeBlock | None


@dataclasses.dataclass(frozen=True)
class Outcome:
    """
    What becomes of an allocation. ``attempts`` are in the order in which the zones are
    asked. ``zone`` is the one that gives at once, None if none does. ``low`` says that
    it leaves the low watermark, so that nobody has to reclaim anything.
    """

    request: Request
    attempts: tuple[Attempt, ...]
    zone: ZoneState | None
    low: bool

    @property
    def at_once(self) -> bool:
        """Whether it succeeds with what is free now."""
        return self.zone is not None

    @property
    def fails(self) -> bool:
        """Whether it is sure to fail: nothing is free, and it may not wait."""
        return self.zone is None and not self.request.may_reclaim


def attempt(request: Request, zones: Sequence[ZoneState], machine: Machine) -> Outcome:
    """
    Say what becomes of an allocation, as ``get_page_from_freelist()`` has it: first
    under strict rules, then under those of the slow path.

    :param zones: in the order in which they are asked
    """
    nofragment = _avoids_mixing(zones, machine)
    first = dataclasses.replace(request.first_flags, nofragment=nofragment)
    last = dataclasses.replace(request.last_flags, nofragment=machine.defrag_mode)
    taken = _first(request, zones, first, machine)
    low = taken is not None
    if taken is None:
        taken = _first(request, zones, last, machine)
        if taken is None and last.nofragment:
            last = dataclasses.replace(last, nofragment=False)
            taken = _first(request, zones, last, machine)
        reserves = request.reserve_flags
        if taken is None and reserves is not None:
            last = reserves
            taken = next(
                (each for each in zones if _block(request, each, last, machine)), None
            )
    found = []
    for zone in zones:
        required = need(zone, request.order, request.highest_zone, last)
        block = _block(request, zone, last, machine)
        if zone is taken:
            result = GIVES
        elif block and _passes(request, zone, last):
            result = COULD
        else:
            result, block = _refusal(request, zone, required), None
        found.append(Attempt(zone, required, result, block))
    return Outcome(request, tuple(found), taken, low)


def _avoids_mixing(zones: Sequence[ZoneState], machine: Machine) -> bool:
    """``alloc_flags_nofragment()``."""
    if machine.defrag_mode:
        return True
    if not zones or zones[0].zone != machine.normal_zone:
        return False
    # A machine of one node that has a Normal zone is taken to have a DMA32 zone.
    return machine.nodes == 1 or any(
        zone.node == zones[0].node and zone.zone == zones[0].zone - 1 for zone in zones
    )


def _first(
    request: Request, zones: Sequence[ZoneState], flags: AllocFlags, machine: Machine
) -> ZoneState | None:
    """The zone that gives first: ``get_page_from_freelist()``."""
    for zone in zones:
        if (
            flags.nofragment
            and not machine.defrag_mode
            and machine.nodes > 1
            and zone.node != zones[0].node
        ):
            # To stay on the node matters more than not to mix.
            break
        if _passes(request, zone, flags) and _block(request, zone, flags, machine):
            return zone
    if flags.nofragment and not machine.defrag_mode:
        return _first(
            request, zones, dataclasses.replace(flags, nofragment=False), machine
        )
    return None


def _passes(request: Request, zone: ZoneState, flags: AllocFlags) -> bool:
    return zone_watermark_ok(zone, request.order, request.highest_zone, flags)


def _block(
    request: Request, zone: ZoneState, flags: AllocFlags, machine: Machine
) -> FreeBlock | None:
    return find_free_block(
        zone, request.order, request.migratetype, flags, machine.pageblock_order
    )


def _refusal(request: Request, zone: ZoneState, required: int) -> str:
    """Why a zone gives nothing."""
    if zone.free < required:
        return SHORT
    return NO_TYPE if any(zone.blocks[request.order :]) else IN_PIECES

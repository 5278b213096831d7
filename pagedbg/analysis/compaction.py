# SPDX-License-Identifier: GPL-2.0-or-later
"""
Whether compaction could make a free block: ``mm/compaction.c`` in numbers, as far as
that can be told before it is tried.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

from pagedbg.analysis.allocation_attempt import SHORT, Request
from pagedbg.mm.page_alloc import (
    CMA,
    AllocFlags,
    ZoneState,
    fragmentation_index,
    need,
)

__all__ = (
    "CANNOT_HELP",
    "COULD_HELP",
    "DEFERRED",
    "SHORT",
    "Chance",
    "Compaction",
    "FreeList",
    "chances",
)

COULD_HELP, DEFERRED, CANNOT_HELP = "could help", "deferred", "cannot help"


@dataclasses.dataclass(frozen=True)
class FreeList:
    """
    The free blocks of one order in a zone; of one migratetype, or where that is None
    of all that are named in ``types``. ``blocks`` is None where that is not known.
    """

    node: int
    zone: str
    migratetype: str | None
    order: int
    blocks: int | None
    types: frozenset[str] = frozenset()


@dataclasses.dataclass(frozen=True)
class Compaction:
    """
    What compaction could do in a zone.

    ``movable`` is how many pages it could move, ``pinned`` how many more but for
    references that nothing accounts for. ``blocks`` says how many blocks of the order
    have nothing in them but free pages and so many movable ones: the number of blocks
    by the number of their movable pages. ``deferred`` is how many more times it is not
    tried, None if the kernel has no compaction.
    """

    zone: ZoneState
    movable: int
    pinned: int
    blocks: Sequence[int]
    deferred: int | None


class Chance(NamedTuple):
    """
    Whether compaction could make a block in a zone, how many at most, and how many
    pages are free where it moves others.
    """

    zone: Compaction
    result: str
    blocks: int
    targets: int


def chances(
    request: Request,
    zones: Sequence[Compaction],
    lists: Sequence[FreeList],
    extfrag_threshold: int,
) -> list[Chance]:
    """
    Say of each zone whether compaction could make a block.

    :param lists: the free blocks by order and migratetype
    :param extfrag_threshold: ``vm.extfrag_threshold``
    """
    found = []
    for each in zones:
        targets = _targets(request, each.zone, lists)
        blocks = _fillable(each.blocks, targets)
        result = _result(request, each, blocks, extfrag_threshold)
        found.append(Chance(each, result, blocks, targets))
    return found


def _targets(request: Request, zone: ZoneState, lists: Sequence[FreeList]) -> int:
    """
    How many free pages compaction may move others to: of large orders those in
    pageblocks of movable pages (``suitable_migration_target()``).
    """
    return sum(
        each.blocks << each.order
        for each in lists
        if (each.node, each.zone) == (zone.node, zone.name)
        and each.blocks is not None
        and (not request.costly or each.migratetype in ("Movable", CMA))
    )


def _result(
    request: Request, zone: Compaction, blocks: int, extfrag_threshold: int
) -> str:
    """
    What becomes of it. The kernel asks first how many pages are free, and of large
    orders whether the want of a block is for want of memory
    (``compaction_suitable()``).
    """
    if not blocks or zone.deferred is None:
        return CANNOT_HELP
    if zone.deferred:
        return DEFERRED
    state = zone.zone
    flags = AllocFlags(low=request.costly, cma=True)
    required = need(state, 0, request.highest_zone, flags) + (2 << request.order)
    index = fragmentation_index(state.blocks, request.order)
    for_want = request.costly and 0 <= index <= extfrag_threshold
    return SHORT if for_want or state.free < required else COULD_HELP


def _fillable(blocks: Sequence[int], targets: int) -> int:
    """
    How many blocks can be emptied, those with the fewest movable pages first.

    :param blocks: how many there are, by the number of their movable pages
    :param targets: how many pages can be moved elsewhere
    """
    found = 0
    for pages, count in enumerate(blocks):
        more = count if not pages else min(count, targets // pages)
        found += more
        targets -= more * pages
        if more < count:
            break
    return found

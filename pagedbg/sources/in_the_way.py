# SPDX-License-Identifier: GPL-2.0-or-later
"""
What is in the way of free blocks of an order, out of a kernel: what compaction could
move, and who holds what it could not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import numpy as np

from pagedbg.analysis.compaction import Compaction
from pagedbg.analysis.letting_go import LetGo
from pagedbg.analysis.pageblock_holders import PageblockHolders, numbers_of
from pagedbg.mm.mmzone import zone_spans
from pagedbg.mm.page_alloc import ZoneState
from pagedbg.mm.page_mobility import FIXED, Mobility
from pagedbg.session import Session
from pagedbg.sources.capabilities import capabilities_of
from pagedbg.sources.kernel_names import KernelNames
from pagedbg.sources.pageblock_pages import PageblockPart, pageblock_parts

__all__ = ("Deferred", "Obstacles", "find_obstacles")

Deferred = tuple[ZoneState, int | None]
"""A zone, and how many compactions are deferred in it."""

# What keeps compaction from making a block of what is around it.
_STAYS = (*FIXED, Mobility.UNKNOWN, Mobility.ABSENT)


class Obstacles(NamedTuple):
    """
    What is in the way. ``steps`` say which owners would leave blocks free, None where
    it is not known who holds pages; ``by`` is what they are told apart by.
    """

    zones: list[Compaction]
    steps: list[LetGo] | None
    by: Sequence[str]

    def owners(self, step: LetGo) -> list[dict[str, Any]]:
        """The owners of a step, by the names of the columns."""
        return [dict(zip(self.by, owner, strict=True)) for owner in step.owners]


class _Look:
    """What is seen of blocks of one order while all pages are looked at."""

    def __init__(
        self, order: int, zones: Sequence[Deferred], holders: PageblockHolders
    ) -> None:
        self._order, self._zones, self.holders = order, zones, holders
        keys = [(zone.node, zone.zone) for zone, _ in zones]
        self._numbers = {key: np.zeros(2, np.int64) for key in keys}
        self._blocks = {key: np.zeros((1 << order) + 1, np.int64) for key in keys}

    def add(self, zone: tuple[int, int], part: PageblockPart) -> int:
        """Add neighbouring blocks, and say of how many pages nothing is known."""
        if part.held:
            self.holders.add(part.held)
        counts = part.counts
        movable = counts[:, Mobility.MOVABLE]
        self._numbers[zone] += movable.sum(), counts[:, Mobility.PINNED].sum()
        makes = counts.sum(axis=1) == 1 << self._order
        makes &= counts[:, _STAYS].sum(axis=1) == 0
        makes &= counts[:, Mobility.FREE] < 1 << self._order
        self._blocks[zone] += np.bincount(
            movable[makes], minlength=(1 << self._order) + 1
        )
        return int(counts[:, Mobility.UNKNOWN].sum())

    def compactions(self) -> list[Compaction]:
        """What compaction could do in each zone."""
        return [
            Compaction(
                zone,
                int(self._numbers[zone.node, zone.zone][0]),
                int(self._numbers[zone.node, zone.zone][1]),
                self._blocks[zone.node, zone.zone].tolist(),
                deferred,
            )
            for zone, deferred in self._zones
        ]


def find_obstacles(
    session: Session,
    zones: Mapping[int, Sequence[Deferred]],
    *,
    by: Sequence[str],
    most: int,
    notes: list[str],
) -> dict[int, Obstacles]:
    """
    Look at all pages of some zones, once for all orders.

    :param zones: where blocks of each order are wanted: the same zones for all orders
    :param by: what owners are told apart by, as ``blocks --by`` takes it
    :param most: how many owners are asked to let go at most
    :param notes: where to add what is not known
    """
    if not zones:
        return {}
    prog = session.prog
    wanted = {(zone.node, zone.zone) for each in zones.values() for zone, _ in each}
    spans = [span for span in zone_spans(prog) if (span.nid, span.zone) in wanted]
    names = KernelNames(session)
    owned = names.tagged or bool(capabilities_of(session.target)["page_owner"].state)
    unknown = dict.fromkeys(zones, 0)
    with ExitStack() as stack:
        looks = {}
        for order, each in zones.items():
            holders = PageblockHolders(session.db, names, by, together=most)
            stack.callback(holders.close)
            looks[order] = _Look(order, each, holders)
        for part in pageblock_parts(
            prog,
            spans,
            *zones,
            numbers=numbers_of(by) if owned else None,
            tags=names.tag_numbers if names.tagged else None,
        ):
            span = spans[part.span]
            unknown[part.order] += looks[part.order].add((span.nid, span.zone), part)
        found = {
            order: Obstacles(
                look.compactions(), look.holders.let_go(most) if owned else None, by
            )
            for order, look in looks.items()
        }
    if pages := max(unknown.values()):
        notes.append(
            f"Of {pages} pages it is not known what they are: they cannot be read, or"
            " were just being handed out or freed."
        )
    if not owned:
        notes.append("page_owner is off: who holds pages is not known.")
    notes.extend(names.faults())
    notes.extend(session.target.symbolize.notes)
    return found

# SPDX-License-Identifier: GPL-2.0-or-later
"""
What is in the way of free blocks of an order, out of a kernel: what compaction could
move, and who holds what it could not.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
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
from pagedbg.sources.pageblock_pages import pageblock_parts

__all__ = ("Obstacles", "find_obstacles")

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


def find_obstacles(
    session: Session,
    zones: Sequence[tuple[ZoneState, int | None]],
    order: int,
    *,
    by: Sequence[str],
    most: int,
    notes: list[str],
) -> Obstacles:
    """
    Look at all pages of some zones.

    :param zones: each with how many compactions are deferred in it
    :param order: of the blocks that are wanted
    :param by: what owners are told apart by, as ``blocks --by`` takes it
    :param most: how many owners are asked to let go at most
    :param notes: where to add what is not known
    """
    prog = session.prog
    wanted = {(zone.node, zone.zone) for zone, _ in zones}
    spans = [span for span in zone_spans(prog) if (span.nid, span.zone) in wanted]
    owned = bool(capabilities_of(session.target)["page_owner"].state)
    names = KernelNames(session)
    numbers = {key: np.zeros(2, np.int64) for key in wanted}
    blocks = {key: np.zeros((1 << order) + 1, np.int64) for key in wanted}
    unknown, steps = 0, None
    holders = PageblockHolders(session.db, names, by, together=most)
    with closing(holders):
        for part in pageblock_parts(
            prog, spans, order, numbers=numbers_of(by) if owned else None
        ):
            if part.held:
                holders.add(part.held)
            counts = part.counts
            unknown += int(counts[:, Mobility.UNKNOWN].sum())
            span = spans[part.span]
            movable = counts[:, Mobility.MOVABLE]
            numbers[span.nid, span.zone] += (
                movable.sum(),
                counts[:, Mobility.PINNED].sum(),
            )
            makes = counts.sum(axis=1) == 1 << order
            makes &= counts[:, _STAYS].sum(axis=1) == 0
            makes &= counts[:, Mobility.FREE] < 1 << order
            blocks[span.nid, span.zone] += np.bincount(
                movable[makes], minlength=(1 << order) + 1
            )
        if owned:
            steps = holders.let_go(most)
    if unknown:
        notes.append(
            f"Of {unknown} pages it is not known what they are: they cannot be read, or"
            " were just being handed out or freed."
        )
    if not owned:
        notes.append("page_owner is off: who holds pages is not known.")
    notes.extend(names.faults())
    notes.extend(session.target.symbolize.notes)
    return Obstacles(
        [
            Compaction(
                zone,
                int(numbers[zone.node, zone.zone][0]),
                int(numbers[zone.node, zone.zone][1]),
                blocks[zone.node, zone.zone].tolist(),
                deferred,
            )
            for zone, deferred in zones
        ],
        steps,
        by,
    )

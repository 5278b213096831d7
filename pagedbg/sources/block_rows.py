# SPDX-License-Identifier: GPL-2.0-or-later
"""Blocks on record as rows, which are drawn when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pagedbg.analysis.undrawn import Undrawn, UndrawnRows, positive, text
from pagedbg.schema.blocks import Blocks
from pagedbg.schema.owner_record import ALLOCATED, FREED
from pagedbg.sources.kernel_names import KernelNames
from pagedbg.sources.page_batches import BlocksAsPages

__all__ = ("BlockBatch", "BlockDrawer")

_STATE_NAMES = {ALLOCATED: "allocated", FREED: "freed"}


class BlockBatch(NamedTuple):
    """Blocks, and the state of each."""

    blocks: Blocks
    states: NDArray[np.uint8]

    @classmethod
    def of(cls, state: int, blocks: Blocks) -> BlockBatch:
        return cls(blocks, np.full(len(blocks), state, np.uint8))

    @classmethod
    def joined(cls, batches: Sequence[BlockBatch]) -> BlockBatch:
        return cls(
            Blocks.joined([batch.blocks for batch in batches]),
            np.concatenate([batch.states for batch in batches]),
        )

    def take(self, which: Any) -> BlockBatch:
        return BlockBatch(self.blocks.take(which), self.states[which])


class BlockDrawer:
    """
    Draws rows of :data:`pagedbg.schema.block_columns.BLOCKS`.

    :param as_pages: what looks at the pages of blocks
    """

    def __init__(
        self, names: KernelNames, as_pages: Callable[[Blocks], BlocksAsPages]
    ) -> None:
        self._names = names
        self._as_pages = as_pages

    def rows(self, columns: Sequence[str], batch: BlockBatch) -> UndrawnRows:
        """The rows of blocks, with some columns."""
        return UndrawnRows([self.column(name, *batch) for name in columns])

    def column(self, name: str, blocks: Blocks, states: NDArray[np.uint8]) -> Undrawn:
        """A column of the blocks."""
        names = self._names
        match name:
            case "gfp" | "gfp_mask" | "migratetype" | "pid" | "comm" if (
                self._names.tagged
            ):
                return _nothing(blocks)
            case "gfp":
                return Undrawn(blocks.column("gfp_mask"), word=names.gfp)
            case "migratetype":
                return Undrawn(blocks.column("gfp_mask"), word=names.migratetype)
            case "zone":
                words, zones = names.zones(blocks.pfn)
                return Undrawn(zones, zones >= 0, words.__getitem__)
            case "node":
                return positive(names.nodes(blocks.pfn))
            case "stack":
                return Undrawn(
                    blocks.column("handle"), word=names.stack, together=names.stacks
                )
            case "state":
                return Undrawn(states, word=_STATE_NAMES.__getitem__)
            case "site":
                site = self._as_pages(blocks).column("site")
                return Undrawn(
                    site, site != 0, lambda at: self._names.of_page("site", at)
                )
        member = {"ts_ns": "ts_nsec"}.get(name, name)
        if member not in (*blocks.members, "pfn", "order", "pages"):
            return _nothing(blocks)
        column = blocks.column(member)
        return text(column, names.comm) if member == "comm" else Undrawn(column)


def _nothing(blocks: Blocks) -> Undrawn:
    """The column of what is not known of any block."""
    return Undrawn(np.full(len(blocks), -1), np.zeros(len(blocks), np.bool_))

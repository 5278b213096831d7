# SPDX-License-Identifier: GPL-2.0-or-later
"""Captured allocations as rows."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from pagedbg.analysis.allocation_sums import block_pages, lasted
from pagedbg.analysis.names import Names
from pagedbg.analysis.undrawn import Undrawn, positive, text
from pagedbg.schema.allocation import CONTRADICTIONS, STATES

__all__ = ("allocation_column",)


def allocation_column(name: str, rows: NDArray[Any], names: Names) -> Undrawn:
    """
    A column of :data:`pagedbg.schema.allocation_columns.ALLOCATIONS`.

    :param rows: an array of :data:`pagedbg.schema.allocation.ALLOCATION`
    """
    match name:
        case "pages":
            return Undrawn(block_pages(rows))
        case "gfp":
            return Undrawn(rows["gfp_mask"], word=names.gfp)
        case "migratetype":
            return Undrawn(rows["gfp_mask"], word=names.migratetype)
        case "ts_ns":
            return Undrawn(rows["ts_nsec"])
        case "stack":
            return Undrawn(rows["handle"], word=names.stack)
        case "stack_id":
            return Undrawn(rows["handle"], word=names.stack_id)
        case "stack_shape":
            return Undrawn(rows["handle"], word=names.stack_shape)
        case "state":
            return Undrawn(rows["state"], word=STATES.__getitem__)
        case "lifetime_ns":
            return Undrawn(lasted(rows), rows["freed_ns"] >= 0)
        case "contradiction":
            return Undrawn(rows["contradiction"], word=CONTRADICTIONS.__getitem__)
        case "comm":
            return text(rows["comm"], names.comm)
        case "free_comm" | "reused_comm":
            return text(rows[name], lambda words: names.comm(words) or None)
        case "freed_ns" | "free_pid" | "now_pfn" | "reused_pid":
            return positive(rows[name])
    return Undrawn(rows[name])

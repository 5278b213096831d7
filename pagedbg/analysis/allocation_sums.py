# SPDX-License-Identifier: GPL-2.0-or-later
"""Sums of captured allocations by key, and of what was summed up while recording."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pagedbg.analysis.correlation_pieces import Summed
from pagedbg.analysis.grouping import Amounts, page_amounts
from pagedbg.analysis.keys import KeySums
from pagedbg.analysis.names import Names
from pagedbg.schema.allocation import LIVE, MIGRATED, SPLIT_UP
from pagedbg.schema.batch import Records

if TYPE_CHECKING:
    import duckdb

# What only rows need that stand for many allocations.
_OF_MANY = ("many", "until", "shortest", "longest")


class AllocationSums(KeySums):
    """
    Sums of arrays of :data:`pagedbg.schema.allocation.ALLOCATION`.

    :param summed: whether some rows stand for many allocations
    """

    def __init__(
        self,
        db: duckdb.DuckDBPyConnection,
        names: Names,
        by: Sequence[str],
        amounts: Amounts,
        *,
        summed: bool,
    ) -> None:
        super().__init__(db, names, by, amounts)
        self._of_many = summed

    def add_rows(self, rows: NDArray[Any]) -> None:
        """Add allocations."""
        held = np.isin(rows["state"], (LIVE, MIGRATED, SPLIT_UP))
        begun, time = rows["ts_nsec"].astype(np.int64), lasted(rows)
        self._add(
            rows,
            # Of what is not held, all of its pages.
            pages=np.where(held, rows["held"], block_pages(rows)),
            begun=begun,
            lasted=time,
            many=np.ones(len(rows), np.int64),
            until=begun,
            shortest=time,
            longest=time,
        )

    def add_summed(self, summed: Summed, states: Collection[int]) -> None:
        """Add sums of what was freed, of some states."""
        chosen = np.isin(summed.rows["state"], list(states))
        rows = summed.rows[chosen]
        columns = {name: column[chosen] for name, column in summed.columns.items()}
        self._add(
            rows,
            pages=columns["count"] * block_pages(rows),
            begun=columns["first"],
            lasted=columns["longest"],
            many=columns["count"],
            until=columns["last"],
            shortest=columns["shortest"],
            longest=columns["longest"],
        )

    def _add(self, rows: NDArray[Any], **measured: NDArray[Any]) -> None:
        if not self._of_many:
            for name in _OF_MANY:
                del measured[name]
        self.add(Records(rows), **measured)


def allocation_amounts(page_size: int, now: int | None, *, summed: bool) -> Amounts:
    """
    What :data:`pagedbg.schema.relations.ALLOCATION_SUMS` says: pages, and the greatest
    and the least age.

    :param now: the time that ages count to, in ns; None if it is not known
    :param summed: whether some rows stand for many allocations
    """
    pages = page_amounts(page_size)
    ages = {"first": "min(first)", "last": "max(last)"}
    each = {"first": "min(begun)", "last": "max(begun)"}
    if summed:
        each |= {"blocks": "sum(many)::BIGINT", "last": "max(until)"}

    def since(time: str) -> str:
        # A damaged capture may say any time.
        return "NULL" if now is None else f"greatest({now}::HUGEINT - {time}, 0)"

    return Amounts(
        {**pages.each, **each},
        {**(pages.joined or {}), **ages},
        {
            **pages.columns,
            "oldest": since(ages["first"]),
            "youngest": since(ages["last"]),
        },
    )


def block_pages(rows: NDArray[Any]) -> NDArray[np.int64]:
    """The pages that each allocation began with."""
    return np.int64(1) << rows["order"].astype(np.int64)


def lasted(rows: NDArray[Any]) -> NDArray[np.int64]:
    """How long what was freed had lasted, in ns."""
    found: NDArray[np.int64] = rows["freed_ns"] - rows["ts_nsec"].astype(np.int64)
    return found

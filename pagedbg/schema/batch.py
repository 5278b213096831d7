# SPDX-License-Identifier: GPL-2.0-or-later
"""Rows of a relation as they are handed on: some ten thousand at once, as columns."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Protocol

from numpy.typing import NDArray


class Batch(Protocol):
    """
    Rows that each tell of one allocation, wherever they come from: a block on record, a
    captured allocation, an event.
    """

    def __len__(self) -> int:
        """Return how many rows there are."""

    @property
    def members(self) -> Collection[str]:
        """
        The names that :meth:`column` knows: pfn, order, gfp_mask, handle and pid, and
        where the kernel writes them down tgid, comm and ts_nsec, perhaps more.
        """

    def column(self, member: str) -> NDArray[Any]:
        """Return a member of each row."""


class Records:
    """A structured array as a batch."""

    def __init__(self, records: NDArray[Any], owner: str = "") -> None:
        """
        :param owner: what stands before ``pid``, ``tgid`` and ``comm`` in the names of
            the members that say who allocated
        """
        self._records = records
        self._owner = {name: owner + name for name in ("pid", "tgid", "comm")}

    def __len__(self) -> int:
        return len(self._records)

    @property
    def members(self) -> Collection[str]:
        """The names that :meth:`column` knows."""
        return self._records.dtype.names or ()

    def column(self, member: str) -> NDArray[Any]:
        """Return a member of each row."""
        column: NDArray[Any] = self._records[self._owner.get(member, member)]
        return column

# SPDX-License-Identifier: GPL-2.0-or-later
"""Blocks of pages, as columns: a row a block."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclasses.dataclass
class Blocks:
    """
    Blocks of pages, a row a block.

    ``pfn`` is where the block begins, ``pages`` how many of its pages are in the state
    asked for (fewer than ``1 << order`` where it was freed in part). The record of the
    first of these pages is element ``index`` of ``source`` (or, where ``index`` is
    None, that of the same row):
    :meth:`column` takes one member out of all of them, or one of the three others;
    :attr:`records` copies them, which is dear. ``columns`` has members of ``source``
    that lie one behind the other, where they were wanted before. ``unread`` and
    ``damaged`` count the pages of this piece whose record could not be read, or says an
    order that no allocation can have.
    """

    pfn: NDArray[np.uint64]
    order: NDArray[np.uint8]
    pages: NDArray[np.int64]
    source: NDArray[Any]
    index: NDArray[np.int64] | None = None
    unread: int = 0
    damaged: int = 0
    columns: Mapping[str, NDArray[Any]] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.pfn)

    @property
    def end_pfn(self) -> NDArray[np.uint64]:
        """The first page frame behind each block."""
        end: NDArray[np.uint64] = self.pfn + (
            np.uint64(1) << self.order.astype(np.uint64)
        )
        return end

    @property
    def records(self) -> NDArray[Any]:
        """Each block's record."""
        return self.source if self.index is None else self.source[self.index]

    @property
    def members(self) -> tuple[str, ...]:
        """
        The names that :meth:`column` knows: the members that this kernel's records
        have.
        """
        return self.source.dtype.names or ()

    def column(self, member: str) -> NDArray[Any]:
        """
        A member of each block's record.

        :raises LookupError: if the kernel does not write it down
        """
        if member in ("pfn", "order", "pages"):
            # Of a block, which the record of one of its pages does not tell.
            own: NDArray[Any] = getattr(self, member)
            return own
        if member not in self.members:
            raise LookupError(f"this kernel's page_owner does not write down {member}")
        column = self.columns.get(member)
        if column is None:
            column = self.source[member]
        return column if self.index is None else column[self.index]

    def take(self, which: NDArray[Any] | slice) -> Blocks:
        """The rows that an index, a mask or a slice chooses."""
        index = np.arange(len(self)) if self.index is None else self.index
        return Blocks(
            self.pfn[which],
            self.order[which],
            self.pages[which],
            self.source,
            index[which],
            columns=self.columns,
        )

    @classmethod
    def joined(cls, several: Sequence[Blocks]) -> Blocks:
        """The rows of several, one behind the other; what they count is not kept."""
        return cls(
            np.concatenate([each.pfn for each in several]),
            np.concatenate([each.order for each in several]),
            np.concatenate([each.pages for each in several]),
            np.concatenate([each.records for each in several]),
        )

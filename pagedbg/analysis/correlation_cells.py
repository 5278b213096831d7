# SPDX-License-Identifier: GPL-2.0-or-later
"""The pages of allocations, and what the events say of each."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pagedbg.analysis.correlation_arrays import PFN_BITS, find, page_key, pages_of
from pagedbg.analysis.correlation_pairing import Marks


@dataclasses.dataclass
class Cells:
    """
    Pages of allocations, one a row: ``row`` says of which. By the events it is
    ``held``; was ``freed`` (whenever it was, with the ``same`` stack on record as when
    it was allocated: it may have been there before and been migrated away); or is
    ``leaving``, migrated away and not freed yet. ``head`` is the index of the head of
    the block that it was migrated with, −1 for none.
    """

    row: NDArray[np.intp]
    pfn: NDArray[np.uint64]
    held: NDArray[np.bool_]
    freed: NDArray[np.bool_]
    same: NDArray[np.bool_]
    leaving: NDArray[np.bool_]
    head: NDArray[np.intp]

    @classmethod
    def of(
        cls,
        row: NDArray[np.intp],
        pfn: NDArray[np.uint64],
        *,
        held: bool = False,
        freed: bool = False,
    ) -> Cells:
        """Pages that were never migrated."""
        count = len(row)
        return cls(
            row,
            pfn,
            np.full(count, held),
            np.full(count, freed),
            np.zeros(count, np.bool_),
            np.zeros(count, np.bool_),
            np.full(count, -1),
        )

    def take(self, which: NDArray[np.bool_]) -> Cells:
        """Those in a mask, of cells that were never migrated."""
        return Cells(
            **{
                field.name: getattr(self, field.name)[which]
                for field in dataclasses.fields(self)
            }
        )


def followed_cells(
    rows: NDArray[Any],
    marks: Marks,
    row: NDArray[np.intp],
    of_row: NDArray[np.intp],
    copies: NDArray[Any],
    of_copy: NDArray[np.intp],
    resets: NDArray[Any],
    of_reset: NDArray[np.intp],
) -> tuple[Cells, NDArray[np.uint64]]:
    """
    Find the pages on which some allocations have ever been, and what the events say of
    each; mark the allocations that were migrated.

    :param row: the allocations, indices of ``rows``
    :param of_row: the group of each that its events may be about, as ``of_copy`` and
        ``of_reset`` are of each event
    :return: the pages, and the key of each, ascending: its group and page frame
    """
    which, pfn = pages_of(rows["pfn"][row], rows["order"][row])
    begun = page_key(of_row[which], pfn)
    key, owner = _owned(marks, begun, row[which])
    # From where they began they were copied on, perhaps several times.
    open_ = np.arange(len(copies))
    while len(open_):
        at = find(key, page_key(of_copy[open_], copies["other_pfn"][open_]))
        if not (at >= 0).any():
            break
        copy, of = open_[at >= 0], owner[at[at >= 0]]
        marks.movable[of] = True
        marks.tails_unknown[
            of[(copies["order"][copy] > 0) & (copies["target_ts"][copy] == 0)]
        ] = True
        marks.moved_whole[
            of[
                (copies["other_pfn"][copy] == rows["pfn"][of])
                & (copies["order"][copy] == rows["order"][of])
            ]
        ] = True
        open_ = open_[at < 0]
        which, pfn = pages_of(copies["pfn"][copy], copies["order"][copy])
        key, owner = _owned(
            marks,
            np.concatenate((key, page_key(of_copy[copy[which]], pfn))),
            np.concatenate((owner, of[which])),
        )
    followed = np.setdiff1d(np.arange(len(copies)), open_)
    copies, of_copy = copies[followed], of_copy[followed]

    def cells_in(
        of: NDArray[np.intp], pfn: NDArray[np.uint64], order: NDArray[Any]
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """
        For each page of some blocks the cell it is, where it is one, and which block it
        is of.
        """
        which, pfns = pages_of(pfn, order)
        at = find(key, page_key(of[which], pfns))
        return at[at >= 0], which[at >= 0]

    size = len(key)
    to, copy = cells_in(of_copy, copies["pfn"], copies["order"])
    away, _ = cells_in(of_copy, copies["other_pfn"], copies["order"])
    gone, reset = cells_in(of_reset, resets["pfn"], resets["order"])
    arrived = np.bincount(find(key, begun), minlength=size)
    arrived += np.bincount(to, minlength=size)
    left = np.bincount(away, minlength=size)
    freed = np.bincount(gone, minlength=size)
    cells = Cells.of(owner, key & np.uint64((1 << int(PFN_BITS)) - 1))
    cells.held = arrived > np.maximum(freed, left)
    cells.freed = freed > left
    cells.leaving = (left > freed) & (left >= arrived)
    cells.same = cells.freed.copy()
    cells.same[gone[resets["handle"][reset] != rows["handle"][owner[gone]]]] = False
    cells.head[to] = find(key, page_key(of_copy, copies["pfn"]))[copy]
    return cells, key


def _owned(
    marks: Marks, keys: NDArray[np.uint64], owners: NDArray[np.intp]
) -> tuple[NDArray[np.uint64], NDArray[np.intp]]:
    """
    Sort pages of allocations; two allocations of one time that were on one page cannot
    be told apart.
    """
    key, first, back = np.unique(keys, return_index=True, return_inverse=True)
    owner = owners[first]
    unlike = owner[back] != owners
    marks.vague[owners[unlike]] = True
    marks.vague[owner[back][unlike]] = True
    return key, owner

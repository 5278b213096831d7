# SPDX-License-Identifier: GPL-2.0-or-later
"""What a correlation does with arrays: look-ups, and pages of blocks."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pagedbg.errors import PagedbgError

# As many pages are looked at together.
_PIECE = 1 << 20

# So many there are on no machine, at once: a capture that says so was made up.
_MOST_TOGETHER = 1 << 26

PFN_BITS = np.uint64(40)
"""
In a key for a page of an allocation, the bits of the page frame number: physical
addresses have 52.
"""


def columns(
    events: NDArray[Any], at: NDArray[np.intp], dtype: np.dtype[Any], names: str
) -> NDArray[Any]:
    """Some members of some events, and the rest of ``dtype`` as zeroes."""
    made = np.zeros(len(at), dtype)
    for name in names.split():
        made[name] = events[name][at]
    return made


def block_size(order: NDArray[Any]) -> NDArray[np.uint64]:
    """The pages of a block of each order."""
    return np.uint64(1) << order.astype(np.uint64)


def page_key(group: NDArray[np.intp], pfn: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """One number for each page of a group of allocations."""
    return group.astype(np.uint64) << PFN_BITS | pfn


def find(values: NDArray[np.uint64], wanted: NDArray[np.uint64]) -> NDArray[np.intp]:
    """Where in a sorted array each value is, −1 if it is not there."""
    if not len(values):
        return np.full(len(wanted), -1)
    at = np.minimum(np.searchsorted(values, wanted), len(values) - 1)
    return np.where(values[at] == wanted, at, -1)


def spread(counts: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """
    Repeat each index as often as its count says, and number the repetitions from 0.

    :raises PagedbgError: if they are more than can be true
    """
    total = int(counts.sum(dtype=np.float64)) if len(counts) else 0
    if total > _MOST_TOGETHER:
        raise PagedbgError(
            f"events of the capture contradict each other, so that {total} pages would"
            " be of one allocation: trace show lists them."
        )
    which = np.repeat(np.arange(len(counts)), counts)
    return which, np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts)


def pages_of(
    pfn: NDArray[np.uint64], order: NDArray[Any]
) -> tuple[NDArray[np.intp], NDArray[np.uint64]]:
    """
    The pages of some blocks: which block each is of, and its page frame.

    :raises PagedbgError: if they are more than can be true
    """
    which, offset = spread(block_size(order).astype(np.int64))
    return which, pfn[which] + offset.astype(np.uint64)


def by_time(
    events: NDArray[Any], times: NDArray[np.uint64]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """
    The indices of events of some allocations, sorted by these, and the index of each
    one's time.
    """
    at = find(times, events["ts_nsec"])
    which = np.flatnonzero(at >= 0)
    which = which[np.argsort(at[which], kind="stable")]
    return which, at[which]


def parts(counts: NDArray[np.int64]) -> Iterator[slice]:
    """Slices of an array whose counts add up to about :data:`_PIECE`."""
    at = np.cumsum(counts) // _PIECE
    for start, end in itertools.pairwise(
        [*np.flatnonzero(np.diff(at, prepend=-1)).tolist(), len(counts)]
    ):
        yield slice(start, end)


def last_by_pfn(
    rows: NDArray[Any], which: NDArray[np.intp]
) -> tuple[NDArray[np.uint64], NDArray[np.intp]]:
    """The page frames at which some allocations begin, and the last of each."""
    pfns, last = np.unique(rows["pfn"][which][::-1], return_index=True)
    return pfns, which[::-1][last]


def first_of(of: NDArray[np.intp], at: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of some events are the first ones of what they are of."""
    first = np.ones(len(of), np.bool_)
    if not len(of):
        return first
    number = np.arange(len(of))
    last = np.empty(int(of.max()) + 1, np.intp)
    last[of] = number
    if np.any(last[of] != number):
        order = np.lexsort((at, of))
        first[order[1:]] = of[order[1:]] != of[order[:-1]]
    return first

# SPDX-License-Identifier: GPL-2.0-or-later
"""
Which allocations that were migrated, split or freed in parts are over, so that no event
about them is of use any more.

Events belong together that are about one allocation, and those about an allocation and
about the page that it was moved to. Together they are over when of each page that they
are about the last thing that is known is that it was freed.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pagedbg.analysis.correlation import correlate
from pagedbg.analysis.correlation_arrays import block_size, find, pages_of
from pagedbg.analysis.correlation_pairing import latest_on
from pagedbg.analysis.evidence import Evidence
from pagedbg.schema.allocation import ALLOCATION, FREED
from pagedbg.schema.event_record import COPY, RESET, SET, taken

# Pages that are looked at together.
_PAGES = 1 << 22


@dataclasses.dataclass
class Over:
    """
    ``events`` says which are of use no more: by them the allocations ``rows`` are over
    (an array of :data:`pagedbg.schema.allocation.ALLOCATION`), which were freed with
    the ``same`` stack on record that they were allocated with, and ``targets`` more
    only made room for others to be migrated to.
    """

    events: NDArray[np.bool_]
    rows: NDArray[Any]
    same: NDArray[np.bool_]
    targets: int


def find_over(
    events: NDArray[Any], until: int, pending: NDArray[np.uint64], evidence: Evidence
) -> Over:
    """
    Find out which of the events belong to what is over.

    :param events: sets, resets, copies and splits in their order
    :param until: all that have an earlier ``ts_nsec`` are there, but for
    :param pending: the times of others that are to come
    """
    times, label = np.unique(events["ts_nsec"], return_inverse=True)
    group = _joined(len(times), *_moves(events, label))[label]
    late = (times >= np.uint64(until)) | (find(np.unique(pending), times) >= 0)
    over = np.ones(len(times), np.bool_)
    over[group[late[label]]] = False
    for part in _candidates(events, group, over):
        over[_held(events[part], group[part])] = False
    # What is no simple case even so, stays.
    which = over[group]
    rows = _rows(events, which, evidence)
    strange = find(times, rows["ts_nsec"][rows["state"] != FREED])
    if len(strange):
        strange_groups = np.unique(group[np.isin(label, strange)])
        over[strange_groups] = False
        which = over[group]
        rows = _rows(events, which, evidence)
    sets = int(np.count_nonzero(which & (events["event"] == SET)))
    return Over(which, rows, _same(events[which], rows), sets - len(rows))


def _rows(
    events: NDArray[Any], which: NDArray[np.bool_], evidence: Evidence
) -> NDArray[Any]:
    if not which.any():
        return np.zeros(0, ALLOCATION)
    return correlate(taken(events, which), None, evidence).allocations


def _moves(
    events: NDArray[Any], label: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Which allocations were moved to pages that others were made on, and which."""
    sets = np.flatnonzero(events["event"] == SET)
    copies = np.flatnonzero(events["event"] == COPY)
    found = latest_on(taken(events, sets), sets, events["pfn"][copies], copies)
    return label[copies[found >= 0]], label[sets[found[found >= 0]]]


def _joined(
    count: int, one: NDArray[np.intp], other: NDArray[np.intp]
) -> NDArray[np.intp]:
    """Number what belongs together, given pairs, by the least of each group."""
    found = np.arange(count)
    while True:
        least = np.minimum(found[one], found[other])
        before = found.copy()
        for each in (one, other):
            np.minimum.at(found, found[each], least)
            np.minimum.at(found, each, least)
        found = found[found]
        if np.array_equal(found, before):
            return found


def _candidates(
    events: NDArray[Any], group: NDArray[np.intp], over: NDArray[np.bool_]
) -> list[NDArray[np.intp]]:
    """
    The events of groups that may be over, by their pages; of others it is noted that
    they are not.
    """
    size = block_size(events["order"]).astype(np.int64)
    kind, many = events["event"], len(over)
    freed, made, all_ = (
        np.bincount(group, size * np.isin(kind, kinds), many)
        for kinds in ((RESET,), (SET,), (SET, RESET, COPY))
    )
    over &= (freed >= made) & (all_ <= _PAGES)
    at = np.flatnonzero(over[group] & np.isin(kind, (SET, RESET, COPY)))
    at = at[np.argsort(group[at], kind="stable")]
    # A group is in one part.
    part = (np.cumsum(all_ * over) // _PAGES).astype(np.int64)[group[at]]
    cuts = np.flatnonzero(np.diff(part)) + 1
    return [np.sort(piece) for piece in np.split(at, cuts) if len(piece)]


def _held(events: NDArray[Any], group: NDArray[np.intp]) -> NDArray[np.intp]:
    """The groups with pages of which the last thing is not that they were freed."""
    which, pfn = pages_of(events["pfn"], events["order"])
    by_page = np.lexsort((which, pfn, group[which]))
    which, pfn = which[by_page], pfn[by_page]
    of = group[which]
    last = np.ones(len(which), np.bool_)
    last[:-1] = (of[1:] != of[:-1]) | (pfn[1:] != pfn[:-1])
    held: NDArray[np.intp] = of[last & (events["event"][which] != RESET)]
    return held


def _same(events: NDArray[Any], rows: NDArray[Any]) -> NDArray[np.bool_]:
    """Which allocations had the stack of theirs on record in all of their frees."""
    times, first = np.unique(rows["ts_nsec"], return_index=True)
    resets = events[events["event"] == RESET]
    at = find(times, resets["ts_nsec"])
    resets, at = resets[at >= 0], at[at >= 0]
    other = rows["handle"][first][at] != resets["handle"]
    same = np.ones(len(times), np.bool_)
    same[at[other]] = False
    return same[find(times, rows["ts_nsec"])]

# SPDX-License-Identifier: GPL-2.0-or-later
"""Which of a capture's events belong to which of its allocations."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pagedbg.analysis.correlation_arrays import (
    block_size,
    columns,
    find,
    last_by_pfn,
    spread,
)
from pagedbg.analysis.evidence import Evidence
from pagedbg.schema.allocation import ALLOCATION
from pagedbg.schema.event_record import COPY, RESET, SET, SPLIT, TRACEPOINT

NO_TIME = np.iinfo(np.int64).max
"""The time of a reset that is not known."""

_RESETS: np.dtype[Any] = np.dtype(
    [
        ("pfn", "<u8"),
        ("ts_nsec", "<u8"),
        ("time", "<i8"),
        ("at", "<i8"),
        ("handle", "<u4"),
        ("order", "u1"),
    ]
)
_COPIES: np.dtype[Any] = np.dtype(
    [
        ("pfn", "<u8"),
        ("ts_nsec", "<u8"),
        ("other_pfn", "<u8"),
        ("target_ts", "<u8"),
        ("at", "<i8"),
        ("order", "u1"),
    ]
)


@dataclasses.dataclass
class Marks:
    """
    What is known of each allocation as a whole, a mask each: that it was made for
    another one to be migrated to (``target``); cannot be told from others (``vague``);
    may have been migrated (``movable``), was so as the block that it began as
    (``moved_whole``), or to a target that was not captured, whose tails have an unknown
    time (``tails_unknown``); and that it is in pieces (``split``).
    """

    target: NDArray[np.bool_]
    vague: NDArray[np.bool_]
    movable: NDArray[np.bool_]
    moved_whole: NDArray[np.bool_]
    tails_unknown: NDArray[np.bool_]
    split: NDArray[np.bool_]


@dataclasses.dataclass
class Paired:
    """
    The allocations of a capture (``rows``, of :data:`ALLOCATION`), and its resets,
    copies and splits, which say with ``ts_nsec`` what allocation they are about, and
    with ``at`` which of the ``events`` they are.

    ``moved`` are the copies of whole blocks to a target that was captured, by
    ``target_ts``, the time of that one.
    """

    events: NDArray[Any]
    rows: NDArray[Any]
    resets: NDArray[Any]
    copies: NDArray[Any]
    splits: NDArray[Any]
    moved: NDArray[Any]
    marks: Marks

    def begun(self, times: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """
        The time of the allocation that a page is of, for times that pages have on
        record.
        """
        # A tail may be migrated on, and its tails after it.
        for _ in range(len(self.moved)):
            at = find(self.moved["target_ts"], times)
            if not (at >= 0).any():
                break
            times = np.where(at >= 0, self.moved["ts_nsec"][at], times)
        return times


def pair(events: NDArray[Any], kinds: NDArray[Any], evidence: Evidence) -> Paired:
    """
    Find out which events belong to which allocation.

    :param kinds: what each event is to be taken for, 0 for nothing
    """
    sets, freeing, copying, splitting = (
        np.flatnonzero(kinds == kind) for kind in (SET, RESET, COPY, SPLIT)
    )
    rows = columns(
        events,
        sets,
        ALLOCATION,
        "pfn ts_nsec span_nsec gfp_mask handle pid tgid comm order flags",
    )
    for name in ("freed_ns", "free_pid", "free_tgid", "now_pfn", "reused_pid"):
        rows[name] = -1
    resets = columns(events, freeing, _RESETS, "pfn ts_nsec handle order")
    resets["at"], resets["time"] = freeing, events["time_nsec"][freeing]
    if len(events) and events["flags"][0] & TRACEPOINT:
        resets = _of_latest(rows, sets, resets)
    copies = columns(events, copying, _COPIES, "pfn ts_nsec other_pfn order")
    copies["at"] = copying
    splits = columns(events, splitting, _RESETS, "pfn ts_nsec order")

    marks = Marks(*np.zeros((6, len(rows)), np.bool_))
    marks.movable[:] = (
        (rows["gfp_mask"] & np.uint32(evidence.movable)) != 0
        if evidence.movable
        else True
    )
    if len(copies) and len(rows):
        _find_targets(events, rows, sets, copies, resets, evidence, marks)
    paired = Paired(
        events, rows, resets, copies, splits, _moved(rows, copies, marks), marks
    )
    for about in (copies, resets, splits):
        about["ts_nsec"] = paired.begun(about["ts_nsec"])
    return paired


def _of_latest(
    rows: NDArray[Any], sets: NDArray[np.intp], resets: NDArray[Any]
) -> NDArray[Any]:
    """
    Find out what is freed where events do not say: the latest allocation of the page.
    One that goes on where another begins has ended.
    """
    found = latest_on(rows, sets, resets["pfn"], resets["at"])
    resets = resets[found >= 0]
    found = found[found >= 0]
    resets["ts_nsec"], resets["handle"] = (
        rows["ts_nsec"][found],
        rows["handle"][found],
    )
    whole = (resets["pfn"] == rows["pfn"][found]) & (
        resets["order"] == rows["order"][found]
    )
    held = np.ones(len(rows), np.bool_)
    held[found[whole]] = False
    ended = [resets]
    last: dict[int, tuple[NDArray[np.uint64], NDArray[np.intp]]] = {
        order: last_by_pfn(rows, np.flatnonzero(rows["order"] == order))
        for order in np.unique(rows["order"]).tolist()
    }
    older = np.flatnonzero(held)
    over = np.zeros(len(older), np.bool_)
    for order, (pfns, which) in last.items():
        at = find(pfns, rows["pfn"][older] >> np.uint64(order) << np.uint64(order))
        over |= (at >= 0) & (which[at] > older) & (order >= rows["order"][older])
    ended.append(_ended(rows, older[over], older[over]))
    large = older[~over & (rows["order"][older] > 0)]
    if len(large):
        by_pfn = np.argsort(rows["pfn"], kind="stable")
        pfns = rows["pfn"][by_pfn]
        start = np.searchsorted(pfns, rows["pfn"][large])
        end = np.searchsorted(
            pfns, rows["pfn"][large] + block_size(rows["order"][large])
        )
        which, offset = spread(end - start)
        newer, older = by_pfn[start[which] + offset], large[which]
        inside = (newer > older) & (rows["order"][newer] < rows["order"][older])
        ended.append(_ended(rows, older[inside], newer[inside]))
    return np.concatenate(ended)


def _find_targets(
    events: NDArray[Any],
    rows: NDArray[Any],
    sets: NDArray[np.intp],
    copies: NDArray[Any],
    resets: NDArray[Any],
    evidence: Evidence,
    marks: Marks,
) -> None:
    """
    Mark the allocations that were made for another one to be migrated to, and give
    copies of whole blocks the time of theirs.
    """
    found = latest_on(rows, sets, copies["pfn"], copies["at"])
    # An allocation that is over by then is another one: that of the target is missing.
    freed = resets[np.isin(resets["ts_nsec"], rows["ts_nsec"][found])]
    freed = freed[np.argsort(freed["ts_nsec"], kind="stable")]
    start, end = (
        np.searchsorted(freed["ts_nsec"], rows["ts_nsec"][found], side)
        for side in ("left", "right")
    )
    which, offset = spread(end - start)
    reset = freed[start[which] + offset]
    at = copies["pfn"][which]
    over = (
        (reset["at"] < copies["at"][which])
        & (reset["pfn"] <= at)
        & (at < reset["pfn"] + block_size(reset["order"]))
    )
    found[which[over]] = -1
    if evidence.missing:
        # Who migrates has allocated the target.
        found[events["pid"][copies["at"]] != rows["pid"][found]] = -1
    index = np.flatnonzero(found >= 0)
    captured, found = copies[index], found[index]
    marks.target[found] = True
    whole = (
        (captured["order"] > 0)
        & (rows["pfn"][found] == captured["pfn"])
        & (rows["order"][found] == captured["order"])
    )
    # A target is used up by its first copy: that of a later one, to the same page, is
    # missing.
    first = np.zeros(len(found), np.bool_)
    first[np.unique(found, return_index=True)[1]] = True
    whole &= first
    # Where each of its tails has a time of its own, these may be anybody's.
    whole &= rows["span_nsec"][found] == 0
    copies["target_ts"][index[whole]] = rows["ts_nsec"][found[whole]]


def _moved(rows: NDArray[Any], copies: NDArray[Any], marks: Marks) -> NDArray[Any]:
    """
    The copies by which what happens to tails of migrated blocks gets the time of their
    allocation: up to 6.8 ``__folio_copy_owner()`` writes the record of the head only,
    and the others go on with that of the target.
    """
    moved = copies[copies["target_ts"] > 0]
    # If another allocation has the target's time, nobody can say which of the two a
    # page with it is of.
    shared = np.isin(moved["target_ts"], rows["ts_nsec"][~marks.target])
    marks.vague[np.isin(rows["ts_nsec"], moved["ts_nsec"][shared])] = True
    moved = moved[~shared]
    return moved[np.argsort(moved["target_ts"], kind="stable")]


def latest_on(
    rows: NDArray[Any],
    at: NDArray[np.intp],
    pfn: NDArray[np.uint64],
    before: NDArray[np.int64],
) -> NDArray[np.intp]:
    """
    Find the latest allocation of each page before an event.

    :param rows: allocations, ``at`` the numbers of their events, which ascend
    :param before: the number of the event, for each page
    :return: indices of ``rows``, −1 for none
    """
    found = np.full(len(pfn), -1)
    if not len(pfn):
        return found
    limit = np.searchsorted(at, before).astype(np.uint64)
    for order in np.unique(rows["order"]).tolist():
        heads = pfn >> np.uint64(order) << np.uint64(order)
        which = np.flatnonzero(rows["order"] == order)
        pfns, number = np.unique(heads, return_inverse=True)
        numbers = find(pfns, rows["pfn"][which])
        which, numbers = which[numbers >= 0], numbers[numbers >= 0]
        if not len(which):
            continue
        keys = numbers.astype(np.uint64) << np.uint64(32) | which.astype(np.uint64)
        keys.sort()
        place = (
            np.searchsorted(keys, number.astype(np.uint64) << np.uint64(32) | limit) - 1
        )
        key = keys[np.maximum(place, 0)]
        same = (place >= 0) & (key >> np.uint64(32) == number.astype(np.uint64))
        found = np.where(
            same,
            np.maximum(found, (key & np.uint64(0xFFFFFFFF)).astype(np.intp)),
            found,
        )
    return found


def _ended(
    rows: NDArray[Any], older: NDArray[np.intp], block: NDArray[np.intp]
) -> NDArray[Any]:
    """
    Resets at an unknown time of the pages of ``block`` that an older allocation had.
    """
    made = np.zeros(len(older), _RESETS)
    made["ts_nsec"], made["handle"] = rows["ts_nsec"][older], rows["handle"][older]
    made["pfn"], made["order"] = rows["pfn"][block], rows["order"][block]
    made["time"] = NO_TIME
    made["at"] = -1
    return made

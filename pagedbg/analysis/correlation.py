# SPDX-License-Identifier: GPL-2.0-or-later
"""
What became of the allocations in a capture: told by its events, and by what is on
record of their pages now.

An allocation is known by its page frame and the time that page_owner wrote down,
``(pfn, ts_nsec)``, which every event about it carries. So events need no order to be
told apart, and are counted page by page: a set and a copy bring an allocation to a
page, a reset takes it from there. A page of a migrated allocation is freed, too, once
its copy is made: of the resets of a page those beyond its copies are real.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Collection, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pagedbg.errors import PagedbgError
from pagedbg.schema import owner_record
from pagedbg.schema.event_record import COPY, NO_RECORD, RESET, SET, SPLIT, TRACEPOINT

STATES = ("live", "freed", "reused", "migrated", "split", "unknown")
"""
What an allocation may be: still held where it was; over; its page on record of another
one, and not seen to be freed; held elsewhere; in pieces of which some are held; or it
cannot be told.
"""

LIVE, FREED, REUSED, MIGRATED, SPLIT_UP, UNKNOWN = range(len(STATES))

CONTRADICTIONS = (
    None,
    "Its free was captured, yet the kernel has it on record as allocated.",
    (
        "Its free was not captured, yet the kernel has it on record as freed at a time"
        " that the capture covers."
    ),
    (
        "Its free was not captured, yet the kernel has a later allocation of that time"
        " on record."
    ),
)
"""By number: how the kernel's records contradict the capture."""

ALLOCATION: np.dtype[Any] = np.dtype(
    [
        ("pfn", "<u8"),
        ("ts_nsec", "<u8"),
        ("span_nsec", "<u4"),
        ("gfp_mask", "<u4"),
        ("handle", "<u4"),
        ("pid", "<u4"),
        ("tgid", "<u4"),
        ("comm", "<u8", 2),
        ("order", "u1"),
        ("flags", "u1"),
        ("state", "u1"),
        ("contradiction", "u1"),
        ("held", "<i8"),
        ("freed_ns", "<i8"),
        ("free_pid", "<i4"),
        ("free_tgid", "<i4"),
        ("free_comm", "<u8", 2),
        ("now_pfn", "<i8"),
        ("reused_pid", "<i4"),
        ("reused_comm", "<u8", 2),
    ]
)
"""
One captured allocation: what its set event says, and what became of it. Its pages have
a time of ``ts_nsec`` to ``ts_nsec + span_nsec`` on record. ``state`` is an index of
:data:`STATES`, ``contradiction`` of :data:`CONTRADICTIONS`, ``held`` a number of pages,
``freed_ns`` of the clock of ``ts_nsec``. −1, and a comm of zeroes, are not known.
"""

Pages = Callable[[NDArray[np.uint64]], NDArray[Any]]
"""
Returns the record of each page, an array of
:data:`pagedbg.schema.owner_record.PAGE_RECORD`.
"""

# As many pages are looked at together.
_PIECE = 1 << 20

# So many there are on no machine, at once in one way or all in all: a capture that says
# so was made up.
_MOST_TOGETHER, _MOST_PAGES = 1 << 26, 1 << 31

# In a key for a page of an allocation, the bits of the page frame number: physical
# addresses have 52.
_PFN_BITS = np.uint64(40)

_NO_TIME = np.iinfo(np.int64).max

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
class Correlation:
    """
    The allocations of a capture, in the order of their events: an array of
    :data:`ALLOCATION`.

    ``targets`` is how many more there were that only made room for another one to be
    migrated to, and ``compared`` whether pages were looked at.
    """

    allocations: NDArray[Any]
    targets: int
    compared: bool


@dataclasses.dataclass(frozen=True)
class Evidence:
    """
    What is known of how good a capture is.

    ``missing`` are the kinds of events that may have happened unrecorded. ``until`` is
    the time of ``ts_nsec`` up to which events were recorded, and ``current`` says that
    no time has gone by between that and the state of the pages. ``movable`` are the
    bits of a gfp mask, ``__GFP_MOVABLE``, that tell what may be migrated; with 0 all
    may. ``swaps_handles`` is true of kernels (6.9 and later) that leave the migration's
    stack on record of a page that was migrated away: there, a page that is freed with
    its allocation's own stack ends it.
    """

    missing: Collection[int] = ()
    until: int | None = None
    current: bool = False
    movable: int = 0
    swaps_handles: bool = False


def correlate(
    events: NDArray[Any],
    pages: Pages | None = None,
    evidence: Evidence = Evidence(),
    choose: Callable[[NDArray[Any]], NDArray[np.bool_]] | None = None,
) -> Correlation:
    """
    Find out what became of the allocations in a capture.

    :param events: an array of :data:`pagedbg.schema.event_record.RECORD`, in the order
        in which they happened
    :param pages: what is on record of pages; None where there is nothing to compare
        with: ``live`` then means held when the capture ended
    :param choose: which allocations are asked for, given an array of :data:`ALLOCATION`
        of which only what the event says is filled in
    """
    of_pages = (events["flags"] & (NO_RECORD | TRACEPOINT)) != NO_RECORD
    unread = {
        kind
        for kind in (SET, RESET, COPY, SPLIT)
        if (~of_pages & (events["event"] == kind)).any()
    }
    if unread:
        evidence = dataclasses.replace(evidence, missing={*evidence.missing, *unread})
    kinds = np.where(of_pages, events["event"], 0)
    sets, resets, copies, splits = (
        np.flatnonzero(kinds == kind) for kind in (SET, RESET, COPY, SPLIT)
    )
    story = _Story(events, sets, resets, copies, splits, evidence)
    return story.tell(pages, choose)


class _Story:
    """
    One correlation: the allocations, and counters of each one's pages as they are
    looked at.
    """

    def __init__(
        self,
        events: NDArray[Any],
        sets: NDArray[np.intp],
        resets: NDArray[np.intp],
        copies: NDArray[np.intp],
        splits: NDArray[np.intp],
        evidence: Evidence,
    ) -> None:
        self._events, self._evidence = events, evidence
        self._sets = sets
        self._rows = _columns(
            events,
            sets,
            ALLOCATION,
            "pfn ts_nsec span_nsec gfp_mask handle pid tgid comm order flags",
        )
        for name in ("freed_ns", "free_pid", "free_tgid", "now_pfn", "reused_pid"):
            self._rows[name] = -1
        self._resets = _columns(events, resets, _RESETS, "pfn ts_nsec handle order")
        self._resets["at"], self._resets["time"] = resets, events["time_nsec"][resets]
        if len(events) and events["flags"][0] & TRACEPOINT:
            self._pair()
        self._copies = _columns(events, copies, _COPIES, "pfn ts_nsec other_pfn order")
        self._copies["at"] = copies
        self._splits = _columns(events, splits, _RESETS, "pfn ts_nsec order")
        # Which allocations cannot be told from others.
        self._vague = np.zeros(len(self._rows), np.bool_)
        self._is_target = self._find_targets()
        self._adopt_tails()

    # ---- which events belong to which allocation ----

    def _pair(self) -> None:
        """
        Find out what is freed where events do not say: the latest allocation of the
        page. One that goes on where another begins has ended.
        """
        rows, resets = self._rows, self._resets
        found = _latest(rows, self._sets, resets["pfn"], resets["at"])
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
            order: _last_by_pfn(rows, np.flatnonzero(rows["order"] == order))
            for order in np.unique(rows["order"]).tolist()
        }
        older = np.flatnonzero(held)
        over = np.zeros(len(older), np.bool_)
        for order, (pfns, which) in last.items():
            at = _find(pfns, rows["pfn"][older] >> np.uint64(order) << np.uint64(order))
            over |= (at >= 0) & (which[at] > older) & (order >= rows["order"][older])
        ended.append(_ended(rows, older[over], older[over]))
        large = older[~over & (rows["order"][older] > 0)]
        if len(large):
            by_pfn = np.argsort(rows["pfn"], kind="stable")
            pfns = rows["pfn"][by_pfn]
            start = np.searchsorted(pfns, rows["pfn"][large])
            end = np.searchsorted(
                pfns, rows["pfn"][large] + _size(rows["order"][large])
            )
            which, offset = _spread(end - start)
            newer, older = by_pfn[start[which] + offset], large[which]
            inside = (newer > older) & (rows["order"][newer] < rows["order"][older])
            ended.append(_ended(rows, older[inside], newer[inside]))
        self._resets = np.concatenate(ended)

    def _find_targets(self) -> NDArray[np.bool_]:
        """Which allocations were made for another one to be migrated to."""
        rows, copies, resets = self._rows, self._copies, self._resets
        targets = np.zeros(len(rows), np.bool_)
        if not len(copies) or not len(rows):
            return targets
        found = _latest(rows, self._sets, copies["pfn"], copies["at"])
        # An allocation that is over by then is another one: that of the target is
        # missing.
        freed = resets[np.isin(resets["ts_nsec"], rows["ts_nsec"][found])]
        freed = freed[np.argsort(freed["ts_nsec"], kind="stable")]
        start, end = (
            np.searchsorted(freed["ts_nsec"], rows["ts_nsec"][found], side)
            for side in ("left", "right")
        )
        which, offset = _spread(end - start)
        reset = freed[start[which] + offset]
        at = copies["pfn"][which]
        over = (
            (reset["at"] < copies["at"][which])
            & (reset["pfn"] <= at)
            & (at < reset["pfn"] + _size(reset["order"]))
        )
        found[which[over]] = -1
        if self._evidence.missing:
            # Who migrates has allocated the target.
            found[self._events["pid"][copies["at"]] != rows["pid"][found]] = -1
        copies = self._copies[found >= 0]
        found = found[found >= 0]
        targets[found] = True
        whole = (
            (copies["order"] > 0)
            & (rows["pfn"][found] == copies["pfn"])
            & (rows["order"][found] == copies["order"])
        )
        # A target is used up by its first copy: that of a later one, to the same page,
        # is missing.
        first = np.zeros(len(found), np.bool_)
        first[np.unique(found, return_index=True)[1]] = True
        whole &= first
        # Where each of its tails has a time of its own, these may be anybody's.
        whole &= rows["span_nsec"][found] == 0
        self._copies["target_ts"][
            np.searchsorted(self._copies["at"], copies["at"][whole])
        ] = rows["ts_nsec"][found[whole]]
        return targets

    def _adopt_tails(self) -> None:
        """
        Give what happens to tails of migrated blocks the time of their allocation: up
        to 6.8 ``__folio_copy_owner()`` writes the record of the head only, and the
        others go on with that of the target.
        """
        moved = self._copies[self._copies["target_ts"] > 0]
        # If another allocation has the target's time, nobody can say which of the two a
        # page with it is of.
        shared = np.isin(moved["target_ts"], self._rows["ts_nsec"][~self._is_target])
        self._vague[np.isin(self._rows["ts_nsec"], moved["ts_nsec"][shared])] = True
        moved = moved[~shared]
        self._moved = moved[np.argsort(moved["target_ts"], kind="stable")]
        for events in (self._copies, self._resets, self._splits):
            events["ts_nsec"] = self._begun(events["ts_nsec"])

    def _begun(self, times: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """
        The time of the allocation that a page is of, for times that pages have on
        record.
        """
        # A tail may be migrated on, and its tails after it.
        for _ in range(len(self._moved)):
            at = _find(self._moved["target_ts"], times)
            if not (at >= 0).any():
                break
            times = np.where(at >= 0, self._moved["ts_nsec"][at], times)
        return times

    # ---- what became of them ----

    def tell(
        self,
        pages: Pages | None,
        choose: Callable[[NDArray[Any]], NDArray[np.bool_]] | None,
    ) -> Correlation:
        rows = self._rows
        wanted = ~self._is_target
        if choose is not None:
            wanted &= choose(rows)
        self._pages = pages
        count = len(rows)
        self._held, self._unknown, self._reused = (
            np.zeros(count, np.int64) for _ in range(3)
        )
        self._split = np.zeros(count, np.bool_)
        self._home, self._moved_whole = (
            np.zeros(count, np.intp),
            np.zeros(count, np.bool_),
        )
        self._tails_unknown = np.zeros(count, np.bool_)
        self._last = np.full(count, -1)
        movable = self._evidence.movable
        self._movable = (
            (rows["gfp_mask"] & np.uint32(movable)) != 0
            if movable
            else np.ones(count, np.bool_)
        )

        times, group = np.unique(rows["ts_nsec"], return_inverse=True)
        of_group = np.zeros(len(times), np.intp)
        of_group[group] = np.arange(count)
        involved = np.bincount(group, minlength=len(times)) > 1
        for events in (self._copies, self._splits):
            at = _find(times, events["ts_nsec"])
            involved[at[at >= 0]] = True
        at = _find(times, self._resets["ts_nsec"])
        resets, at = self._resets[at >= 0], at[at >= 0]
        row = of_group[at]
        partial = (resets["pfn"] != rows["pfn"][row]) | (
            resets["order"] != rows["order"][row]
        )
        involved[at[partial]] = True
        involved |= np.bincount(at, minlength=len(times)) > 1

        freed = ~involved[at] & wanted[row]
        self._tell_freed(row[freed], resets[freed])
        self._tell_held(np.flatnonzero(wanted & ~involved[group] & (self._last < 0)))
        self._tell_involved(np.flatnonzero(wanted & involved[group]))
        return Correlation(
            self._decide(wanted),
            int(np.count_nonzero(self._is_target)),
            pages is not None,
        )

    def _tell_freed(self, row: NDArray[np.intp], resets: NDArray[Any]) -> None:
        """Allocations that were freed, and nothing else."""
        self._last[row] = np.arange(len(row))
        self._freeing = resets
        for part in _parts(np.ones(len(row), np.int64)):
            one, reset = row[part], resets[part]
            heads = _Cells.of(one, self._rows["pfn"][one], held=False)
            heads.freed[:] = True
            heads.same = reset["handle"] == self._rows["handle"][one]
            records = self._read(heads)
            if records is not None:
                # What is still on record is looked at as a whole.
                whole = self._mine(heads, records) & (
                    records["state"] == owner_record.ALLOCATED
                )
                again = one[whole]
                which, offset = _spread(
                    _size(self._rows["order"][again]).astype(np.int64)
                )
                cells = _Cells.of(
                    again[which],
                    self._rows["pfn"][again[which]] + offset.astype(np.uint64),
                    held=False,
                )
                cells.freed[:] = True
                self._judge(cells, self._read(cells))
                heads, records = heads.take(~whole), records[~whole]
            self._judge(heads, records)

    def _tell_held(self, row: NDArray[np.intp]) -> None:
        """Allocations that nothing is known of but their beginning."""
        pages = _size(self._rows["order"][row]).astype(np.int64)
        if pages.sum() > _MOST_PAGES:
            raise PagedbgError(
                f"the capture says that {pages.sum()} pages are held, which is more"
                " than a machine has: trace show lists its events."
            )
        for part in _parts(pages):
            which, offset = _spread(pages[part])
            of = row[part][which]
            cells = _Cells.of(
                of, self._rows["pfn"][of] + offset.astype(np.uint64), held=True
            )
            self._judge(cells, self._read(cells))

    def _tell_involved(self, row: NDArray[np.intp]) -> None:
        """
        All the others, those with one time together: its events may be about any of
        them.
        """
        row = row[np.argsort(self._rows["ts_nsec"][row], kind="stable")]
        times, of_row = np.unique(self._rows["ts_nsec"][row], return_inverse=True)
        (resets, of_reset), (copies, of_copy), (splits, of_split) = (
            _by_time(events, times)
            for events in (self._resets, self._copies, self._splits)
        )
        size = np.bincount(of_row, _size(self._rows["order"][row]), len(times))
        size += np.bincount(of_copy, _size(copies["order"]), len(times))
        base = len(self._freeing)
        self._freeing = np.concatenate((self._freeing, resets))
        for part in _parts(size.astype(np.int64)):
            r, c, d, s = (
                slice(*np.searchsorted(of, (part.start, part.stop)))
                for of in (of_row, of_copy, of_reset, of_split)
            )
            cells = self._cells(
                row[r],
                of_row[r] - part.start,
                copies[c],
                of_copy[c] - part.start,
                resets[d],
                of_reset[d] - part.start,
            )
            at = _find(cells.key, _key(of_split[s] - part.start, splits["pfn"][s]))
            self._split[cells.row[at[at >= 0]]] = True
            at = _find(cells.key, _key(of_reset[d] - part.start, resets["pfn"][d]))
            latest = np.argsort(resets["time"][d], kind="stable")
            latest = latest[at[latest] >= 0]
            self._last[cells.row[at[latest]]] = base + d.start + latest
            self._judge(cells, self._read(cells))

    def _cells(
        self,
        row: NDArray[np.intp],
        of_row: NDArray[np.intp],
        copies: NDArray[Any],
        of_copy: NDArray[np.intp],
        resets: NDArray[Any],
        of_reset: NDArray[np.intp],
    ) -> _Cells:
        """
        The pages on which some allocations have ever been, and what the events say of
        each.
        """
        rows = self._rows
        which, offset = _spread(_size(rows["order"][row]).astype(np.int64))
        begun = _key(of_row[which], rows["pfn"][row[which]] + offset.astype(np.uint64))
        key, owner = self._owned(begun, row[which])
        # From where they began they were copied on, perhaps several times.
        open_ = np.arange(len(copies))
        while len(open_):
            at = _find(key, _key(of_copy[open_], copies["other_pfn"][open_]))
            if not (at >= 0).any():
                break
            copy, of = open_[at >= 0], owner[at[at >= 0]]
            self._movable[of] = True
            self._tails_unknown[
                of[(copies["order"][copy] > 0) & (copies["target_ts"][copy] == 0)]
            ] = True
            self._moved_whole[
                of[
                    (copies["other_pfn"][copy] == rows["pfn"][of])
                    & (copies["order"][copy] == rows["order"][of])
                ]
            ] = True
            open_ = open_[at < 0]
            which, offset = _spread(_size(copies["order"][copy]).astype(np.int64))
            reached = _key(
                of_copy[copy[which]],
                copies["pfn"][copy[which]] + offset.astype(np.uint64),
            )
            key, owner = self._owned(
                np.concatenate((key, reached)), np.concatenate((owner, of[which]))
            )
        followed = np.setdiff1d(np.arange(len(copies)), open_)
        copies, of_copy = copies[followed], of_copy[followed]

        def count(
            of: NDArray[np.intp], pfn: NDArray[np.uint64], order: NDArray[Any]
        ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
            """
            For each page of some blocks the cell it is, where it is one, and which
            block it is of.
            """
            which, offset = _spread(_size(order).astype(np.int64))
            at = _find(key, _key(of[which], pfn[which] + offset.astype(np.uint64)))
            return at[at >= 0], which[at >= 0]

        size = len(key)
        arrived = np.bincount(_find(key, begun), minlength=size)
        to, copy = count(of_copy, copies["pfn"], copies["order"])
        arrived += np.bincount(to, minlength=size)
        left = np.bincount(
            count(of_copy, copies["other_pfn"], copies["order"])[0], minlength=size
        )
        gone, reset = count(of_reset, resets["pfn"], resets["order"])
        freed = np.bincount(gone, minlength=size)
        cells = _Cells.of(owner, key & np.uint64((1 << int(_PFN_BITS)) - 1), held=False)
        cells.key = key
        cells.held = arrived > np.maximum(freed, left)
        cells.freed = freed > left
        cells.leaving = (left > freed) & (left >= arrived)
        cells.same[gone[resets["handle"][reset] == rows["handle"][owner[gone]]]] = True
        cells.head[to] = _find(key, _key(of_copy, copies["pfn"]))[copy]
        return cells

    def _owned(
        self, keys: NDArray[np.uint64], owners: NDArray[np.intp]
    ) -> tuple[NDArray[np.uint64], NDArray[np.intp]]:
        """
        Sort pages of allocations; two allocations of one time that were on one page
        cannot be told apart.
        """
        key, first, back = np.unique(keys, return_index=True, return_inverse=True)
        owner = owners[first]
        unlike = owner[back] != owners
        self._vague[owners[unlike]] = True
        self._vague[owner[back][unlike]] = True
        return key, owner

    # ---- what pages say ----

    def _read(self, cells: _Cells) -> NDArray[Any] | None:
        return self._pages(cells.pfn) if self._pages is not None else None

    def _mine(self, cells: _Cells, records: NDArray[Any]) -> NDArray[np.bool_]:
        """Which pages have their allocation on record."""
        begun, times = self._begun(records["ts_nsec"]), self._rows["ts_nsec"][cells.row]
        mine: NDArray[np.bool_] = (begun >= times) & (
            begun - times <= self._rows["span_nsec"][cells.row]
        )
        mine &= records["known"] & (records["state"] > 0)
        # The target's event may be lost. But while the head of a block is allocated, no
        # page has its order without being part of it.
        tail = np.flatnonzero(
            ~mine
            & (cells.head >= 0)
            & records["known"]
            & (records["state"] > 0)
            & (records["order"] > 0)
        )
        head = cells.head[tail]
        same = cells.pfn[tail] - cells.pfn[head] < _size(records["order"][head])
        same &= (
            mine[head]
            & (records["state"][head] == owner_record.ALLOCATED)
            & (records["order"][tail] == records["order"][head])
        )
        mine[tail[same]] = True
        return mine

    def _judge(self, cells: _Cells, records: NDArray[Any] | None) -> None:
        """Decide on some pages, and count the verdicts by allocation."""
        row, evidence = cells.row, self._evidence
        missing = {COPY, RESET} & set(evidence.missing)
        movable = self._movable[row]
        lost_copies = movable & (COPY in missing)
        unknown = (
            cells.freed
            & ~cells.held
            & lost_copies
            & ~(cells.same & evidence.swaps_handles)
        )
        if records is None:
            held = cells.held & (not missing)
            unknown |= cells.held & bool(missing)
            self._count(cells, held, unknown, np.zeros(len(row), np.bool_))
            return
        times = self._rows["ts_nsec"][row]
        same = records["handle"] == self._rows["handle"][row]
        mine = self._mine(cells, records)
        foreign = records["known"] & ~mine & (records["state"] > 0)
        held = mine & (records["state"] == owner_record.ALLOCATED) & ~cells.leaving
        over = cells.held & mine & (records["state"] == owner_record.FREED)
        until = evidence.until if evidence.until is not None else -1
        # Whatever is migrated brings its own time: only of a page that is not is it
        # known since when it has been there.
        freed_later = records["free_ts_nsec"].astype(np.int64) > until
        reused_later = (records["ts_nsec"].astype(np.int64) > until) | (
            not evidence.current
        )
        moved = (
            over
            & movable
            & (lost_copies | freed_later)
            & ~(same & evidence.swaps_handles)
        )
        older = foreign & (records["ts_nsec"] < times)
        target = cells.held & older & movable & (not missing) & evidence.current
        moved |= cells.held & foreign & movable & (lost_copies | reused_later) & ~target
        self._is_target[row[target]] = True
        if not evidence.swaps_handles:
            # What looks like tails, or was one, may belong to a block that was migrated
            # here, which wrote the head's record only.
            at = np.flatnonzero(cells.pfn == self._rows["pfn"][row])
            self._home[row[at]] = at
            home, order = self._home[row], self._rows["order"][row]
            whole = mine[home] & (records["order"][home] == order)
            tails = held & (order > 0) & ~whole & ~self._moved_whole[row]
            tails &= movable & (lost_copies | (not evidence.current))
            held &= ~tails
            moved |= tails
        unknown = (unknown | moved | (cells.held & ~mine & ~foreign)) & ~held
        reused = cells.held & foreign & ~moved & ~target
        self._count(cells, held, unknown, reused)

        self._split[row[held & (records["order"] < self._rows["order"][row])]] = True
        # What was not migrated here was allocated here.
        fixed = (
            (records["gfp_mask"] & np.uint32(evidence.movable)) == 0
            if evidence.movable
            else np.zeros(len(row), np.bool_)
        )
        for number, which in (
            (
                1,
                held
                & cells.freed
                & ~cells.held
                & ~(movable & (lost_copies | (not evidence.current))),
            ),
            (2, over & ~moved & ~freed_later & (not missing)),
            (
                3,
                reused
                & fixed
                & ~older
                & (records["ts_nsec"].astype(np.int64) <= until)
                & (not missing),
            ),
        ):
            self._rows["contradiction"][row[which]] = number
        self._note_others(cells, records, over & ~moved, foreign)

    def _count(
        self,
        cells: _Cells,
        held: NDArray[np.bool_],
        unknown: NDArray[np.bool_],
        reused: NDArray[np.bool_],
    ) -> None:
        rows = self._rows
        for counter, which in (
            (self._held, held),
            (self._unknown, unknown),
            (self._reused, reused),
        ):
            np.add.at(counter, cells.row[which], 1)
        row, pfn = cells.row[held], cells.pfn[held]
        away = (pfn < rows["pfn"][row]) | (
            pfn >= rows["pfn"][row] + _size(rows["order"][row])
        )
        # The first page of several: written last.
        rows["now_pfn"][row[away][::-1]] = pfn[away][::-1]

    def _note_others(
        self,
        cells: _Cells,
        records: NDArray[Any],
        freed: NDArray[np.bool_],
        foreign: NDArray[np.bool_],
    ) -> None:
        """Who freed pages by the kernel's record, and who has them now."""
        rows = self._rows
        at = np.flatnonzero(freed)
        at = at[np.argsort(records["free_ts_nsec"][at], kind="stable")]
        rows["freed_ns"][cells.row[at]] = records["free_ts_nsec"][at]
        for name in ("free_pid", "free_tgid"):
            rows[name][cells.row[at]] = records[name][at]
        at = np.flatnonzero(
            foreign
            & (records["state"] == owner_record.ALLOCATED)
            & (cells.held | cells.freed)
        )[::-1]
        rows["reused_pid"][cells.row[at]] = records["pid"][at]
        rows["reused_comm"][cells.row[at]] = records["comm"][at]

    # ---- the end ----

    def _decide(self, wanted: NDArray[np.bool_]) -> NDArray[Any]:
        rows = self._rows
        if not self._evidence.swaps_handles:
            # Tails of a migrated block have the time of a target that was not captured.
            # Nothing shows whose they are once it is split.
            self._vague |= self._tails_unknown & (
                self._split | (SPLIT in self._evidence.missing)
            )
        state = np.full(len(rows), FREED)
        state[self._reused > 0] = REUSED
        state[(self._unknown > 0) | self._vague] = UNKNOWN
        held = (self._held > 0) & ~self._vague
        state[held] = LIVE
        state[held & (rows["now_pfn"] >= 0)] = MIGRATED
        state[held & self._split] = SPLIT_UP
        rows["state"] = state
        rows["held"] = np.where(held, self._held, 0)
        rows["now_pfn"][~held] = -1

        row = np.flatnonzero((state == FREED) & (self._last >= 0))
        reset = self._freeing[self._last[row]]
        later = reset["time"] >= rows["freed_ns"][row]
        row, reset = row[later], reset[later]
        at, told = reset["at"], reset["time"] != _NO_TIME
        rows["freed_ns"][row] = np.where(told, reset["time"], -1)
        for name in ("pid", "tgid"):
            # The events' numbers of processes have no sign: with them, −1 would be out
            # of bounds.
            rows[f"free_{name}"][row] = np.where(
                told, self._events[name][at].astype(np.int64), -1
            )
        rows["free_comm"][row] = np.where(told[:, None], self._events["comm"][at], 0)
        for name in ("freed_ns", "free_pid", "free_tgid"):
            rows[name][state != FREED] = -1
        for name in ("reused_pid", "reused_comm"):
            rows[name][held] = -1 if name == "reused_pid" else 0
        chosen: NDArray[Any] = rows[wanted & ~self._is_target]
        return chosen


@dataclasses.dataclass
class _Cells:
    """
    Pages of allocations, one a row: ``row`` says of which. By the events it is
    ``held``; was ``freed`` (with the ``same`` stack on record as when it was
    allocated); or is ``leaving``, migrated away and not freed yet. ``head`` is the
    index of the head of the block that it was migrated with, −1 for none.
    """

    row: NDArray[np.intp]
    pfn: NDArray[np.uint64]
    held: NDArray[np.bool_]
    freed: NDArray[np.bool_]
    same: NDArray[np.bool_]
    leaving: NDArray[np.bool_]
    head: NDArray[np.intp]
    key: NDArray[np.uint64]

    @classmethod
    def of(cls, row: NDArray[np.intp], pfn: NDArray[np.uint64], held: bool) -> _Cells:
        held_, freed, same, leaving = np.zeros((4, len(row)), np.bool_)
        held_[:] = held
        return cls(
            row,
            pfn,
            held_,
            freed,
            same,
            leaving,
            np.full(len(row), -1),
            np.zeros(0, np.uint64),
        )

    def take(self, which: NDArray[np.bool_]) -> _Cells:
        """Those in a mask, of cells that were never migrated."""
        columns = {
            field.name: getattr(self, field.name) for field in dataclasses.fields(self)
        }
        return _Cells(
            **{
                name: column[which] if len(column) else column
                for name, column in columns.items()
            }
        )


def _columns(
    events: NDArray[Any], at: NDArray[np.intp], dtype: np.dtype[Any], names: str
) -> NDArray[Any]:
    made = np.zeros(len(at), dtype)
    for name in names.split():
        made[name] = events[name][at]
    return made


def _size(order: NDArray[Any]) -> NDArray[np.uint64]:
    return np.uint64(1) << order.astype(np.uint64)


def _key(group: NDArray[np.intp], pfn: NDArray[np.uint64]) -> NDArray[np.uint64]:
    return group.astype(np.uint64) << _PFN_BITS | pfn


def _find(values: NDArray[np.uint64], wanted: NDArray[np.uint64]) -> NDArray[np.intp]:
    """Where in a sorted array each value is, −1 if it is not there."""
    if not len(values):
        return np.full(len(wanted), -1)
    at = np.minimum(np.searchsorted(values, wanted), len(values) - 1)
    return np.where(values[at] == wanted, at, -1)


def _spread(counts: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
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


def _by_time(
    events: NDArray[Any], times: NDArray[np.uint64]
) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """
    The events of some allocations, sorted by these, and the index of each one's time.
    """
    at = _find(times, events["ts_nsec"])
    events, at = events[at >= 0], at[at >= 0]
    order = np.argsort(at, kind="stable")
    return events[order], at[order]


def _parts(counts: NDArray[np.int64]) -> Iterator[slice]:
    """Slices of an array whose counts add up to about :data:`_PIECE`."""
    at = np.cumsum(counts) // _PIECE
    for start, end in itertools.pairwise(
        [*np.flatnonzero(np.diff(at, prepend=-1)).tolist(), len(counts)]
    ):
        yield slice(start, end)


def _last_by_pfn(
    rows: NDArray[Any], which: NDArray[np.intp]
) -> tuple[NDArray[np.uint64], NDArray[np.intp]]:
    """The page frames at which some allocations begin, and the last of each."""
    pfns, last = np.unique(rows["pfn"][which][::-1], return_index=True)
    return pfns, which[::-1][last]


def _latest(
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
        numbers = _find(pfns, rows["pfn"][which])
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
    made["time"] = _NO_TIME
    made["at"] = -1
    return made

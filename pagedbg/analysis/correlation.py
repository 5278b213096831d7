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
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pagedbg.analysis.correlation_arrays import (
    block_size,
    by_time,
    find,
    first_of,
    page_key,
    pages_of,
    parts,
)
from pagedbg.analysis.correlation_cells import Cells, followed_cells
from pagedbg.analysis.correlation_pairing import Paired, pair
from pagedbg.analysis.correlation_verdict import Verdicts
from pagedbg.analysis.evidence import Evidence
from pagedbg.errors import PagedbgError
from pagedbg.schema import owner_record
from pagedbg.schema.event_record import COPY, NO_RECORD, RESET, SET, SPLIT, TRACEPOINT

Pages = Callable[[NDArray[np.uint64]], NDArray[Any]]
"""
Returns the record of each page, an array of
:data:`pagedbg.schema.owner_record.PAGE_RECORD`.
"""

# Of a capture that misses nothing.
_WHOLE = Evidence()

# So many there are on no machine, all in all: a capture that says so was made up.
_MOST_PAGES = 1 << 31


@dataclasses.dataclass
class Correlation:
    """
    The allocations of a capture, in the order of their events: an array of
    :data:`pagedbg.schema.allocation.ALLOCATION`.

    ``targets`` is how many more there were that only made room for another one to be
    migrated to, and ``compared`` whether pages were looked at.
    """

    allocations: NDArray[Any]
    targets: int
    compared: bool


def correlate(
    events: NDArray[Any],
    pages: Pages | None = None,
    evidence: Evidence = _WHOLE,
    choose: Callable[[NDArray[Any]], NDArray[np.bool_]] | None = None,
) -> Correlation:
    """
    Find out what became of the allocations in a capture.

    :param events: an array of :data:`pagedbg.schema.event_record.RECORD`, in the order
        in which they happened
    :param pages: what is on record of pages; None where there is nothing to compare
        with: ``live`` then means held when the capture ended
    :param choose: which allocations are asked for, given an array of
        :data:`pagedbg.schema.allocation.ALLOCATION` of which only what the event says
        is filled in
    """
    of_pages = (events["flags"] & (NO_RECORD | TRACEPOINT)) != NO_RECORD
    unread = {
        kind
        for kind in (SET, RESET, COPY, SPLIT)
        if (~of_pages & (events["event"] == kind)).any()
    }
    if unread:
        evidence = dataclasses.replace(evidence, missing={*evidence.missing, *unread})
    paired = pair(events, np.where(of_pages, events["event"], 0), evidence)
    wanted = ~paired.marks.target
    if choose is not None:
        wanted &= choose(paired.rows)
    verdicts = Verdicts(paired, evidence)
    verdicts.conclude(_Story(paired, verdicts, pages).tell(wanted))
    target = paired.marks.target
    return Correlation(
        paired.rows[wanted & ~target], int(np.count_nonzero(target)), pages is not None
    )


class _Story:
    """
    One correlation: it has the pages of the allocations judged, the simple cases
    first.
    """

    def __init__(self, paired: Paired, verdicts: Verdicts, pages: Pages | None) -> None:
        self._paired, self._verdicts, self._pages = paired, verdicts, pages
        self._rows, self._marks = paired.rows, paired.marks
        # The last of each one's resets, −1 for none.
        self._last = np.full(len(paired.rows), -1)

    def tell(self, wanted: NDArray[np.bool_]) -> NDArray[np.intp]:
        """
        Have the pages of some allocations judged.

        :return: the last of each one's resets, −1 for none
        """
        rows, paired = self._rows, self._paired
        times, group = np.unique(rows["ts_nsec"], return_inverse=True)
        of_group = np.zeros(len(times), np.intp)
        of_group[group] = np.arange(len(rows))
        involved = np.bincount(group, minlength=len(times)) > 1
        for events in (paired.copies, paired.splits):
            at = find(times, events["ts_nsec"])
            involved[at[at >= 0]] = True
        at = find(times, paired.resets["ts_nsec"])
        reset = np.flatnonzero(at >= 0)
        at = at[reset]
        row = of_group[at]
        whole = np.ones(len(reset), np.bool_)
        for name in ("pfn", "order"):
            whole &= paired.resets[name][reset] == rows[name][row]
        # What is freed as a whole first is over: later frees with its time are of where
        # it was migrated to, unseen, or of nothing that is known.
        first = first_of(at, paired.resets["at"][reset])
        over = np.zeros(len(times), np.bool_)
        over[at[first & whole & (paired.resets["at"][reset] >= 0)]] = True
        counts = first | ~(over & ~involved)[at]
        reset, at, row = reset[counts], at[counts], row[counts]
        whole = whole[counts]
        involved[at[~whole]] = True
        involved |= np.bincount(at, minlength=len(times)) > 1

        freed = ~involved[at] & wanted[row]
        self._tell_freed(row[freed], reset[freed])
        self._tell_held(np.flatnonzero(wanted & ~involved[group] & (self._last < 0)))
        self._tell_involved(np.flatnonzero(wanted & involved[group]))
        return self._last

    def _judge(self, cells: Cells) -> None:
        self._verdicts.add(cells, self._read(cells))

    def _read(self, cells: Cells) -> NDArray[Any] | None:
        return self._pages(cells.pfn) if self._pages is not None else None

    def _tell_freed(self, row: NDArray[np.intp], reset: NDArray[np.intp]) -> None:
        """Allocations that were freed, and nothing else."""
        rows = self._rows
        self._last[row] = reset
        for part in parts(np.ones(len(row), np.int64)):
            one = row[part]
            heads = Cells.of(one, rows["pfn"][one], freed=True)
            heads.same = (
                self._paired.resets["handle"][reset[part]] == rows["handle"][one]
            )
            records = self._read(heads)
            if records is not None:
                # What is still on record is looked at as a whole.
                whole = self._verdicts.mine(heads, records) & (
                    records["state"] == owner_record.ALLOCATED
                )
                again = one[whole]
                which, pfn = pages_of(rows["pfn"][again], rows["order"][again])
                self._judge(Cells.of(again[which], pfn, freed=True))
                heads, records = heads.take(~whole), records[~whole]
            self._verdicts.add(heads, records)

    def _tell_held(self, row: NDArray[np.intp]) -> None:
        """Allocations that nothing is known of but their beginning."""
        rows = self._rows
        pages = block_size(rows["order"][row]).astype(np.int64)
        if pages.sum() > _MOST_PAGES:
            raise PagedbgError(
                f"the capture says that {pages.sum()} pages are held, which is more"
                " than a machine has: trace show lists its events."
            )
        for part in parts(pages):
            some = row[part]
            which, pfn = pages_of(rows["pfn"][some], rows["order"][some])
            self._judge(Cells.of(some[which], pfn, held=True))

    def _tell_involved(self, row: NDArray[np.intp]) -> None:
        """
        All the others, those with one time together: its events may be about any of
        them.
        """
        rows, paired = self._rows, self._paired
        row = row[np.argsort(rows["ts_nsec"][row], kind="stable")]
        times, of_row = np.unique(rows["ts_nsec"][row], return_inverse=True)
        (reset, of_reset), (copy, of_copy), (split, of_split) = (
            by_time(events, times)
            for events in (paired.resets, paired.copies, paired.splits)
        )
        copies, splits = paired.copies[copy], paired.splits[split]
        size = np.bincount(of_row, block_size(rows["order"][row]), len(times))
        size += np.bincount(of_copy, block_size(copies["order"]), len(times))
        for part in parts(size.astype(np.int64)):
            r, c, d, s = (
                slice(*np.searchsorted(of, (part.start, part.stop)))
                for of in (of_row, of_copy, of_reset, of_split)
            )
            resets = paired.resets[reset[d]]
            cells, key = followed_cells(
                rows,
                self._marks,
                row[r],
                of_row[r] - part.start,
                copies[c],
                of_copy[c] - part.start,
                resets,
                of_reset[d] - part.start,
            )
            at = find(key, page_key(of_split[s] - part.start, splits["pfn"][s]))
            self._marks.split[cells.row[at[at >= 0]]] = True
            at = find(key, page_key(of_reset[d] - part.start, resets["pfn"]))
            latest = np.argsort(resets["time"], kind="stable")
            latest = latest[at[latest] >= 0]
            self._last[cells.row[at[latest]]] = reset[d][latest]
            self._judge(cells)

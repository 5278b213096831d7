# SPDX-License-Identifier: GPL-2.0-or-later
"""What became of allocations: by what the events and the records say of their pages."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pagedbg.analysis.correlation_arrays import block_size
from pagedbg.analysis.correlation_cells import Cells
from pagedbg.analysis.correlation_pairing import NO_TIME, Paired
from pagedbg.analysis.evidence import Evidence
from pagedbg.schema import owner_record
from pagedbg.schema.allocation import (
    FREED,
    LIVE,
    MIGRATED,
    REUSED,
    SPLIT_UP,
    UNKNOWN,
)
from pagedbg.schema.event_record import COPY, RESET, SPLIT


class Verdicts:
    """
    The verdicts on the pages of allocations, summed up for each allocation: of how many
    pages it is known that they are held, are reused, or that it cannot be told.
    """

    def __init__(self, paired: Paired, evidence: Evidence) -> None:
        self._paired, self._evidence = paired, evidence
        self._rows, self._marks = paired.rows, paired.marks
        self._held, self._unknown, self._reused = np.zeros(
            (3, len(paired.rows)), np.int64
        )
        self._missing = {COPY, RESET} & set(evidence.missing)

    def mine(self, cells: Cells, records: NDArray[Any]) -> NDArray[np.bool_]:
        """Which pages have their allocation on record."""
        begun = self._paired.begun(records["ts_nsec"])
        times = self._rows["ts_nsec"][cells.row]
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
        same = cells.pfn[tail] - cells.pfn[head] < block_size(records["order"][head])
        same &= (
            mine[head]
            & (records["state"][head] == owner_record.ALLOCATED)
            & (records["order"][tail] == records["order"][head])
        )
        mine[tail[same]] = True
        return mine

    def add(self, cells: Cells, records: NDArray[Any] | None) -> None:
        """
        Decide on some pages.

        :param records: what is on record of them; None where there is nothing
        """
        movable = self._marks.movable[cells.row]
        lost_copies = movable & (COPY in self._missing)
        unknown = (
            cells.freed
            & ~cells.held
            & lost_copies
            & ~(cells.same & self._evidence.swaps_handles)
        )
        if records is not None:
            self._add_recorded(cells, records, movable, lost_copies, unknown)
        elif self._missing:
            self._count(self._unknown, cells.row, unknown | cells.held)
        else:
            self._count_held(cells, cells.held)
            self._count(self._unknown, cells.row, unknown)

    def _add_recorded(
        self,
        cells: Cells,
        records: NDArray[Any],
        movable: NDArray[np.bool_],
        lost_copies: NDArray[np.bool_],
        unknown: NDArray[np.bool_],
    ) -> None:
        row, evidence, complete = cells.row, self._evidence, not self._missing
        same = records["handle"] == self._rows["handle"][row]
        mine = self.mine(cells, records)
        foreign = records["known"] & ~mine & (records["state"] > 0)
        held = mine & (records["state"] == owner_record.ALLOCATED) & ~cells.leaving
        over = cells.held & mine & (records["state"] == owner_record.FREED)
        until = evidence.until if evidence.until is not None else -1
        # Whatever is migrated brings its own time: only of a page that is not is it
        # known since when it has been there.
        freed_later = records["free_ts_nsec"].astype(np.int64) > until
        begun_later = records["ts_nsec"].astype(np.int64) > until
        reused_later = begun_later | (not evidence.current)
        moved = (
            over
            & movable
            & (lost_copies | freed_later)
            & ~(same & evidence.swaps_handles)
        )
        older = foreign & (records["ts_nsec"] < self._rows["ts_nsec"][row])
        target = cells.held & older & movable & complete & evidence.current
        moved |= cells.held & foreign & movable & (lost_copies | reused_later) & ~target
        self._marks.target[row[target]] = True
        # What may have been migrated since, unseen.
        unseen = movable & (lost_copies | (not evidence.current))
        if not evidence.swaps_handles:
            tails = self._tails(cells, records, held, mine) & unseen
            held &= ~tails
            moved |= tails
        unknown = (unknown | moved | (cells.held & ~mine & ~foreign)) & ~held
        reused = cells.held & foreign & ~moved & ~target
        self._count_held(cells, held)
        self._count(self._unknown, row, unknown)
        self._count(self._reused, row, reused)

        pieces = held & (records["order"] < self._rows["order"][row])
        self._marks.split[row[pieces]] = True
        # What was not migrated here was allocated here.
        fixed = (
            (records["gfp_mask"] & np.uint32(evidence.movable)) == 0
            if evidence.movable
            else np.zeros(len(row), np.bool_)
        )
        contradictions = {
            1: held & cells.freed & ~cells.held & ~unseen,
            2: over & ~moved & ~freed_later & complete,
            3: reused & fixed & ~older & ~begun_later & complete,
        }
        for number, which in contradictions.items():
            self._rows["contradiction"][row[which]] = number
        self._note_others(cells, records, over & ~moved, foreign)

    def _tails(
        self,
        cells: Cells,
        records: NDArray[Any],
        held: NDArray[np.bool_],
        mine: NDArray[np.bool_],
    ) -> NDArray[np.bool_]:
        """
        Which of the pages that seem to be held may belong to a block that was migrated
        here, which wrote the head's record only: what looks like tails, or was one.
        """
        row = cells.row
        at = np.flatnonzero(cells.pfn == self._rows["pfn"][row])
        home = np.zeros(len(self._rows), np.intp)
        home[row[at]] = at
        home, order = home[row], self._rows["order"][row]
        whole = mine[home] & (records["order"][home] == order)
        tails: NDArray[np.bool_] = (
            held & (order > 0) & ~whole & ~self._marks.moved_whole[row]
        )
        return tails

    @staticmethod
    def _count(
        counter: NDArray[np.int64], row: NDArray[np.intp], which: NDArray[np.bool_]
    ) -> None:
        np.add.at(counter, row[which], 1)

    def _count_held(self, cells: Cells, held: NDArray[np.bool_]) -> None:
        rows = self._rows
        self._count(self._held, cells.row, held)
        row, pfn = cells.row[held], cells.pfn[held]
        away = (pfn < rows["pfn"][row]) | (
            pfn >= rows["pfn"][row] + block_size(rows["order"][row])
        )
        # The first page of several: written last.
        rows["now_pfn"][row[away][::-1]] = pfn[away][::-1]

    def _note_others(
        self,
        cells: Cells,
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

    def conclude(self, last: NDArray[np.intp]) -> None:
        """
        Write into each allocation what became of it.

        :param last: the last of its resets, an index of all of them; −1 for none
        """
        rows, marks = self._rows, self._marks
        if not self._evidence.swaps_handles:
            # Tails of a migrated block have the time of a target that was not captured.
            # Nothing shows whose they are once it is split.
            marks.vague |= marks.tails_unknown & (
                marks.split | (SPLIT in self._evidence.missing)
            )
        held = (self._held > 0) & ~marks.vague
        state = np.full(len(rows), FREED)
        # What is further down outweighs what is above.
        for number, which in (
            (REUSED, self._reused > 0),
            (UNKNOWN, (self._unknown > 0) | marks.vague),
            (LIVE, held),
            (MIGRATED, held & (rows["now_pfn"] >= 0)),
            (SPLIT_UP, held & marks.split),
        ):
            state[which] = number
        rows["state"] = state
        rows["held"] = np.where(held, self._held, 0)
        rows["now_pfn"][~held] = -1
        self._note_resets(np.flatnonzero((state == FREED) & (last >= 0)), last)
        for name in ("freed_ns", "free_pid", "free_tgid"):
            rows[name][state != FREED] = -1
        rows["reused_pid"][held] = -1
        rows["reused_comm"][held] = 0

    def _note_resets(self, row: NDArray[np.intp], last: NDArray[np.intp]) -> None:
        """Who freed allocations by their last event, unless a record is of later."""
        rows, events = self._rows, self._paired.events
        reset = self._paired.resets[last[row]]
        later = reset["time"] >= rows["freed_ns"][row]
        row, reset = row[later], reset[later]
        at, told = reset["at"], reset["time"] != NO_TIME
        rows["freed_ns"][row] = np.where(told, reset["time"], -1)
        for name in ("pid", "tgid"):
            # The events' numbers of processes have no sign: with them, −1 would be out
            # of bounds.
            rows[f"free_{name}"][row] = np.where(
                told, events[name][at].astype(np.int64), -1
            )
        rows["free_comm"][row] = np.where(told[:, None], events["comm"][at], 0)

# SPDX-License-Identifier: GPL-2.0-or-later
"""``correlate``: what became of the allocations that were captured."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pagedbg.analysis.correlation import Correlation, correlate
from pagedbg.analysis.grouping import group
from pagedbg.analysis.selection import Selection
from pagedbg.errors import UsageError
from pagedbg.schema.allocation import CONTRADICTIONS, STATES
from pagedbg.schema.batch import Records
from pagedbg.schema.relations import ALLOCATION_SUMS, ALLOCATIONS, LIFETIMES
from pagedbg.schema.table import Column, Row, Table
from pagedbg.session import Session
from pagedbg.shell.command import argument, command
from pagedbg.shell.filter_options import FILTERS
from pagedbg.shell.table_options import (
    NO_STACK,
    SORT,
    TOP,
    by_parser,
    more_rows,
    parse_sort,
    refuse_no_stack,
    sort_rows,
    without,
)
from pagedbg.sources.allocation_keys import KEYS, AllocationKey
from pagedbg.sources.capture_names import (
    names_by_kernel,
    need_capture,
    what_is_missing,
)
from pagedbg.sources.comparison import comparison, evidence_of

_HELD = ("live", "migrated", "split")

# Rows that are drawn at once.
_BATCH = 1000


def _parse_states(text: str) -> list[str]:
    names = [part.strip() for part in text.split(",")]
    for name in names:
        if name not in STATES:
            raise UsageError(f"{name!r} is no state; choose from {', '.join(STATES)}")
    return names


@command(
    "correlate",
    long_description="""
Say of each allocation that was captured what became of it: live (held where it was),
migrated (held elsewhere), split (some pieces are held), freed (when, by whom), reused
(its page has another owner, its free was not seen), or unknown, where events were lost.

The pages are looked at as they are now, in the dump, or as they were saved with the
capture. Without any of these, live means held when the capture ended. An allocation is
known by its pfn and ts_ns, exactly: nothing is guessed.
""",
    arguments=(
        argument(
            "--state",
            metavar="STATE",
            type=_parse_states,
            help="only these, with commas: " + ", ".join(STATES),
        ),
        argument(
            "--leaked",
            action="store_true",
            help="sum up what is still held, by stack unless --by says otherwise",
        ),
        argument(
            "--lifetimes",
            action="store_true",
            help=(
                "how long what was freed had lasted, by order unless --by says"
                " otherwise"
            ),
        ),
        argument(
            "--by",
            metavar="KEY",
            type=by_parser(KEYS),
            help="sum up by KEY, or several with commas: " + ", ".join(KEYS),
        ),
        TOP,
        SORT,
        NO_STACK,
        FILTERS,
    ),
    examples=(
        ("correlate --by state", "how many allocations are live, freed, migrated"),
        (
            "correlate --leaked --age '>10s' --top 5",
            "which call paths hold what they asked for more than ten seconds ago",
        ),
        ("correlate --leaked --by module", "the same by driver"),
        (
            "correlate --lifetimes --by stack --top 5",
            "how long the allocations of a call path last",
        ),
        (
            "correlate --no-stack --state live --sort ts_ns --top 3",
            "the three youngest allocations that are held",
        ),
    ),
    table=True,
    kernel=False,
)
def correlate_(session: Session, args: argparse.Namespace) -> Table:
    """Run the command."""
    if args.leaked and args.lifetimes:
        raise UsageError(
            "--leaked is of what is held, --lifetimes of what was freed: choose one"
        )
    if args.state and (args.leaked or args.lifetimes):
        raise UsageError(
            "--leaked and --lifetimes choose the states themselves: leave --state out"
        )
    return _Query(session, args).table()


class _Query:
    """One run of the command."""

    def __init__(self, session: Session, args: argparse.Namespace) -> None:
        self._args = args
        capture = need_capture(session)
        self._page_size = capture.page_size
        against = comparison(session, capture)
        self._names = names_by_kernel(session, capture)
        chosen = Selection(args, self._names)
        events = capture.events()
        evidence, said = evidence_of(capture, events, against.current)
        found = correlate(
            events,
            against.pages,
            evidence,
            lambda rows: chosen(Records(rows)),
        )
        self._notes = [
            _counted(found),
            against.words,
            *what_is_missing(capture),
            *said,
        ]
        self._rows = found.allocations
        wrong = int(np.count_nonzero(self._rows["contradiction"]))
        if wrong:
            self._notes.append(
                f"The kernel's records contradict the capture of {wrong} allocations:"
                " column contradiction."
            )
        states = _HELD if args.leaked else ("freed",) if args.lifetimes else args.state
        if states:
            self._rows = self._rows[
                np.isin(self._rows["state"], [STATES.index(state) for state in states])
            ]

    def table(self) -> Table:
        """The answer."""
        args = self._args
        if args.by or (args.leaked and not args.lifetimes):
            refuse_no_stack(args)
        if args.lifetimes:
            self._rows = self._rows[self._rows["freed_ns"] >= 0]
            return self._sums(args.by or ["order"], LIFETIMES, self._lifetimes, "count")
        if args.leaked or args.by:
            return self._sums(
                args.by or ["stack"], ALLOCATION_SUMS, self._amounts, "bytes"
            )
        return self._list()

    # ---- a row an allocation ----

    def _list(self) -> Table:
        columns = (
            without(ALLOCATIONS, "stack") if self._args.no_stack else list(ALLOCATIONS)
        )
        sort = parse_sort(self._args.sort, without(columns, "stack"))
        batches = (
            self._batches()
            if sort is None
            else self._sorted(
                [column.name for column in columns].index(sort[0]), sort[1]
            )
        )
        return Table(
            columns, batches, notes=self._notes, empty="No captured allocation matches."
        )

    def _batches(self) -> Iterator[list[Row]]:
        rows = self._rows[: self._args.top]
        for start in range(0, len(rows), _BATCH):
            yield list(self._draw(rows[start : start + _BATCH]))

    def _sorted(self, index: int, descending: bool) -> Iterator[list[Row]]:
        top = self._args.top
        best: list[tuple[Any, ...]] = []
        for start in range(0, len(self._rows), _BATCH):
            best += self._draw(self._rows[start : start + _BATCH])
            if top is not None:
                best = sort_rows(best, index, descending, top)
        if best:
            yield list(sort_rows(best, index, descending, top))

    def _draw(self, rows: NDArray[Any]) -> Iterator[tuple[Any, ...]]:
        names = self._names
        column = {
            name: rows[name].tolist()
            for name in rows.dtype.names or ()
            if "comm" not in name
        }
        known = {
            name: [None if value < 0 else value for value in column[name]]
            for name in ("freed_ns", "free_pid", "now_pfn", "reused_pid")
        }
        comms = {
            name: list(map(names.comm, rows[name]))
            for name in ("comm", "free_comm", "reused_comm")
        }
        for i, (pfn, order, mask, ts, handle, freed) in enumerate(
            zip(
                *(
                    column[name]
                    for name in ("pfn", "order", "gfp_mask", "ts_nsec", "handle")
                ),
                known["freed_ns"],
                strict=True,
            )
        ):
            yield (
                pfn,
                order,
                1 << order,
                names.gfp(mask),
                names.migratetype(mask),
                column["pid"][i],
                column["tgid"][i],
                comms["comm"][i],
                ts,
                handle,
                *(() if self._args.no_stack else (names.stack(handle),)),
                STATES[column["state"][i]],
                column["held"][i],
                freed,
                None if freed is None else freed - ts,
                known["free_pid"][i],
                comms["free_comm"][i] or None,
                known["now_pfn"][i],
                known["reused_pid"][i],
                comms["reused_comm"][i] or None,
                CONTRADICTIONS[column["contradiction"][i]],
            )

    # ---- sums ----

    def _sums(
        self,
        by: Sequence[str],
        columns: Sequence[Column],
        sums: Callable[[NDArray[np.intp], int], list[list[Any]]],
        first: str,
    ) -> Table:
        keys = [KEYS[name] for name in by]
        headings = [*(key.column for key in keys), *columns]
        name, descending = parse_sort(self._args.sort, headings) or (first, True)
        return Table(
            headings,
            self._summed(
                keys, sums, [column.name for column in headings].index(name), descending
            ),
            notes=self._notes,
            empty="No captured allocation matches.",
        )

    def _summed(
        self,
        keys: Sequence[AllocationKey],
        sums: Callable[[NDArray[np.intp], int], list[list[Any]]],
        index: int,
        descending: bool,
    ) -> Iterator[list[Row]]:
        rows = self._rows
        if not len(rows):
            return
        distinct, which = group(
            [member for key in keys for member in key.members(rows)]
        )
        # Several numbers may stand for one name.
        numbers: dict[tuple[Any, ...], int] = {}
        of = np.array(
            [
                numbers.setdefault(
                    tuple(key.value(self._names, rows[i]) for key in keys), len(numbers)
                )
                for i in distinct
            ]
        )
        drawn = [
            (
                *(
                    list(value) if isinstance(value, tuple) else value
                    for value in values
                ),
                *amounts,
            )
            for values, amounts in zip(
                numbers, zip(*sums(of[which], len(numbers)), strict=True), strict=True
            )
        ]
        chosen = sort_rows(drawn, index, descending, self._args.top)
        if len(chosen) < len(numbers):
            self._notes.append(more_rows(len(numbers) - len(chosen)))
        yield list(chosen)

    def _amounts(self, which: NDArray[np.intp], groups: int) -> list[list[Any]]:
        """
        Blocks, pages, bytes, share, and the greatest and the least age; of what is not
        held all of its pages.
        """
        rows = self._rows
        held = np.isin(rows["state"], [STATES.index(state) for state in _HELD])
        pages = np.zeros(groups, np.int64)
        np.add.at(
            pages,
            which,
            np.where(held, rows["held"], np.int64(1) << rows["order"].astype(np.int64)),
        )
        begun = rows["ts_nsec"].astype(np.int64)
        first, last = (
            np.full(groups, np.iinfo(np.int64).max),
            np.zeros(groups, np.int64),
        )
        np.minimum.at(first, which, begun)
        np.maximum.at(last, which, begun)
        now = self._names.now
        ages = (
            [[None] * groups] * 2
            if now is None
            else [np.maximum(now - times, 0).tolist() for times in (first, last)]
        )
        share = np.round(100 * pages / max(int(pages.sum()), 1), 2)
        blocks = np.bincount(which, minlength=groups)
        return [
            blocks.tolist(),
            pages.tolist(),
            (pages * self._page_size).tolist(),
            share.tolist(),
            *ages,
        ]

    def _lifetimes(self, which: NDArray[np.intp], groups: int) -> list[list[Any]]:
        """
        Number, least, quantiles and greatest of the times that allocations lasted.
        """
        lasted = self._rows["freed_ns"] - self._rows["ts_nsec"].astype(np.int64)
        lasted = lasted[np.lexsort((lasted, which))]
        count = np.bincount(which, minlength=groups)
        begin = np.cumsum(count) - count
        # The nearest rank: a time that one of them did last.
        at = [
            begin + np.maximum(np.ceil(share * count).astype(np.int64) - 1, 0)
            for share in (0, 0.5, 0.9, 0.99, 1)
        ]
        return [count.tolist(), *(lasted[place].tolist() for place in at)]


def _counted(found: Correlation) -> str:
    states = np.bincount(found.allocations["state"], minlength=len(STATES)).tolist()
    parts = [
        f"{count} {state}" for state, count in zip(STATES, states, strict=True) if count
    ]
    said = f"{len(found.allocations)} allocations" + (
        f": {', '.join(parts)}" if parts else ""
    )
    return said + (
        f"; besides, {found.targets} were targets of migrations."
        if found.targets
        else "."
    )

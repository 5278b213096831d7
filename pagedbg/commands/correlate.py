# SPDX-License-Identifier: GPL-2.0-or-later
"""``correlate``: what became of the allocations that were captured."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pagedbg.analysis.correlation import Correlation, correlate
from pagedbg.analysis.grouping import QUANTILES, Amounts, page_amounts
from pagedbg.analysis.keys import KeySums
from pagedbg.analysis.selection import Selection
from pagedbg.analysis.undrawn import Undrawn, positive, text
from pagedbg.errors import UsageError
from pagedbg.schema.allocation import CONTRADICTIONS, STATES
from pagedbg.schema.batch import Records
from pagedbg.schema.relations import (
    ALLOCATION_KEYS,
    ALLOCATION_SUMS,
    ALLOCATIONS,
    LIFETIMES,
)
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
    without,
)
from pagedbg.sources.capture_names import (
    names_by_kernel,
    need_capture,
    what_is_missing,
)
from pagedbg.sources.comparison import comparison, evidence_of

_KEYS = tuple(column.name for column in ALLOCATION_KEYS)

_HELD = ("live", "migrated", "split")

# Rows that are drawn at once; sorted ones in columns that are as wide as they need.
_BATCH = 1000
_SORTED_BATCH = 1 << 15


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
            type=by_parser(_KEYS),
            help="sum up by KEY, or several with commas: " + ", ".join(_KEYS),
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
        self._session = session
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
            return self._sums(args.by or ["order"], LIFETIMES, QUANTILES, "count")
        if args.leaked or args.by:
            return self._sums(
                args.by or ["stack"], ALLOCATION_SUMS, self._amounts(), "bytes"
            )
        return self._list()

    # ---- a row an allocation ----

    def _list(self) -> Table:
        columns = (
            without(ALLOCATIONS, "stack") if self._args.no_stack else list(ALLOCATIONS)
        )
        sort = parse_sort(self._args.sort, without(columns, "stack"))
        rows, top = self._rows, self._args.top
        rows = (
            rows[:top]
            if sort is None
            else rows[self._column(sort[0], rows).order(sort[1], top)]
        )
        return Table(
            columns,
            self._draw(
                [column.name for column in columns],
                rows,
                _BATCH if sort is None else _SORTED_BATCH,
            ),
            notes=self._notes,
            empty="No captured allocation matches.",
        )

    def _draw(
        self, columns: Sequence[str], rows: NDArray[Any], size: int
    ) -> Iterator[list[Row]]:
        for start in range(0, len(rows), size):
            batch = rows[start : start + size]
            drawn = [self._column(name, batch).draw() for name in columns]
            yield list(zip(*drawn, strict=True))

    def _column(self, name: str, rows: NDArray[Any]) -> Undrawn:
        """A column of the allocations."""
        names = self._names
        match name:
            case "pages":
                return Undrawn(_pages(rows))
            case "gfp":
                return Undrawn(rows["gfp_mask"], word=names.gfp)
            case "migratetype":
                return Undrawn(rows["gfp_mask"], word=names.migratetype)
            case "ts_ns":
                return Undrawn(rows["ts_nsec"])
            case "stack":
                return Undrawn(rows["handle"], word=names.stack)
            case "state":
                return Undrawn(rows["state"], word=STATES.__getitem__)
            case "lifetime_ns":
                return Undrawn(_lasted(rows), rows["freed_ns"] >= 0)
            case "contradiction":
                return Undrawn(rows["contradiction"], word=CONTRADICTIONS.__getitem__)
            case "comm":
                return text(rows["comm"], names.comm)
            case "free_comm" | "reused_comm":
                return text(rows[name], lambda words: names.comm(words) or None)
            case "freed_ns" | "free_pid" | "now_pfn" | "reused_pid":
                return positive(rows[name])
        return Undrawn(rows[name])

    # ---- sums ----

    def _sums(
        self, by: Sequence[str], columns: Sequence[Column], amounts: Amounts, first: str
    ) -> Table:
        known = {column.name: column for column in ALLOCATION_KEYS}
        headings = [*(known[name] for name in by), *columns]
        name, descending = parse_sort(self._args.sort, headings) or (first, True)
        return Table(
            headings,
            self._summed(by, amounts, name, descending),
            notes=self._notes,
            empty="No captured allocation matches.",
        )

    def _summed(
        self, by: Sequence[str], amounts: Amounts, sort: str, descending: bool
    ) -> Iterator[Sequence[Row]]:
        rows = self._rows
        held = np.isin(rows["state"], [STATES.index(state) for state in _HELD])
        with closing(KeySums(self._session.db, self._names, by, amounts)) as sums:
            sums.add(
                Records(rows),
                # Of what is not held, all of its pages.
                pages=np.where(held, rows["held"], _pages(rows)),
                begun=rows["ts_nsec"].astype(np.int64),
                lasted=_lasted(rows),
            )
            yield from sums.rows(sort, descending, self._args.top)
            if sums.left:
                self._notes.append(more_rows(sums.left))

    def _amounts(self) -> Amounts:
        """Those of pages, and the greatest and the least age."""
        pages, now = page_amounts(self._page_size), self._names.now
        ages = {"first": "min(first)", "last": "max(last)"}

        def since(time: str) -> str:
            # A damaged capture may say any time.
            return "NULL" if now is None else f"greatest({now}::HUGEINT - {time}, 0)"

        return Amounts(
            {**pages.each, "first": "min(begun)", "last": "max(begun)"},
            {**(pages.joined or {}), **ages},
            {
                **pages.columns,
                "oldest": since(ages["first"]),
                "youngest": since(ages["last"]),
            },
        )


def _pages(rows: NDArray[Any]) -> NDArray[np.int64]:
    return np.int64(1) << rows["order"].astype(np.int64)


def _lasted(rows: NDArray[Any]) -> NDArray[np.int64]:
    """How long what was freed had lasted, in ns."""
    lasted: NDArray[np.int64] = rows["freed_ns"] - rows["ts_nsec"].astype(np.int64)
    return lasted


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

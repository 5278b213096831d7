# SPDX-License-Identifier: GPL-2.0-or-later
"""``correlate``: what became of the allocations that were captured."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pagedbg.analysis.allocation_rows import allocation_column
from pagedbg.analysis.allocation_sums import (
    AllocationSums,
    allocation_amounts,
    lasted,
)
from pagedbg.analysis.correlation_pieces import PiecewiseCorrelation
from pagedbg.analysis.grouping import QUANTILES, SUMMED_QUANTILES, Amounts
from pagedbg.analysis.held_over_time import HeldOverTime
from pagedbg.analysis.histogram import LifetimeClasses
from pagedbg.analysis.selection import Selection
from pagedbg.analysis.undrawn import UndrawnRows
from pagedbg.capture.memory_room import lacking_room
from pagedbg.errors import PagedbgError, UsageError
from pagedbg.output.histogram import histogram
from pagedbg.schema.allocation import ALLOCATION, STATE_WORDS, STATES
from pagedbg.schema.allocation_columns import (
    ALLOCATION_KEYS,
    ALLOCATION_SUMS,
    ALLOCATIONS,
    LIFETIMES,
)
from pagedbg.schema.batch import Records
from pagedbg.schema.histogram_columns import LIFETIME_COUNTS
from pagedbg.schema.nearest import nearest_or_all
from pagedbg.schema.stacks_over_time import StacksOverTime
from pagedbg.schema.table import Column, Row, Table
from pagedbg.session import Session
from pagedbg.shell.command import argument, command
from pagedbg.shell.filter_options import FILTERS, NOT_RECORDED_BY
from pagedbg.shell.option_values import values
from pagedbg.shell.table_options import (
    NO_STACK,
    SORT,
    STACK_PICTURE,
    TABLE_COLUMNS,
    TOP,
    TableColumns,
    by_option,
    more_rows,
    parse_sort,
    refuse_no_stack,
    without,
    without_stacks,
)
from pagedbg.sources.capture_names import (
    names_by_kernel,
    need_capture,
    what_is_missing,
)
from pagedbg.sources.comparison import comparison, evidence_of

_KEYS = tuple(column.name for column in ALLOCATION_KEYS)

# What sums of what was freed are by, and the filters that look at anything else.
_SUMMED_BY = {
    *("order", "stack", "stack_id", "stack_shape", "module", "function"),
    *("gfp", "migratetype", "state"),
}
_OF_EACH = ("pid", "comm", "age", "pfns", "zone", "node")

_EMPTY = "No captured allocation matches."
_HELD = ("live", "migrated", "split")

# Rows that are drawn at once; sorted ones in columns that are as wide as they need.
_BATCH, _SORTED_BATCH = 1000, 1 << 15

# Rows that are kept beside those that are asked for, so that there is less to sort.
_MANY = 1 << 16


def _parse_states(text: str) -> list[str]:
    names = [part.strip() for part in text.split(",")]
    for name in names:
        if name not in STATES:
            raise UsageError(f"{name!r} is no state{nearest_or_all(name, STATES)}")
    return names


TABLE_COLUMNS["correlate"] = TableColumns(
    ALLOCATIONS,
    ALLOCATION_SUMS,
    instead={
        "--histogram": TableColumns(LIFETIME_COUNTS),
        "--lifetimes": TableColumns(sums=LIFETIMES, keys=("order",)),
        "--leaked": TableColumns(sums=ALLOCATION_SUMS, keys=("stack",)),
    },
)


@values("--state")
def _states(session: Session) -> Mapping[str, str]:
    return STATE_WORDS


@command(
    "correlate",
    long_description="""
Say of each allocation that was captured what became of it: live (held where it was),
migrated (held elsewhere), split (some pieces are held), freed (when, by whom), reused
(its page has another owner, its free was not seen), or unknown, where events were lost.
-o FILE.html of this list is a page of stacks over time: of a range that is chosen it
shows what was allocated in it and is still held at its end.

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
            "--histogram",
            action="store_true",
            help="with --lifetimes: how many lasted how long, as bars",
        ),
        by_option(_KEYS),
        TOP,
        SORT,
        NO_STACK,
        NOT_RECORDED_BY,
        FILTERS,
        STACK_PICTURE,
    ),
    examples=(
        ("correlate --by state", "how many allocations are live, freed, migrated"),
        (
            "correlate --leaked --age '>10s' --top 5",
            "which call paths hold what they asked for more than ten seconds ago",
        ),
        ("correlate --leaked --by module", "the same by driver"),
        (
            "correlate -o held.html",
            "who held how much when, and what of it stayed",
        ),
        (
            "correlate --lifetimes --by stack --top 5",
            "how long the allocations of a call path last",
        ),
        (
            "correlate --lifetimes --histogram --orders 4",
            "how many blocks of 16 pages lasted how long",
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
    if args.histogram and (not args.lifetimes or args.by or args.sort or args.top):
        raise UsageError(
            "--histogram is of all lifetimes that filters choose: write --lifetimes"
            " --histogram, without --by, --sort and --top"
        )
    return _Query(session, args).table()


class _Query:
    """One run of the command."""

    def __init__(self, session: Session, args: argparse.Namespace) -> None:
        self._session = session
        self._args = args
        self._capture = capture = need_capture(session)
        self._page_size = capture.page_size
        against = comparison(session, capture)
        self._names = names_by_kernel(session, capture)
        chosen = Selection(args, self._names)
        evidence, said = evidence_of(capture, against.current)
        self._of_each = [name for name in _OF_EACH if getattr(args, name) is not None]
        self._found = PiecewiseCorrelation(
            capture,
            against.pages,
            evidence,
            None if chosen.takes_all else lambda rows: chosen(Records(rows)),
            sums=not self._of_each,
            looked=against.held,
        )
        self._held = against.held
        self._notes = [against.words, *what_is_missing(capture), *said]
        self._states = (
            _HELD if args.leaked else ("freed",) if args.lifetimes else args.state
        )
        self._kept_only = capture.held is not None
        if self._kept_only:
            self._notes += self._of_what_is_held()

    @property
    def _freed(self) -> bool:
        """Whether what was freed is asked for."""
        return not self._states or bool({"freed", "unknown"} & set(self._states))

    @property
    def _numbers(self) -> list[int]:
        """The states that are asked for."""
        return [STATES.index(state) for state in self._states or STATES]

    def _of_what_is_held(self) -> list[str]:
        """
        What there is to say of a capture that has sums of what was freed.

        :raises UsageError: if these do not tell what is asked for
        """
        args = self._args
        sums = self._freed and (args.by or args.lifetimes)
        apart = [f"--{name}" for name in self._of_each]
        apart += [f"--by {name}" for name in args.by or () if name not in _SUMMED_BY]
        if sums and apart:
            raise UsageError(
                f"{apart[0]}: of what was freed this capture has sums by order, stack"
                " and flags only; --leaked does without"
            )
        said = []
        if args.lifetimes and not args.histogram:
            said.append("Median, p90 and p99 may be up to 7 % too great: of sums.")
        if self._freed and not sums:
            said.append("What was freed is not listed: this capture has sums of it.")
        if self._of_each:
            said.append(
                "Of what was freed only the last is counted: these filters cannot"
                " choose among sums."
            )
        return said

    def _rows(self) -> Iterator[NDArray[Any]]:
        """The allocations of the states that are asked for, a part at a time."""
        for rows in self._found.rows(freed=self._freed):
            chosen = rows[np.isin(rows["state"], self._numbers)]
            if self._args.lifetimes:
                chosen = chosen[chosen["freed_ns"] >= 0]
            yield chosen
        self._notes.insert(0, self._found.counted)
        self._notes += self._held.notes if self._held is not None else []
        if wrong := self._found.contradicted:
            self._notes.append(
                f"The kernel's records contradict the capture of {wrong} allocations:"
                " column contradiction."
            )

    def table(self) -> Table:
        """The answer."""
        args = self._args
        if args.by or (args.leaked and not args.lifetimes):
            refuse_no_stack(args)
        if args.histogram:
            return self._histogram()
        if args.lifetimes:
            quantiles = SUMMED_QUANTILES if self._kept_only else QUANTILES
            return self._sums(args.by or ["order"], LIFETIMES, quantiles, "count")
        if args.leaked or args.by:
            amounts = allocation_amounts(
                self._page_size, self._names.now, summed=self._kept_only
            )
            return self._sums(args.by or ["stack"], ALLOCATION_SUMS, amounts, "bytes")
        return self._list()

    # ---- a row an allocation ----

    def _list(self) -> Table:
        columns = (
            without_stacks(ALLOCATIONS) if self._args.no_stack else list(ALLOCATIONS)
        )
        sort = parse_sort(self._args.sort, without(columns, "stack"))
        return Table(
            columns,
            self._draw([column.name for column in columns], sort),
            notes=self._notes,
            empty=_EMPTY,
            over_time=self._over_time,
        )

    def _over_time(self) -> StacksOverTime:
        known = self._capture.summary
        made = HeldOverTime(known.first_set, known.latest, self._page_size)
        for rows in self._rows():
            made.add(rows)
        return made.made(self._names.stack, self._notes)

    def _best(self, sort: tuple[str, bool] | None) -> NDArray[Any]:
        """The rows that are shown, in their order."""
        kept, size = [np.zeros(0, ALLOCATION)], 0
        for rows in self._rows():
            kept.append(rows)
            size += len(rows)
            if self._args.top is not None and size > 2 * self._args.top + _MANY:
                kept = [self._first(sort, np.concatenate(kept))]
                size = len(kept[0])
            elif lacking := lacking_room(size * ALLOCATION.itemsize):
                raise PagedbgError(
                    f"the allocations {lacking} Sum them up with --by, or choose"
                    " some with --top or a filter."
                )
        return self._first(sort, np.concatenate(kept))

    def _first(self, sort: tuple[str, bool] | None, rows: NDArray[Any]) -> NDArray[Any]:
        # Oldest first, and so are equal ones.
        rows = rows[np.lexsort((rows["pfn"], rows["ts_nsec"]))]
        if sort is None:
            return rows[: self._args.top]
        return rows[
            allocation_column(sort[0], rows, self._names).order(sort[1], self._args.top)
        ]

    def _draw(
        self, columns: Sequence[str], sort: tuple[str, bool] | None
    ) -> Iterator[UndrawnRows]:
        rows = self._best(sort)
        size = _BATCH if sort is None else _SORTED_BATCH
        for start in range(0, len(rows), size):
            batch = rows[start : start + size]
            yield UndrawnRows(
                [allocation_column(name, batch, self._names) for name in columns]
            )

    # ---- sums ----

    def _sums(
        self, by: Sequence[str], columns: Sequence[Column], amounts: Amounts, first: str
    ) -> Table:
        known = {column.name: column for column in ALLOCATION_KEYS}
        headings = [*(known[name] for name in by), *columns]
        sort = parse_sort(self._args.sort, headings) or (first, True)
        sums = AllocationSums(
            self._session.db, self._names, by, amounts, summed=self._kept_only
        )
        try:
            for rows in self._rows():
                sums.add_rows(rows)
            if self._found.summed is not None and self._freed:
                sums.add_summed(self._found.summed, self._numbers)
        except BaseException:
            sums.close()
            raise
        return Table(
            headings,
            self._summed(sums, *sort),
            notes=self._notes,
            empty=_EMPTY,
        )

    def _histogram(self) -> Table:
        classes = LifetimeClasses()
        for rows in self._rows():
            classes.add(lasted(rows))
        if (summed := self._found.summed) is not None:
            freed = np.isin(summed.rows["state"], self._numbers)
            classes.add(
                summed.columns["longest"][freed], summed.columns["count"][freed]
            )
        return histogram(LIFETIME_COUNTS, classes.rows(), self._notes, _EMPTY)

    def _summed(
        self, sums: AllocationSums, sort: str, descending: bool
    ) -> Iterator[Sequence[Row]]:
        with closing(sums):
            yield from sums.rows(sort, descending, self._args.top)
            if sums.left:
                self._notes.append(more_rows(sums.left))

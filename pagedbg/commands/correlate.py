# SPDX-License-Identifier: GPL-2.0-or-later
"""``correlate``: what became of the allocations that were captured."""

from __future__ import annotations

import argparse
import functools
import shlex
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from drgn import FaultError
from numpy.typing import NDArray

from pagedbg.analysis.correlation import Correlation, Pages, correlate
from pagedbg.analysis.evidence import Evidence
from pagedbg.analysis.grouping import group
from pagedbg.capture.directory import Capture, CaptureError
from pagedbg.capture.kernel_filter import EVENT_WORDS, parse_events
from pagedbg.errors import PagedbgError, UsageError
from pagedbg.mm.page_owner import page_owner_inited
from pagedbg.mm.page_owner_bulk import page_owners_of_pfns
from pagedbg.schema.allocation import CONTRADICTIONS, STATES
from pagedbg.schema.event_record import COPY, EVENT_NAMES, RESET, SET, SPLIT
from pagedbg.schema.loss import INCOMPLETE, LossKind
from pagedbg.schema.owner_record import PAGE_RECORD
from pagedbg.schema.table import Column, Row, Table
from pagedbg.session import Session
from pagedbg.shell.command import argument, command
from pagedbg.shell.filter_options import FILTERS
from pagedbg.shell.table_options import (
    by_parser,
    more_rows,
    parse_sort,
    parse_top,
    sort_rows,
    without,
)
from pagedbg.sources.capture_names import Captured, need_capture, what_is_missing
from pagedbg.sources.capture_selection import CaptureSelection
from pagedbg.sources.kernel_names import Lookup
from pagedbg.sources.same_boot import check_same_boot
from pagedbg.sources.stack_frames import function_of, module_of

_HELD = ("live", "migrated", "split")

_COLUMNS = (
    Column("pfn", "hex"),
    Column("order", "int"),
    Column("pages", "int"),
    Column("gfp"),
    Column("migratetype"),
    Column("pid", "int"),
    Column("tgid", "int"),
    Column("comm"),
    Column("ts_ns", "ns"),
    Column("handle", "hex"),
    Column("stack", "stack"),
    Column("state"),
    Column("held", "int"),
    Column("freed_ns", "ns"),
    Column("lifetime_ns", "ns"),
    Column("free_pid", "int"),
    Column("free_comm"),
    Column("now_pfn", "hex"),
    Column("reused_pid", "int"),
    Column("reused_comm"),
    Column("contradiction"),
)
_SUMS = (
    Column("blocks", "int"),
    Column("pages", "int"),
    Column("bytes", "bytes"),
    Column("share", "share"),
    Column("oldest", "ns"),
    Column("youngest", "ns"),
)
_LIFETIMES = (
    Column("count", "int"),
    *(Column(name, "ns") for name in ("min", "median", "p90", "p99", "max")),
)

# Rows that are drawn at once.
_BATCH = 1000

_KINDS = frozenset({SET, RESET, COPY, SPLIT})

# By these, events of kinds that nothing counts are missing.
_OF_ANY_KIND = {
    LossKind.KILLED,
    LossKind.MISSED,
    LossKind.DAMAGED,
    LossKind.GONE,
    LossKind.UNCOUNTED,
    LossKind.SILENCED,
    LossKind.CONTRADICTED,
}


class _Key(NamedTuple):
    """
    Something to sum up by: the members that tell one value from another, and what the
    value of a row of them is.
    """

    column: Column
    members: Callable[[NDArray[Any]], list[NDArray[Any]]]
    value: Callable[[_Names, NDArray[Any]], Any]


def _member(name: str) -> Callable[[NDArray[Any]], list[NDArray[Any]]]:
    return lambda rows: [rows[name]]


_KEYS = {
    "stack": _Key(
        Column("stack", "stack"),
        _member("handle"),
        lambda names, row: tuple(names.stack(int(row["handle"]))),
    ),
    "module": _Key(
        Column("module"),
        _member("handle"),
        lambda names, row: names.module(int(row["handle"])),
    ),
    "function": _Key(
        Column("function"),
        _member("handle"),
        lambda names, row: names.function(int(row["handle"])),
    ),
    "comm": _Key(
        Column("comm"),
        lambda rows: list(rows["comm"].T),
        lambda names, row: names.captured.comm(row["comm"]),
    ),
    "pid": _Key(
        Column("pid", "int"), _member("pid"), lambda names, row: int(row["pid"])
    ),
    "order": _Key(
        Column("order", "int"), _member("order"), lambda names, row: int(row["order"])
    ),
    "gfp": _Key(
        Column("gfp"),
        _member("gfp_mask"),
        lambda names, row: names.captured.gfp(int(row["gfp_mask"])),
    ),
    "migratetype": _Key(
        Column("migratetype"),
        _member("gfp_mask"),
        lambda names, row: names.captured.migratetype(int(row["gfp_mask"])),
    ),
    "state": _Key(
        Column("state"), _member("state"), lambda names, row: STATES[row["state"]]
    ),
}


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
        argument("--top", metavar="N", type=parse_top, help="only the first N rows"),
        argument(
            "--sort",
            metavar="COLUMN",
            help=(
                "sort by COLUMN, the greatest first, text from A to Z; -COLUMN turns it"
                " round"
            ),
        ),
        argument(
            "--no-stack", action="store_true", help="leave out the stacks of the rows"
        ),
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


# ---- the evidence ----------


class _Compared(NamedTuple):
    """
    The records of pages, as of when they are, and whether the capture goes on up to
    then.
    """

    pages: Pages | None
    words: str
    current: bool = False


def _compared(session: Session, capture: Capture, names: _Names) -> _Compared:
    """
    What there is to compare a capture with.

    :raises PagedbgError: if the kernel that is open is not the one that the capture is
        of
    """
    target = session.target
    if not target.has_kernel:
        return _saved(capture)
    if target.live:
        if not names.captured.same_boot:
            raise PagedbgError(
                f"{capture.path} is of another boot than the kernel that runs here,"
                " whose pages say nothing of it: open it alone, with pagedbg --capture"
                f" {capture.path}."
            )
    else:
        check_same_boot(session, capture)
    if not capture.page_owner or not page_owner_inited(session.prog):
        return _Compared(
            None,
            "There is no page_owner here to compare with: live means that no free was"
            " seen.",
        )

    def pages(pfns: NDArray[np.uint64]) -> NDArray[Any]:
        return page_owners_of_pfns(session.prog, pfns)

    if target.live:
        return _Compared(
            pages, "Compared with the pages as they are now.", capture.at_work
        )
    return _Compared(pages, f"Compared with the pages as they are in {target.name}.")


def _saved(capture: Capture) -> _Compared:
    without = (
        "There are no pages to compare with: live means held when the capture ended."
    )
    try:
        saved = capture.pages(PAGE_RECORD)
    except CaptureError as error:
        return _Compared(None, f"{error} {without}")
    if saved is None:
        return _Compared(None, without)
    saved = saved[np.argsort(saved["pfn"], kind="stable")]

    def pages(pfns: NDArray[np.uint64]) -> NDArray[Any]:
        found = np.zeros(len(pfns), PAGE_RECORD)
        if len(saved):
            at = np.minimum(np.searchsorted(saved["pfn"], pfns), len(saved) - 1)
            there = saved["pfn"][at] == pfns
            found[there] = saved[at[there]]
        return found

    return _Compared(
        pages, "Compared with the pages as they were when the capture was saved."
    )


def _evidence(
    capture: Capture, events: NDArray[Any], current: bool
) -> tuple[Evidence, list[str]]:
    """How good a capture is, and sentences on what it was not asked for."""
    meta, counts, said = capture.meta, capture.meta.counts, []
    missing: set[int] = set()
    if capture.page_owner:
        for kind in _KINDS - {
            EVENT_WORDS[name.replace("set migrate", "migrate")]
            for name in meta.functions
        }:
            missing.add(kind)
            said.append(
                f"This kernel's {EVENT_NAMES[kind]} events could not be captured."
            )
    filters = [_options(entry.filter) for entry in meta.filters]
    if None in filters:
        missing |= _KINDS
        said.append(
            "What the capture was asked for cannot be made out: events may be missing."
        )
    if any(options != filters[0] for options in filters):
        missing |= {RESET, COPY, SPLIT}
        said.append(
            "The filters were changed meanwhile: events of earlier allocations may be"
            " missing."
        )
    for options in filters:
        if options is None:
            continue
        if "--events" in options:
            asked = parse_events(options["--events"])
            left_out = sorted(kind for kind in _KINDS if not asked >> kind & 1)
            missing |= set(left_out)
            if left_out:
                said.append(
                    "The capture was not asked for the events"
                    f" {', '.join(EVENT_NAMES[kind] for kind in left_out)}."
                )
        if {"--pfns", "--zone", "--node"} & options.keys():
            # What is migrated out of the pages that were asked for is not followed.
            missing |= {RESET, COPY}
    uncounted = meta.recovered is not None and not (
        meta.recovered.counters and meta.recovered.missed
    )
    lost = {loss.kind for loss in capture.losses}
    if uncounted or lost & _OF_ANY_KIND:
        missing |= _KINDS
    elif lost & INCOMPLETE:
        missing |= {
            kind
            for kind in _KINDS
            if sum(counts.recorded_by[kind]) > np.count_nonzero(events["event"] == kind)
        }
    if counts.forgotten:
        missing |= {RESET, COPY, SPLIT}
    until = int(
        max(events["ts_nsec"].max(initial=0), events["time_nsec"].max(initial=0))
    )
    movable = {name: mask for mask, name in capture.gfp_names}.get("__GFP_MOVABLE", 0)
    return Evidence(missing, until, current, movable, meta.kernel.swaps_handles), list(
        dict.fromkeys(said)
    )


def _options(words: str) -> dict[str, str] | None:
    """The options of a filter as they were typed; None if nothing can be made of it."""
    try:
        parts = shlex.split(words)
        options = dict(zip(parts[::2], parts[1::2], strict=False))
        parse_events(options.get("--events", "set"))
    except (ValueError, UsageError):
        return None
    return options


# ---- names ----------


class _Names:
    """
    What numbers stand for: by the capture, and for what it has not saved by the kernel
    of a dump.
    """

    def __init__(self, session: Session, captured: Captured) -> None:
        self.captured: Captured = captured
        self._session = session

    @functools.cached_property
    def _dump(self) -> Lookup | None:
        target = self._session.target
        if not target.has_kernel or target.live or not self.captured.capture.page_owner:
            return None
        try:
            return Lookup(self._session)
        except (LookupError, FaultError):
            return None

    def stack(self, handle: int) -> list[str]:
        """The stack of a handle, innermost frame first."""
        if self._dump is not None and self.captured.capture.stack(handle) is None:
            return self._dump.stack(handle)
        return self.captured.stack(handle)

    def module(self, handle: int) -> str | None:
        """The module of the innermost frame that belongs to one."""
        return module_of(self.stack(handle))

    def function(self, handle: int) -> str | None:
        """The innermost function that is not the allocator's own."""
        return function_of(self.stack(handle))

    @functools.cached_property
    def now(self) -> int | None:
        """
        The time of now, or of the dump, or of the end of the capture, in the clock of
        the events.
        """
        return self._dump.now if self._dump is not None else self.captured.now


# ---- the answers ----------


class _Query:
    """One run of the command."""

    def __init__(self, session: Session, args: argparse.Namespace) -> None:
        self._args = args
        capture = need_capture(session)
        self._names = _Names(session, Captured(session, capture))
        self._page_size = capture.page_size
        compared = _compared(session, capture, self._names)
        events = capture.events()
        evidence, said = _evidence(capture, events, compared.current)
        found = correlate(
            events,
            compared.pages,
            evidence,
            CaptureSelection(args, self._names.captured, self._names),
        )
        self._notes = [
            _counted(found),
            compared.words,
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
        if args.lifetimes:
            self._rows = self._rows[self._rows["freed_ns"] >= 0]
            return self._sums(
                args.by or ["order"], _LIFETIMES, self._lifetimes, "count"
            )
        if args.leaked or args.by:
            return self._sums(args.by or ["stack"], _SUMS, self._amounts, "bytes")
        return self._list()

    # ---- a row an allocation ----

    def _list(self) -> Table:
        columns = without(_COLUMNS, "stack") if self._args.no_stack else list(_COLUMNS)
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
        names, captured = self._names, self._names.captured
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
            name: list(map(captured.comm, rows[name]))
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
                captured.gfp(mask),
                captured.migratetype(mask),
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
        keys = [_KEYS[name] for name in by]
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
        keys: Sequence[_Key],
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

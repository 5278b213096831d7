# SPDX-License-Identifier: GPL-2.0-or-later
"""``trace show`` and ``trace follow``: the recorded events themselves."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pagedbg.analysis.histogram import TimeClasses, ValueCounts
from pagedbg.analysis.selection import Selection
from pagedbg.analysis.undrawn import Undrawn, text
from pagedbg.capture.directory import Capture
from pagedbg.errors import UsageError
from pagedbg.output.histogram import histogram
from pagedbg.schema import filter_words
from pagedbg.schema.batch import Records
from pagedbg.schema.event_columns import EVENTS
from pagedbg.schema.event_filter import read_events
from pagedbg.schema.event_record import EVENT_NAMES, KINDS_BY_WORD, NO_PFN
from pagedbg.schema.histogram_columns import EVENT_COUNTS
from pagedbg.schema.table import Table
from pagedbg.session import Session
from pagedbg.shell.command import argument, command
from pagedbg.shell.filter_options import FILTERS, NOT_RECORDED_BY, ONLY_EVENTS
from pagedbg.shell.table_options import without_stacks
from pagedbg.sources.capture_names import (
    CaptureNames,
    event_names,
    names_of,
    need_capture,
    need_followed_capture,
    what_is_missing,
)
from pagedbg.sources.capture_notes import held
from pagedbg.sources.event_rows import event_rows

_CLASSIC = "classic"

_EMPTY = "No event matches."

_HISTOGRAMS = ("time", "event", "order", "cpu", "comm")

# Rows that are drawn at once.
_DRAWN = 1 << 14

_NO_STACK = argument("--no-stack", action="store_true", help="leave out the stacks")

# How long follow waits for more, in seconds.
_PATIENCE = 0.1


@command(
    "trace show",
    long_description="""
List what was recorded, oldest first. time_ns is when it happened, ts_ns when the page
had been allocated: together with pfn that names the allocation. pid and comm did it,
owner_pid and owner_comm had allocated the page. The stack is the allocation's.

The filters look at the allocation that an event is about. The format classic has a line
for each event in the words of the first page_owner scripts.
""",
    arguments=(
        ONLY_EVENTS,
        argument(
            "--last", metavar="N", type=int, help="only the last N events that match"
        ),
        argument(
            "--histogram",
            metavar="KEY",
            choices=_HISTOGRAMS,
            help="count the events, as bars, by: " + ", ".join(_HISTOGRAMS),
        ),
        _NO_STACK,
        NOT_RECORDED_BY,
        FILTERS,
    ),
    examples=(
        ("trace show --last 20", "what happened just now"),
        (
            "trace show --events reset --comm 'kworker/*'",
            "what kernel workers' pages were freed",
        ),
        ("trace show --histogram time", "when how much happened"),
        ("trace show --format classic", "a line for each event"),
    ),
    table=True,
    formats=(_CLASSIC,),
    kernel=False,
)
def trace_show(session: Session, args: argparse.Namespace) -> Table:
    """Run the command."""
    if args.last is not None and args.last <= 0:
        raise UsageError("--last: write a number of events, as in --last 20")
    capture = need_capture(session)
    names = names_of(session, capture)
    choose = _Choice(args, names)
    chosen = (
        (records[choose(records)] for records, _ in capture.events_in_order())
        if args.last is None
        else [capture.latest(args.last, choose)[0]]
    )
    notes = [*held(capture), *what_is_missing(capture)]
    if args.histogram is not None:
        return _counted(args, names, chosen, notes)
    batches = (batch for records in chosen for batch in _batches(records))
    return _table(args, names, batches, notes)


def _batches(records: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """As many as are drawn at once."""
    for start in range(0, len(records), _DRAWN):
        yield records[start : start + _DRAWN]


@command(
    "trace follow",
    long_description=(
        "Show events as they are recorded, until Ctrl-C: that ends the view, and not"
        " the trace."
    ),
    arguments=(ONLY_EVENTS, _NO_STACK, FILTERS),
    examples=(
        ("trace follow --no-stack --orders '>=4'", "watch large blocks come and go"),
    ),
    table=True,
    formats=(_CLASSIC,),
    paged=False,
)
def trace_follow(session: Session, args: argparse.Namespace) -> Table:
    """Run the command."""
    capture = need_followed_capture(session)
    names = names_of(session, capture)
    choose = _Choice(args, names)
    coming = (records[choose(records)] for records in _coming(capture))
    return _table(args, names, coming, [])


def _coming(capture: Capture) -> Iterator[NDArray[Any]]:
    """
    Records as they are written, those of about a moment in the order of their times.
    """
    tail = capture.tail()
    # Ctrl-C is how this ends, nothing was interrupted.
    try:
        while True:
            records = tail()
            if len(records):
                yield capture.in_order(records)
            elif not Capture(capture.path).recording:
                return
            else:
                # What was shown so far shall be seen, in a file or a pipe, too.
                sys.stdout.flush()
                time.sleep(_PATIENCE)
    except KeyboardInterrupt:
        return


class _Choice:
    """The events and filters of a command line."""

    def __init__(self, args: argparse.Namespace, names: CaptureNames) -> None:
        self._events: list[int] | None = None
        if args.events:
            words = filter_words.named("--events", lambda: read_events(args.events))
            self._events = [KINDS_BY_WORD[word].number for word in words]
        self._selection = Selection(args, names)

    def __call__(self, records: NDArray[Any]) -> NDArray[np.bool_]:
        """Which events pass."""
        chosen = (
            np.ones(len(records), np.bool_)
            if self._events is None
            else np.isin(records["event"], self._events)
        )
        chosen[chosen] = self._selection(Records(records[chosen], owner="owner_"))
        return chosen


def _counted(
    args: argparse.Namespace,
    names: CaptureNames,
    chosen: Iterable[NDArray[Any]],
    notes: list[str],
) -> Table:
    """How many events there are of each: what ``--histogram`` shows."""
    if args.format == _CLASSIC:
        raise UsageError("--histogram counts, and the classic format lists: choose one")
    key = args.histogram
    known = {column.name: column for column in EVENT_COUNTS}
    counts: TimeClasses | ValueCounts
    if key == "time":
        counts, unknown = TimeClasses(), 0
        for records in chosen:
            times = names.capture.times(records)
            counts.add(times)
            unknown += int(np.count_nonzero(times < 0))
        if unknown:
            notes.append(f"Of {unknown:,} events it is not known when they happened.")
        columns = [known["at_least"], known["below"]]
    else:
        counts = ValueCounts()
        for records in chosen:
            counts.add(_values(key, names, records))
        columns = [known[key]]
    columns.append(known["event_count"])
    return histogram(columns, counts.rows(), notes, _EMPTY)


def _values(key: str, names: CaptureNames, records: NDArray[Any]) -> Undrawn:
    """What events are counted by."""
    match key:
        case "event":
            return Undrawn(
                records[key], word=lambda number: EVENT_NAMES.get(number, str(number))
            )
        case "comm":
            return text(records[key], names.comm)
        case "order":
            return Undrawn(records[key][records["pfn"] != NO_PFN])
    return Undrawn(records[key])


def _table(
    args: argparse.Namespace,
    names: CaptureNames,
    batches: Iterable[NDArray[Any]],
    notes: list[str],
) -> Table:
    if args.format == _CLASSIC:
        return Table(
            EVENTS,
            [],
            text=(
                line for records in batches for line in classic_lines(names, records)
            ),
            notes=notes,
        )
    columns = without_stacks(EVENTS) if args.no_stack else EVENTS
    rows = (event_rows(names, records, not args.no_stack) for records in batches)
    return Table(
        columns,
        (batch for batch in rows if batch),
        notes=notes,
        empty=_EMPTY,
    )


def classic_lines(names: CaptureNames, records: NDArray[Any]) -> Iterator[str]:
    """The lines of the project that this one grows out of, letter for letter."""
    times = names.capture.times(records).tolist()
    for when, name, pid, comm in zip(
        times,
        event_names(records["event"].tolist()),
        records["pid"].tolist(),
        records["comm"],
        strict=True,
    ):
        line = f"page_owner info {{{name}}}: timestamp={max(when, 0)} pid={pid}"
        yield (
            line if name == "set migrate" else f"{line} proc_name={names.comm(comm)}"
        )

# SPDX-License-Identifier: GPL-2.0-or-later
"""``trace show`` and ``trace follow``: the recorded events themselves."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pagedbg.analysis.selection import Selection
from pagedbg.capture.directory import Capture, pieces
from pagedbg.errors import PagedbgError, UsageError
from pagedbg.schema import event_record, filter_words
from pagedbg.schema.batch import Records
from pagedbg.schema.event_filter import read_events
from pagedbg.schema.event_record import KINDS_BY_WORD
from pagedbg.schema.relations import EVENTS
from pagedbg.schema.table import Row, Table
from pagedbg.session import Session
from pagedbg.shell.command import argument, command
from pagedbg.shell.filter_options import FILTERS, ONLY_EVENTS
from pagedbg.sources.capture_names import (
    CaptureNames,
    event_names,
    names_of,
    need_capture,
    what_is_missing,
)

_CLASSIC = "classic"
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
        _NO_STACK,
        FILTERS,
    ),
    examples=(
        ("trace show --last 20", "what happened just now"),
        (
            "trace show --events reset --comm 'kworker/*'",
            "what kernel workers' pages were freed",
        ),
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
    records = _Choice(args, names)(capture.events())
    if args.last is not None:
        records = records[-args.last :]
    return _table(args, names, pieces(records), what_is_missing(capture))


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
    capture = need_capture(session)
    if not capture.at_work:
        raise PagedbgError(
            "no trace is running: trace start begins one, trace show lists what was"
            " recorded."
        )
    if capture.meta.ring:
        raise PagedbgError(
            "this trace keeps its events in the rings until they are asked for: trace"
            " show asks."
        )
    names = names_of(session, capture)
    choose = _Choice(args, names)
    return _table(args, names, (choose(records) for records in _coming(capture)), [])


def _coming(capture: Capture) -> Iterator[NDArray[Any]]:
    """
    Records as they are written, those of about a moment in the order of their times.
    """
    at = capture.size_now()
    # Ctrl-C is how this ends, nothing was interrupted.
    try:
        while True:
            records, at = capture.read_from(at)
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

    def __call__(self, records: NDArray[Any]) -> NDArray[Any]:
        """The events that pass."""
        if self._events is not None:
            records = records[np.isin(records["event"], self._events)]
        return records[self._selection(Records(records, owner="owner_"))]


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
    columns = EVENTS[:-1] if args.no_stack else EVENTS
    rows: Iterator[Sequence[Row]] = (
        _rows(names, records, not args.no_stack) for records in batches
    )
    return Table(
        columns,
        (batch for batch in rows if batch),
        notes=notes,
        empty="No event matches.",
    )


def _rows(names: CaptureNames, records: NDArray[Any], with_stack: bool) -> list[Row]:
    times = names.capture.times(records).tolist()
    events = records["event"].tolist()
    no_record = (records["flags"] & event_record.NO_RECORD != 0).tolist()
    column = {
        name: records[name].tolist()
        for name in records.dtype.names or ()
        if "comm" not in name
    }
    rows: list[Row] = []
    for i, (when, event) in enumerate(zip(times, events, strict=True)):
        known = not no_record[i] or event == event_record.SET
        pfn = column["pfn"][i]
        row: list[Any] = [
            when if when >= 0 else None,
            event_record.EVENT_NAMES.get(event, str(event)),
            pfn if pfn != event_record.NO_PFN else None,
            column["order"][i] if pfn != event_record.NO_PFN else None,
            column["pid"][i],
            names.comm(records["comm"][i]),
            column["owner_pid"][i] if known else None,
            names.comm(records["owner_comm"][i]) if known else None,
            names.gfp(column["gfp_mask"][i]) if known else None,
            names.migratetype(column["gfp_mask"][i]) if known else None,
            column["ts_nsec"][i] if known else None,
            column["other_pfn"][i] if event == event_record.COPY else None,
            column["new_order"][i] if event == event_record.SPLIT else None,
            (
                names.reason(column["reason"][i])
                if event == event_record.SET_MIGRATE
                else None
            ),
            column["handle"][i] if known else None,
            column["tgid"][i],
            int(column["flags"][i] & event_record.NESTED != 0),
            column["cpu"][i],
            column["seq"][i],
        ]
        if with_stack:
            row.append(names.stack(column["handle"][i]))
        rows.append(row)
    return rows


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

# SPDX-License-Identifier: GPL-2.0-or-later
"""``trace status``: what is recorded, how, and what was lost."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from typing import Any

from pagedbg.capture.backends.frozen_rings import frozen_rings
from pagedbg.capture.backends.hooks import BOOT_ONLY
from pagedbg.capture.backends.kmod import KMOD
from pagedbg.capture.directory import Capture
from pagedbg.capture.recording import flight_recorder
from pagedbg.capture.summary import NEVER
from pagedbg.output.phrases import seconds
from pagedbg.schema import event_record
from pagedbg.schema.capture_meta import Backend
from pagedbg.schema.event_filter import describe
from pagedbg.schema.kernel_columns import BY_ORDER, TRACE
from pagedbg.schema.loss import LossKind
from pagedbg.schema.table import Row, Table
from pagedbg.session import Session
from pagedbg.shell.command import command
from pagedbg.sources.capture_names import need_capture, what_is_missing
from pagedbg.sources.capture_notes import held, hooks, size
from pagedbg.sources.frozen_notes import FrozenRings, frozen_capture, frozen_here


@command(
    "trace status",
    long_description="""
For each order: how many allocations were seen, how many of them recorded, how many left
out since they are of pagedbg's own processes, and the share of both. Then what else
there is to know: what is attached, how, since when, and how many events were lost. For
programs all of this is one row.

Rings that --freeze-on of trace start has stopped record nothing more, and it is said
what has stopped them; what was seen counts on.
""",
    examples=(
        ("trace status", "what is being recorded"),
        ("trace status --format json", "the same for a script"),
    ),
    table=True,
    kernel=False,
)
def trace_status(session: Session, args: argparse.Namespace) -> Table:
    """Run the command."""
    capture = session.refresh_capture()
    if capture is None:
        if session.target.elsewhere or session.snapshot is not None:
            need_capture(session)
        return _nothing(session)
    rows = _orders(capture)
    span = _span(capture) if capture.meta.recovered else None
    frozen = frozen_capture(session, capture)
    return Table.of(
        TRACE,
        [_row(capture, rows, span, frozen)],
        text=Table.of(BY_ORDER, rows, empty="No allocation was seen yet."),
        closing=[*_notes(capture, span, frozen), *_unjoined(session, capture)],
    )


def _orders(capture: Capture) -> list[Row]:
    counts = capture.meta.counts
    return [
        (order, count, kept, own, 100 * (kept + own) / count)
        for order, (count, kept, own) in enumerate(
            zip(
                counts.seen[event_record.SET],
                counts.recorded_by[event_record.SET],
                counts.seen[event_record.OWN_SETS],
                strict=True,
            )
        )
        if count
    ]


def _row(
    capture: Capture,
    orders: Sequence[Row],
    span: tuple[int, int] | None,
    frozen: FrozenRings | None,
) -> list[Any]:
    """What is known of a capture, as columns of :data:`TRACE`."""
    meta, (first, last) = capture.meta, span or (None, None)
    ended = meta.ended
    filter_ = meta.filters[-1].filter
    values = {
        "state": _state(capture),
        "backend": meta.backend,
        "attach": meta.attach,
        "filter": None if filter_ is None else describe(filter_),
        "directory": meta.recovered.joined if meta.recovered else str(capture.path),
        "functions": _pairs(meta.functions),
        "failed": _pairs(meta.failed),
        "release": meta.kernel.release,
        "build_id": meta.kernel.build_id,
        "boot_id": meta.kernel.boot_id,
        "page_owner": capture.page_owner,
        "slots": meta.slots,
        "begun": meta.begun.wall or None,
        "ended": (ended.wall or None) if ended else None,
        "ended_by": ended.by if ended else None,
        "duration_ns": _duration(capture),
        "seen": sum(order[1] for order in orders),
        "recorded": meta.counts.recorded,
        "kept": capture.contents.records,
        "size": capture.size,
        "first_ns": first,
        "last_ns": last,
        "orders": orders,
        "frozen": [frozen.row()] if frozen else [],
        "losses": [(loss.kind.name.lower(), loss.count) for loss in capture.losses],
    }
    return [values[column.name] for column in TRACE]


def _pairs(names: Mapping[str, str]) -> list[str]:
    return [f"{event}: {name}" for event, name in names.items()]


def _state(capture: Capture) -> str:
    if capture.meta.recovered:
        return "recovered"
    if capture.abandoned:
        return "abandoned"
    return "recording" if capture.meta.ended is None else "ended"


def _duration(capture: Capture) -> int | None:
    """How long was recorded, in ns; None where nobody knows when that ended."""
    meta, state = capture.meta, _state(capture)
    if state in ("recovered", "abandoned"):
        return None
    end = time.monotonic_ns() if meta.ended is None else meta.ended.mono_ns
    return end - meta.begun.mono_ns


def _nothing(session: Session) -> Table:
    """Of a session with no capture: the kernel may record all the same."""
    said = f"No trace is running. trace start would record {describe(session.filter)}."
    found = (
        flight_recorder.find()
        if session.target.has_kernel and session.target.live
        else None
    )
    if found is None:
        return Table.of(TRACE, [], empty=said)
    values: dict[str, Any] = {
        "state": "unattended",
        "backend": found.backend,
        "attach": found.attach,
        "filter": describe(found.filter) if found.filter else None,
        "begun": found.begun.wall if found.begun else None,
    }
    frozen = _frozen(session, found.backend)
    values["frozen"] = [frozen.row()] if frozen else []
    since = f" since {values['begun']}" if values["begun"] else ""
    what = "The kernel module" if found.backend == KMOD else "BPF"
    return Table.of(
        TRACE,
        [[values.get(column.name) for column in TRACE]],
        text=[
            said,
            f"{what} records {values['filter'] or 'what nobody has noted'}{since} with"
            " no recorder, or another pagedbg's: trace attach takes it over.",
            *([frozen.sentence()] if frozen else []),
        ],
    )


def _unjoined(session: Session, capture: Capture) -> list[str]:
    """Where a recorder has died, what is to be said of the dump that is open."""
    if not session.target.elsewhere or not capture.abandoned:
        return []
    return [
        f"What is in the rings of {session.target.name} cannot be told to be of this"
        " recorder: it is left out.",
        *session.recorders[1],
    ]


def _frozen(session: Session, backend: Backend) -> FrozenRings | None:
    """Of what records with no recorder."""
    try:
        frozen = frozen_rings(backend)
    except OSError:
        # Somebody else has it, or it is of another version: trace attach says so.
        return None
    return frozen_here(session, frozen) if frozen else None


def _notes(
    capture: Capture, span: tuple[int, int] | None, frozen: FrozenRings | None
) -> list[str]:
    """
    The same in sentences.

    :param span: from when to when the events are, if that is to be said
    """
    meta = capture.meta
    recovered = meta.recovered
    lasted = f"{(_duration(capture) or 0) / 1e9:.0f} s"
    if recovered and recovered.joined:
        state = f"Joined, {recovered.joined} and the rings in {recovered.from_}"
    elif recovered:
        state = f"Recovered from {recovered.from_}"
    elif capture.abandoned:
        state = "Abandoned"
    elif meta.ended is None:
        state = f"Recording for {lasted}"
    else:
        state = f"Ended ({meta.ended.by}) after {lasted}"
    lost = {loss.kind: loss.count for loss in capture.losses}
    notes = [
        (
            f"{state}, {describe(meta.filters[-1].filter)}:"
            f" {size(capture)}{'' if recovered else f' in {capture.path}'}."
        ),
        *held(capture),
        hooks(meta.attached),
        *([frozen.sentence()] if frozen else []),
        *(
            _reach(span)
            if recovered
            else [
                f"{lost.get(LossKind.OVERWRITTEN, 0)} events overwritten unread,"
                f" {meta.counts.missed} missed by the kernel."
            ]
        ),
    ]
    if capture.page_owner:
        early = next(
            (
                handle
                for handle, name in capture.special_handles.items()
                if name == "early"
            ),
            None,
        )
        told = (
            f"; pages from before it was ready have the handle {early:#x}"
            if early
            else ""
        )
        notes.append(
            f"{' and '.join(BOOT_ONLY.values())} ran at boot and are gone: page_owner"
            f" is on since{told}."
        )
    missing = what_is_missing(capture)
    if recovered and not missing:
        missing = ["No event was overwritten, and none was missed by the kernel."]
    return notes + (
        missing
        if recovered
        else [
            each
            for each in missing
            if "overwritten" not in each and "missed by" not in each
        ]
    )


def _reach(span: tuple[int, int] | None) -> list[str]:
    if span is None:
        return []
    first, last = span
    return [f"The events are from {seconds(first)} to {seconds(last)}."]


def _span(capture: Capture) -> tuple[int, int] | None:
    """From when to when the events are, in ns of ``time_ns``; None if none tells."""
    first, last = NEVER, 0
    for records, _ in capture.events_in_order({"time_nsec"}):
        known = records["time_nsec"][records["time_nsec"] > 0]
        first = min(first, int(known.min(initial=NEVER)))
        last = max(last, int(known.max(initial=0)))
    return (first, last) if last else None

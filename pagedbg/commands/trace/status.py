# SPDX-License-Identifier: GPL-2.0-or-later
"""``trace status``: what is recorded, how, and what was lost."""

from __future__ import annotations

import argparse
import time

from pagedbg.capture.backends.hooks import BOOT_ONLY
from pagedbg.capture.backends.kmod import KMOD
from pagedbg.capture.directory import Capture
from pagedbg.capture.recording import flight_recorder
from pagedbg.output.phrases import seconds
from pagedbg.schema import event_record
from pagedbg.schema.event_filter import describe
from pagedbg.schema.loss import LossKind
from pagedbg.schema.relations import ORDERS
from pagedbg.schema.table import Table
from pagedbg.session import Session
from pagedbg.shell.command import command
from pagedbg.sources.capture_names import need_capture, what_is_missing
from pagedbg.sources.capture_notes import hooks, size


@command(
    "trace status",
    long_description="""
For each order: how many allocations were seen, how many of them recorded, and their
share. Then what else there is to know: what is attached, how, since when, and how many
events were lost.
""",
    examples=(("trace status", "what is being recorded"),),
    table=True,
    kernel=False,
)
def trace_status(session: Session, args: argparse.Namespace) -> Table:
    """Run the command."""
    capture = session.refresh_capture()
    if capture is None:
        if session.target.dump is not None:
            need_capture(session)
        return Table.of(
            ORDERS,
            [],
            empty=(
                "No trace is running. trace start would record"
                f" {describe(session.filter)}.{_left(session)}"
            ),
        )
    meta = capture.meta
    seen, recorded = (
        counts[event_record.SET]
        for counts in (meta.counts.seen, meta.counts.recorded_by)
    )
    rows = [
        (order, int(count), int(kept), 100 * kept / count)
        for order, (count, kept) in enumerate(zip(seen, recorded, strict=True))
        if count
    ]
    return Table.of(
        ORDERS, rows, notes=_notes(capture), empty="No allocation was seen yet."
    )


def _left(session: Session) -> str:
    found = (
        flight_recorder.find()
        if session.target.has_kernel and session.target.live
        else None
    )
    if found is None:
        return ""
    since = f" since {found.begun.wall}" if found.begun else ""
    what = "The kernel module" if found.backend == KMOD else "BPF"
    filter_ = describe(found.filter) if found.filter else "what nobody has noted"
    return (
        f"\n{what} records {filter_}{since} with no recorder, or another pagedbg's:"
        " trace attach takes it over."
    )


def _notes(capture: Capture) -> list[str]:
    meta = capture.meta
    recovered = meta.recovered
    if recovered:
        state = f"Recovered from {recovered.from_}"
    elif capture.abandoned:
        state = "Abandoned"
    elif meta.ended is None:
        state = (
            f"Recording for {(time.monotonic_ns() - meta.begun.mono_ns) / 1e9:.0f} s"
        )
    else:
        state = (
            f"Ended ({meta.ended.by}) after"
            f" {(meta.ended.mono_ns - meta.begun.mono_ns) / 1e9:.0f} s"
        )
    lost = {loss.kind: loss.count for loss in capture.losses}
    notes = [
        (
            f"{state}, {describe(meta.filters[-1].filter)}:"
            f" {size(capture)}{'' if recovered else f' in {capture.path}'}."
        ),
        hooks(meta.attached),
        *(
            _reach(capture)
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


def _reach(capture: Capture) -> list[str]:
    """From when to when the events are."""
    times = capture.times(capture.events())
    times = times[times >= 0]
    return (
        [
            f"The events are from {seconds(int(times.min()))} to"
            f" {seconds(int(times.max()))}."
        ]
        if len(times)
        else []
    )

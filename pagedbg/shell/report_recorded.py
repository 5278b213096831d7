# SPDX-License-Identifier: GPL-2.0-or-later
"""
The sections of a report on what was recorded over time: captures, and snapshots.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from pagedbg.output.phrases import seconds
from pagedbg.output.report import Listing, Section
from pagedbg.output.timeline import Happened, timeline
from pagedbg.schema.sizes import size
from pagedbg.shell.report_answers import Answer, Answers, listing

__all__ = ("events", "leaks", "trends")

_TOP = 10

_STILL_HELD = (
    "Still held is what is live, split (some pieces of it) or migrated (elsewhere)."
)

# Events that are drawn, and those of them that are listed, about a failure.
_DRAWN, _BEFORE, _AFTER = 5000, 40, 10

_EVENT_COLUMNS = "time_ns,event,pfn,order,pid,comm,owner_pid,owner_comm,gfp,migratetype"


def leaks(answers: Answers) -> Section:
    """What was allocated while it was recorded, and is still held."""
    commands = [
        ["correlate", "--by", "state"],
        ["correlate", "--leaked", "--by", "module,function,stack"],
    ]
    said: list[str] = []
    listings, findings = [], []
    states = answers.ask(commands[0], said)
    held = None if states is None else answers.ask(commands[1], [])
    if states is not None:
        listings.append(
            listing("What became of allocations", states.columns, states.rows)
        )
    if held is not None and held.rows:
        listings.append(listing("Still held", held.columns, held.rows, top=_TOP))
        findings.append(_most_held(next(held.named)))
    return Section(
        "leaks",
        "Leak suspects",
        "Each allocation that was recorded is looked for in page_owner's records by its"
        " page frame and its time, which no other allocation has. What is held for long"
        " may be meant to be.",
        [shlex.join(command) for command in commands],
        findings=findings,
        words=[*said, _STILL_HELD] if states is not None else [],
        listings=listings,
        unread=[] if states is not None else said,
    )


def _most_held(row: dict[str, Any]) -> str:
    module = f" [{row['module']}]" if row["module"] else ""
    oldest = (
        "" if row["oldest"] is None else f", the oldest for {row['oldest'] / 1e9:.1f} s"
    )
    return (
        f"Of what was recorded and is still held, most is of {row['function']}{module}:"
        f" {row['blocks']:,} blocks, {size(row['bytes'])}{oldest}."
    )


def events(answers: Answers, failures: Answer | None) -> Section:
    """
    The last events that were recorded, and where among them allocations failed.

    :param failures: what ``explain`` lists
    """
    unread: list[str] = []
    command = ["trace", "show", "--last", str(_DRAWN), "--columns", _EVENT_COLUMNS]
    answer = answers.ask(command, unread)
    words: list[str] = []
    pictures, listings = [], []
    if answer is not None and answer.rows:
        marks = [
            Happened(row["time_ns"], row["failure"])
            for row in (failures.named if failures is not None else ())
            if row["time_ns"] is not None
        ]
        happened = [
            Happened(row["time_ns"], row["event"])
            for row in answer.named
            if row["time_ns"] is not None
        ]
        words.append(_drawn(happened, marks))
        if happened:
            pictures.append(timeline(happened, marks, "Events by kind"))
        listings.append(_around(answer, marks))
    return Section(
        "events",
        "What happened last",
        "Events as the recorder's rings or its files have them, in the order of their"
        " times; bars count them by kind. A failure is where the kernel's log has it.",
        [shlex.join(command)],
        words=words,
        pictures=pictures,
        listings=listings,
        unread=unread,
    )


def _drawn(events: Sequence[Happened], marks: Sequence[Happened]) -> str:
    said = f"The last {len(events):,} events that were recorded."
    if marks and events:
        last = marks[-1]
        said += f" The last {last.kind} was at {seconds(last.time_ns)}"
        if last.time_ns < events[0].time_ns:
            return f"{said}, before all of them."
        before = last.time_ns - max(
            each.time_ns for each in events if each.time_ns <= last.time_ns
        )
        return f"{said}, {before / 1e6:.3f} ms after the event before it."
    return said


def _around(answer: Answer, marks: Sequence[Happened]) -> Listing:
    """The events about the last failure, or the last if none is among them."""
    until = sum(
        row["time_ns"] is not None and row["time_ns"] <= mark.time_ns
        for mark in marks[-1:]
        for row in answer.named
    )
    caption = "Events around the last failure" if until else "The last events"
    until = until or len(answer.rows)
    shown = answer.rows[max(until - _BEFORE, 0) : until + _AFTER]
    return Listing(caption, answer.columns, shown)


def trends(answers: Answers, directory: str) -> Section:
    """Who grows, over snapshots."""
    unread: list[str] = []
    command = ["trend", directory]
    answer = answers.ask(command, unread)
    listings: list[Listing] = []
    words: list[str] = []
    if answer is not None:
        if answer.rows:
            listings.append(listing("Who grows", answer.columns, answer.rows, top=_TOP))
        words += answer.closing
    return Section(
        "trend",
        "Who grows",
        "A straight line through what each call path held in each snapshot, over the"
        " time since boot; straightness is how much of the change it explains.",
        [shlex.join(command)],
        words=words,
        listings=listings,
        unread=unread,
    )

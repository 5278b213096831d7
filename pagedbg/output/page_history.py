# SPDX-License-Identifier: GPL-2.0-or-later
"""What a capture tells of one page, drawn for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pagedbg.output.phrases import line, or_unknown, seconds
from pagedbg.output.printable import printable
from pagedbg.schema import event_record
from pagedbg.schema.event_columns import EVENTS
from pagedbg.schema.event_record import EVENT_NAMES
from pagedbg.sources.page_history import PageHistory
from pagedbg.sources.stack_frames import function_of

_NAMES = [column.name for column in EVENTS]


def history_lines(history: PageHistory) -> Iterator[str]:
    """Lines on what was recorded of a page."""
    if history.events:
        told = len(history.events)
        more = f", the last {told}" if history.captured > told else ""
        yield ""
        yield line("captured", f"{history.captured} events{more}:")
        for row in history.events:
            event = dict(zip(_NAMES, row, strict=True))
            yield f"  {seconds(event['time_ns']):>14}  {_told(event)}"
    else:
        yield line("captured", "no event of this page")


def _told(event: Mapping[str, Any]) -> str:
    who = f"{printable(event['comm'])} ({event['pid']})"
    name, order = event["event"], event["order"]
    if name == EVENT_NAMES[event_record.SET]:
        function = function_of(event["stack"])
        where = f" in {function}" if function else ""
        return f"allocated, order {order}, by {who}{where}"
    if name == EVENT_NAMES[event_record.RESET]:
        begun, ended = event["ts_ns"], event["time_ns"]
        lived = ended - begun if begun and ended is not None else -1
        after = f" after {seconds(lived)}" if lived >= 0 else ""
        return f"freed, order {order},{after} by {who}"
    if name == EVENT_NAMES[event_record.SPLIT]:
        return f"split from order {order} to {event['new_order']} by {who}"
    if name == EVENT_NAMES[event_record.COPY]:
        to = "?" if event["pfn"] is None else f"{event['pfn']:#x}"
        return f"moved from {event['other_pfn']:#x} to {to} by {who}"
    if name == EVENT_NAMES[event_record.SET_MIGRATE]:
        return f"to be moved ({or_unknown(event['reason'])}) by {who}"
    return f"{name} by {who}"

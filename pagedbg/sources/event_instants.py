# SPDX-License-Identifier: GPL-2.0-or-later
"""Events of a capture as what happened on which CPU at which moment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pagedbg.schema.event_columns import EVENTS
from pagedbg.sources.capture_names import CaptureNames
from pagedbg.sources.event_rows import event_rows

__all__ = ("CapturedInstants", "Instant")

# Rows that are made at once.
_DRAWN = 1 << 12

_SHOWN_ELSEWHERE = ("time_ns", "event", "cpu")


class Instant(NamedTuple):
    """Something that happened on a CPU, and what there is to say of it, by name."""

    time_ns: int
    cpu: int
    name: str
    said: Mapping[str, Any]


class CapturedInstants:
    """
    The events of a capture, to be iterated over once. ``count`` is how many there were,
    and ``timeless`` of how many others the time is not known.
    """

    def __init__(self, names: CaptureNames) -> None:
        self._names = names
        self.count = self.timeless = 0

    def __iter__(self) -> Iterator[Instant]:
        columns = [column.name for column in EVENTS]
        for records, _ in self._names.capture.events_in_order():
            for start in range(0, len(records), _DRAWN):
                rows = event_rows(self._names, records[start : start + _DRAWN], False)
                for row in rows:
                    # The columns of stacks come last, and are not there.
                    event = dict(zip(columns, row, strict=False))
                    if event["time_ns"] is None:
                        self.timeless += 1
                        continue
                    self.count += 1
                    yield self._instant(event)

    def _instant(self, event: Mapping[str, Any]) -> Instant:
        said = {
            name: value
            for name, value in event.items()
            if value is not None and name not in _SHOWN_ELSEWHERE
        }
        if event["handle"]:
            said["function"] = self._names.function(event["handle"])
        order = event["order"]
        name = event["event"] if order is None else f"{event['event']}, order {order}"
        return Instant(event["time_ns"], event["cpu"], name, said)

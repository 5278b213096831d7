# SPDX-License-Identifier: GPL-2.0-or-later
"""Events as bars over time, a line for each kind, with marks across them."""

from __future__ import annotations

import collections
from collections.abc import Sequence
from typing import NamedTuple

from pagedbg.output.palette import HIGHLIGHT, color_names, rgb
from pagedbg.output.phrases import seconds
from pagedbg.schema.picture import Box, Label, Picture

__all__ = ("Happened", "timeline")

_LEFT, _WIDTH, _MARGIN, _BAR = 90, 960, 10, 6
_LANE, _HIGH, _TOP = 44, 34, 30


class Happened(NamedTuple):
    """An event: when it happened, in nanoseconds, and of what kind it is."""

    time_ns: int
    kind: str


def timeline(
    events: Sequence[Happened], marks: Sequence[Happened], title: str
) -> Picture:
    """
    Draw events. A bar is as high as the events of its kind and time are many, beside
    the most there are of any.

    :param events: at least one
    :param marks: drawn across all kinds; those far away from all events are left out
    """
    first = min(event.time_ns for event in events)
    last = max(event.time_ns for event in events)
    near = [
        mark
        for mark in marks
        if first <= mark.time_ns <= last + max(last - first, 10**9)
    ]
    last = max([last, *(mark.time_ns for mark in near)])
    bars = (_WIDTH - _LEFT - _MARGIN) // _BAR
    each = max(-(-(last - first + 1) // bars), 1)
    counts = collections.Counter(
        ((event.time_ns - first) // each, event.kind) for event in events
    )
    kinds = [
        kind for kind, _ in collections.Counter(e.kind for e in events).most_common()
    ]
    most = max(counts.values())
    colors = dict(zip(kinds, color_names(kinds, None), strict=True))
    lanes = {kind: _TOP + number * _LANE for number, kind in enumerate(kinds)}
    bottom = _TOP + len(kinds) * _LANE
    labels = [Label(_MARGIN, 18, title, bold=True)]
    labels += [Label(_MARGIN, y + _HIGH, kind) for kind, y in lanes.items()]
    boxes = [
        Box(_LEFT, y + _HIGH + 1, _WIDTH - _LEFT - _MARGIN, 1, rgb(244))
        for y in lanes.values()
    ]
    for (number, kind), count in sorted(counts.items()):
        high = max(_HIGH * count / most, 1.5)
        begins = first + number * each
        boxes.append(
            Box(
                _LEFT + number * _BAR,
                round(lanes[kind] + _HIGH - high, 1),
                _BAR - 1,
                round(high, 1),
                rgb(colors[kind]),
                f"{count:,} {kind} from {seconds(begins)}, {each / 1e6:g} ms",
            )
        )
    for mark in near:
        x = round(_LEFT + (mark.time_ns - first) / each * _BAR, 1)
        boxes.append(
            Box(
                x,
                _TOP - 4,
                2,
                bottom - _TOP + 4,
                rgb(HIGHLIGHT),
                f"{mark.kind} at {seconds(mark.time_ns)}",
            )
        )
    said = (
        f"{seconds(first)} to {seconds(last)}; a bar is {each / 1e6:g} ms, the highest"
        f" {most:,} events" + ("; the red line: " + near[-1].kind if near else "")
    )
    labels.append(Label(_MARGIN, bottom + 16, said, "faint"))
    return Picture(_WIDTH, bottom + 28, title, boxes, labels)

# SPDX-License-Identifier: GPL-2.0-or-later
"""What a map of memory says in words and colours, in a terminal and in pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

from pagedbg.analysis.page_map import PageMap, Stretch
from pagedbg.output.palette import HIGHLIGHT, color_names
from pagedbg.schema.sizes import size

__all__ = (
    "Legend",
    "LegendEntry",
    "cell_size",
    "cell_title",
    "heading",
    "legend",
    "share",
)

# What is on a scale, least first.
_SCALES = {
    "order": tuple(map(str, range(11))),
    "age": ("<1s", "1s-10s", "10s-1m", "1m-10m", "10m-1h", "1h-1d", ">=1d"),
}

# In a title more would not be read.
_MOST_NAMED = 4


class LegendEntry(NamedTuple):
    """What a colour stands for, and the words for it with its share."""

    value: str
    color: int
    text: str


@dataclasses.dataclass(frozen=True)
class Legend:
    """
    What is seen on a map: an entry for each of its values, and behind them one for what
    is highlighted, whose place is ``highlight``. ``others`` is the place of what stands
    for the rest, and ``absent`` says whether some cells have no page.
    """

    entries: Sequence[LegendEntry]
    highlight: int | None
    others: int | None
    absent: bool


def legend(drawn: PageMap) -> Legend:
    """What the colours of a map mean."""
    total = max(sum(drawn.pages), 1)
    colors = color_names(drawn.values, _SCALES.get(drawn.by))
    entries = [
        LegendEntry(value, color, f"{value} {share(100 * pages / total)}")
        for value, color, pages in zip(drawn.values, colors, drawn.pages, strict=True)
    ]
    highlight = None
    if drawn.marked:
        pages = sum(int(each.highlighted.sum()) for each in drawn.stretches)
        cells = sum(int((each.highlighted > 0).sum()) for each in drawn.stretches)
        highlight = len(entries)
        words = f"highlighted {share(100 * pages / total)}, in {cells:,} cells"
        entries.append(LegendEntry("highlighted", HIGHLIGHT, words))
    absent = any(bool((each.mostly < 0).any()) for each in drawn.stretches)
    others = len(drawn.values) - 1 if drawn.more else None
    return Legend(entries, highlight, others, absent)


def share(percent: float) -> str:
    """A share; what is there is not nothing."""
    return "<0.1%" if 0 < percent < 0.05 else f"{percent:.1f}%"


def heading(stretch: Stretch) -> str:
    """What a stretch is: its zone, with its page frames."""
    return (
        f"node {stretch.node}, zone {stretch.zone}: {stretch.start_pfn:#x} to"
        f" {stretch.end_pfn - 1:#x}"
    )


def cell_size(order: int, page_size: int) -> str:
    """How large a cell is."""
    pages = 1 << order
    return f"{pages:,} page{'s' if pages > 1 else ''} ({size(page_size << order)})"


def cell_title(drawn: PageMap, stretch: Stretch, cell: int) -> str:
    """What is in a cell, in a line."""
    start, end = stretch.bounds(cell)
    counts = stretch.counts[cell]
    found = [i for i in counts.argsort()[::-1].tolist() if counts[i]]
    parts = [f"{drawn.values[i]} {counts[i]}" for i in found[:_MOST_NAMED]]
    if len(found) > _MOST_NAMED:
        rest = sum(int(counts[i]) for i in found[_MOST_NAMED:])
        parts.append(f"others {rest}")
    marked = int(stretch.highlighted[cell])
    if marked:
        parts.append(f"highlighted {marked}")
    return f"{start:#x}-{end - 1:#x}: {', '.join(parts) or 'no memory'}"

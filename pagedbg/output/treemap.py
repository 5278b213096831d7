# SPDX-License-Identifier: GPL-2.0-or-later
"""Shares of a whole as rectangles that fill one, each as large as its share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pagedbg.output.palette import color_names, rgb
from pagedbg.schema.picture import Box, Label, Picture

__all__ = ("Part", "treemap")

_WIDTH, _HEIGHT, _GAP = 960, 320, 2
# A character's width, that of a bold one, and the height of a line of text.
_CHARACTER, _BOLD, _LINE = 7.2, 8.4, 16


class Part(NamedTuple):
    """
    A part of a whole: its name, how much it is, that in words, and the name of what has
    one colour.
    """

    name: str
    weight: int
    words: str
    group: str


class _Area(NamedTuple):
    x: float
    y: float
    width: float
    height: float


def treemap(parts: Sequence[Part], title: str) -> Picture:
    """
    Draw parts, the largest at the top left. Each is as near to a square as it may be:
    Bruls, Huizing and van Wijk, "Squarified Treemaps", 2000.
    """
    found = sorted(
        (part for part in parts if part.weight > 0), key=lambda part: -part.weight
    )
    groups = list(dict.fromkeys(part.group for part in found))
    colors = dict(zip(groups, color_names(groups, None), strict=True))
    boxes, labels = [], []
    for part, area in zip(found, _areas(found), strict=True):
        boxes.append(
            Box(
                round(area.x, 1),
                round(area.y, 1),
                round(max(area.width - _GAP, 0.5), 1),
                round(max(area.height - _GAP, 0.5), 1),
                rgb(colors[part.group]),
                f"{part.name}: {part.words}",
            )
        )
        lines = ((part.name, _BOLD), (part.words, _CHARACTER))
        for number, (text, character) in enumerate(lines, 1):
            fits = len(text) * character + 8 <= area.width
            if fits and number * _LINE + 6 <= area.height:
                y = area.y + number * _LINE
                labels.append(
                    Label(round(area.x + 5, 1), round(y, 1), text, "inside", number < 2)
                )
    return Picture(_WIDTH, _HEIGHT, title, boxes, labels)


def _areas(parts: Sequence[Part]) -> Iterator[_Area]:
    """The area of each part, which are sorted, the largest first."""
    left = _Area(0, 0, _WIDTH, _HEIGHT)
    scale = _WIDTH * _HEIGHT / max(sum(part.weight for part in parts), 1)
    sizes = [part.weight * scale for part in parts]
    start = 0
    while start < len(sizes):
        side = min(left.width, left.height)
        end = start + 1
        while end < len(sizes) and _worst(sizes[start : end + 1], side) <= _worst(
            sizes[start:end], side
        ):
            end += 1
        row = sizes[start:end]
        depth = sum(row) / max(side, 1e-9)
        upright = left.width >= left.height
        along = left.y if upright else left.x
        for size in row:
            length = size / max(depth, 1e-9)
            yield (
                _Area(left.x, along, depth, length)
                if upright
                else _Area(along, left.y, length, depth)
            )
            along += length
        left = (
            _Area(left.x + depth, left.y, left.width - depth, left.height)
            if upright
            else _Area(left.x, left.y + depth, left.width, left.height - depth)
        )
        start = end


def _worst(row: Sequence[float], side: float) -> float:
    """How far from a square the farthest of a row along a side is, 1 if it is one."""
    total = sum(row)
    return max(
        side * side * max(row) / (total * total),
        total * total / (side * side * min(row)),
    )

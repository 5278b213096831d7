# SPDX-License-Identifier: GPL-2.0-or-later
"""Shares of a whole as rectangles that fill one, each as large as its share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pagedbg.output.palette import color_names, ink_on, rgb
from pagedbg.schema.picture import Box, Ink, Label, Picture

__all__ = ("Part", "treemap")

_WIDTH, _HEIGHT, _GAP = 960, 320, 2
# A character's width, that of a bold one, and the height of a line of text.
_CHARACTER, _BOLD, _LINE = 7.2, 8.4, 16
# A name that is cut shorter says nothing.
_SHORTEST = 8


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
    boxes: list[Box] = []
    labels: list[Label] = []
    for part, area in zip(found, _areas(found), strict=True):
        color = rgb(colors[part.group])
        boxes.append(
            Box(
                round(area.x, 1),
                round(area.y, 1),
                round(max(area.width - _GAP, 0.5), 1),
                round(max(area.height - _GAP, 0.5), 1),
                color,
                f"{part.name}: {part.words}",
            )
        )
        labels += _said(part, area, ink_on(color))
    return Picture(_WIDTH, _HEIGHT, title, boxes, labels)


def _said(part: Part, area: _Area, ink: Ink) -> Iterator[Label]:
    """What a part is called, cut where it is too long, and below it how much it is."""
    x, y = round(area.x + 5, 1), round(area.y + _LINE, 1)
    fitting = int((area.width - 8) / _BOLD)
    if area.height < _LINE + 6 or fitting < min(len(part.name), _SHORTEST):
        return
    cut = part.name if len(part.name) <= fitting else f"{part.name[: fitting - 1]}…"
    yield Label(x, y, cut, ink, bold=True)
    wide = len(part.words) * _CHARACTER + 8 <= area.width
    if wide and area.height >= 2 * _LINE + 6:
        yield Label(x, round(y + _LINE, 1), part.words, ink)


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

# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the cells of a map lie: line by line, or along a curve."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ("LAYOUTS", "Layout", "beginnings", "fit", "grid", "lines_of")

Layout = Literal["lines", "hilbert"]

LAYOUTS: tuple[Layout, ...] = ("lines", "hilbert")

# Squares of the curve lie side by side; they have no more cells a side.
_MOST_SIDE = 16

# No machine has more than 2**52 pages.
_MOST_ORDER = 52


def grid(count: int, columns: int, layout: Layout) -> NDArray[np.int64]:
    """
    Place neighbouring cells so many beside each other.

    Along Hilbert's curve those that lie near each other in memory do so on the map: it
    goes through a square from one corner to the next, where the square beside it
    begins.

    :return: which cell is where, of shape (lines, columns); −1 for none
    """
    if layout == "lines":
        lines = -(-count // columns)
        places = np.arange(lines * columns)
        return np.where(places < count, places, -1).reshape(lines, columns)
    side = _side(count, columns)
    across = columns // side
    lines = -(-count // (across * side * side))
    found = np.full((lines, side, columns), -1, np.int64)
    x, y = _curve(side)
    for square in range(lines * across):
        line, place = divmod(square, across)
        cells = np.arange(square * side * side, (square + 1) * side * side)
        found[line, y, x + place * side] = np.where(cells < count, cells, -1)
    return found.reshape(lines * side, columns)


def lines_of(count: int, columns: int, layout: Layout) -> int:
    """How many lines :func:`grid` needs."""
    if layout == "lines":
        return -(-count // columns)
    side = _side(count, columns)
    return -(-count // (columns // side * side * side)) * side


def fit(
    spans: Sequence[tuple[int, int]], columns: int, lines: int, layout: Layout
) -> int:
    """
    Find the smallest cells with which a map has room.

    :param spans: the first page frame of each stretch, and the one after its last
    :return: their order: each is 2 to the power of it pages
    """
    for order in range(_MOST_ORDER):
        needed = sum(
            lines_of(((end - 1) >> order) - (start >> order) + 1, columns, layout)
            for start, end in spans
        )
        if needed <= max(lines, len(spans)):
            return order
    return _MOST_ORDER


def beginnings(cells: NDArray[np.int64], step: int) -> Iterator[int | None]:
    """
    Say for every so many lines with which cell they begin; None where an earlier line
    has a later cell, as along a curve.
    """
    last = -1
    for line in range(0, len(cells), step):
        here = cells[line : line + step]
        least = int(here[here >= 0].min(initial=np.iinfo(np.int64).max))
        yield least if last < least <= here.max() else None
        last = max(last, int(here.max()))


def _side(count: int, columns: int) -> int:
    """How many cells the side of a square has: no more than there are cells for."""
    side = min(_MOST_SIDE, columns)
    while side > 1 and (side * side > count or side & (side - 1)):
        side -= 1
    return side


def _curve(side: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """
    Return where Hilbert's curve comes to in a square whose side is a power of 2, step
    by step: from the upper left corner to the upper right one.
    """
    x, y = np.zeros(1, np.int64), np.zeros(1, np.int64)
    size = 1
    while size < side:
        # The four quarters: turned over one diagonal, as they are, as they are, and
        # turned over the other.
        x, y = (
            np.concatenate((y, x, x + size, 2 * size - 1 - y)),
            np.concatenate((x, y + size, y + size, size - 1 - x)),
        )
        size *= 2
    return x, y

# SPDX-License-Identifier: GPL-2.0-or-later
"""A map of memory as a picture, every cell of which says what is in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from pagedbg.analysis.page_map import PageMap, Stretch
from pagedbg.output.map_layout import Layout, beginnings, fit, grid
from pagedbg.output.map_words import (
    Legend,
    cell_size,
    cell_title,
    heading,
    legend,
)
from pagedbg.output.palette import NOTHING, rgb
from pagedbg.schema.picture import Box, Label, Picture

__all__ = ("map_picture", "picture_order")

_COLUMNS, _MOST_LINES = 128, 64
_CELL, _GAP = 8, 1
_LEFT, _TOP, _MARGIN = 110, 28, 16
_LINE = 20
_ENTRY = 270


def picture_order(spans: Sequence[tuple[int, int]], layout: Layout) -> int:
    """The order of the cells with which a picture is not too large."""
    return fit(spans, _COLUMNS, _MOST_LINES, layout)


def map_picture(
    drawn: PageMap, layout: Layout, page_size: int, title: str, notes: Sequence[str]
) -> Picture:
    """
    Draw a map.

    :param title: what is seen
    :param notes: what stands below
    """
    known = legend(drawn)
    boxes: list[Box] = []
    labels = [Label(_MARGIN, _TOP, title, bold=True)]
    top = float(_TOP + _LINE)
    for stretch in drawn.stretches:
        labels.append(Label(_MARGIN, top + 4, heading(stretch), bold=True))
        top += 12
        cells = grid(len(stretch), _COLUMNS, layout)
        boxes += _boxes(drawn, known, stretch, cells, top)
        labels += _addresses(stretch, cells, top)
        top += len(cells) * _CELL + _LINE
    width = _LEFT + _COLUMNS * _CELL + _MARGIN
    across = (width - 2 * _MARGIN) // _ENTRY
    for number, entry in enumerate(known.entries):
        line, column = divmod(number, across)
        x, y = _MARGIN + column * _ENTRY, top + line * _LINE
        boxes.append(Box(x, y, 12, 12, rgb(entry.color)))
        labels.append(Label(x + 18, y + 10, entry.text))
    top += -(-len(known.entries) // across) * _LINE + 14
    for text in (
        f"A cell is {cell_size(drawn.order, page_size)} and has the colour of what most"
        f" of it is{'; dark grey is no memory' if known.absent else ''}.",
        *notes,
    ):
        labels.append(Label(_MARGIN, top, text, "faint"))
        top += _LINE
    return Picture(width, int(top), title, boxes, labels)


def _boxes(
    drawn: PageMap,
    known: Legend,
    stretch: Stretch,
    cells: NDArray[np.int64],
    top: float,
) -> Iterator[Box]:
    values = stretch.mostly
    if known.highlight is not None:
        values[stretch.highlighted > 0] = known.highlight
    colors = [*(rgb(entry.color) for entry in known.entries), rgb(NOTHING)]
    for line, row in enumerate(cells.tolist()):
        for column, cell in enumerate(row):
            if cell >= 0:
                yield Box(
                    _LEFT + column * _CELL,
                    top + line * _CELL,
                    _CELL - _GAP,
                    _CELL - _GAP,
                    colors[values[cell]],
                    cell_title(drawn, stretch, cell),
                )


def _addresses(
    stretch: Stretch,
    cells: NDArray[np.int64],
    top: float,
) -> Iterator[Label]:
    """The page frames at which some of the lines begin."""
    for number, cell in enumerate(beginnings(cells, 2)):
        if cell is not None:
            text = f"{stretch.bounds(cell)[0]:#x}"
            yield Label(_MARGIN, top + 2 * number * _CELL + 10, text, "faint")

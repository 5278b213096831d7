# SPDX-License-Identifier: GPL-2.0-or-later
"""A map of memory in a terminal: in colours, or in letters where there are none."""

from __future__ import annotations

import curses
import functools
import string
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from pagedbg.analysis.page_map import PageMap, Stretch
from pagedbg.output.map_layout import Layout, beginnings, fit, grid
from pagedbg.output.map_words import Legend, cell_size, heading, legend
from pagedbg.output.printable import printable
from pagedbg.schema.table import Window

__all__ = ("MapText",)

_RESET, _BOLD = "\x1b[0m", "\x1b[1m"

# Beside the cells stand the page frames at which lines begin.
_GAP = 2

# Lines that are no cells: the prompt's, and what is said below.
_AROUND = 4

_FEWEST, _FEWEST_LINES = 8, 4

# Letters are no map from a distance: a file gets no more lines.
_MOST_LETTER_LINES = 24

_HIGHLIGHTED, _NO_PAGE, _FREE, _OTHERS = "#", " ", ".", "+"


class MapText:
    """
    Draws a map in the window that it is shown in.

    :param made: makes a map in cells of an order
    :param spans: the first page frame of each stretch, and the one after its last
    :param order: of the cells; None for as small as there is room for
    :param page_size: in bytes
    :param closing: where to say what is seen
    """

    def __init__(
        self,
        made: Callable[[int], PageMap],
        spans: Sequence[tuple[int, int]],
        order: int | None,
        layout: Layout,
        page_size: int,
        closing: list[str],
    ) -> None:
        self._made, self._spans, self._order = made, spans, order
        self._layout, self._page_size, self._closing = layout, page_size, closing

    def order(self, window: Window) -> int:
        """The order of the cells in a window."""
        if self._order is not None:
            return self._order
        columns, lines = self._room(window)
        return fit(self._spans, columns, lines, self._layout)

    @functools.cached_property
    def _gutter(self) -> int:
        """How wide is what stands beside the cells."""
        return max(len(f"{end - 1:#x}") for _, end in self._spans) + _GAP

    def _room(self, window: Window) -> tuple[int, int]:
        """How many cells there are beside each other, and above each other."""
        columns = max((window.columns - self._gutter) // 8 * 8, _FEWEST)
        around = _AROUND + len(self._spans) + -(-12 // max(window.columns // 20, 1))
        lines = max(window.lines - around, _FEWEST_LINES)
        halves = 2 if _in_colors(window) else 1
        if halves == 1:
            lines = min(lines, _MOST_LETTER_LINES)
        # The last line of each stretch may be half.
        return columns, lines * halves - (halves - 1) * len(self._spans)

    def lines(self, window: Window) -> Iterator[str]:
        """Return the lines of the map, and those of what its colours mean."""
        drawn = self._made(self.order(window))
        columns, _ = self._room(window)
        known = legend(drawn)
        colors = _in_colors(window)
        letters = _letters(known)
        for stretch in drawn.stretches:
            words = printable(heading(stretch))
            yield f"{_BOLD}{words}{_RESET}" if window.color else words
            wide = min(columns, max(_FEWEST, len(stretch)))
            cells = grid(len(stretch), wide, self._layout)
            values = _values(stretch, known)
            if colors:
                palette = [each.color for each in known.entries]
                labels = _labels(stretch, cells, 2, self._gutter)
                yield from _half_blocks(labels, cells, values, palette)
            else:
                labels = _labels(stretch, cells, 1, self._gutter)
                yield from _in_letters(labels, cells, values, letters)
        yield ""
        yield from _explained(known, letters, colors, window)
        self._closing.append(
            f"A cell is {cell_size(drawn.order, self._page_size)}, and shows what most"
            f" of it is{'; blank is no memory' if known.absent else ''}. map --at PFN"
            " says what is in one."
        )


def _in_colors(window: Window) -> bool:
    """Whether half blocks in colours can be shown."""
    if not (window.color and window.unicode):
        return False
    try:
        curses.setupterm(fd=1)
        return curses.tigetnum("colors") >= 256
    except curses.error:
        return False


def _values(stretch: Stretch, known: Legend) -> NDArray[np.int16]:
    """The entry of the legend for each cell, −1 where there is no page."""
    values = stretch.mostly
    if known.highlight is not None:
        values[stretch.highlighted > 0] = known.highlight
    return np.append(values, np.int16(-1))


def _labels(
    stretch: Stretch, cells: NDArray[np.int64], step: int, width: int
) -> Iterator[str]:
    """What stands beside every so many lines: where they begin."""
    for cell in beginnings(cells, step):
        text = "" if cell is None else f"{stretch.bounds(cell)[0]:#x}"
        yield text.ljust(width)


def _in_letters(
    labels: Iterable[str],
    cells: NDArray[np.int64],
    values: NDArray[np.int16],
    letters: Sequence[str],
) -> Iterator[str]:
    # The last one is that of no page.
    table = np.array([*letters, _NO_PAGE])
    for label, line in zip(labels, cells, strict=True):
        yield (label + "".join(table[values[line]].tolist())).rstrip()


def _half_blocks(
    labels: Iterable[str],
    cells: NDArray[np.int64],
    values: NDArray[np.int16],
    palette: Sequence[int],
) -> Iterator[str]:
    """Two cells a character, the upper one in its colour, the lower behind it."""
    if len(cells) % 2:
        cells = np.vstack((cells, np.full(cells.shape[1], -1)))
    table = [*palette, None]
    for label, upper, lower in zip(labels, cells[::2], cells[1::2], strict=True):
        parts, state = [label], ""
        for above, below in zip(
            values[upper].tolist(), values[lower].tolist(), strict=True
        ):
            style, character = _pair(table[above], table[below])
            if style != state:
                parts.append(_RESET + style if state else style)
                state = style
            parts.append(character)
        yield "".join((*parts, _RESET if state else "")).rstrip()


def _pair(above: int | None, below: int | None) -> tuple[str, str]:
    """What shows two colours above each other, None for that of the window."""
    if above is None:
        return ("", " ") if below is None else (f"\x1b[38;5;{below}m", "▄")
    if below is None:
        return f"\x1b[38;5;{above}m", "▀"
    if above == below:
        return f"\x1b[38;5;{above}m", "█"
    return f"\x1b[38;5;{above};48;5;{below}m", "▀"


def _letters(known: Legend) -> list[str]:
    """A letter for each entry, one of its own where that is to be had."""
    taken = {_HIGHLIGHTED, _NO_PAGE, _FREE, _OTHERS}
    found = []
    for number, entry in enumerate(known.entries):
        if number == known.highlight:
            found.append(_HIGHLIGHTED)
            continue
        if entry.value == "free":
            found.append(_FREE)
            continue
        if number == known.others:
            found.append(_OTHERS)
            continue
        own = [c for c in entry.value if c in string.ascii_letters + string.digits]
        choice = [*own, *map(str.upper, own), *string.ascii_letters, *string.digits]
        letter = next(each for each in choice if each not in taken)
        taken.add(letter)
        found.append(letter)
    return found


def _explained(
    known: Legend, letters: Sequence[str], colors: bool, window: Window
) -> Iterator[str]:
    """The lines that say what is what, as many entries beside each other as fit."""
    entries = []
    for entry, letter in zip(known.entries, letters, strict=True):
        sign = f"\x1b[38;5;{entry.color}m█{_RESET}" if colors else letter
        entries.append((sign, printable(entry.text)))
    width = max((2 + len(text) for _, text in entries), default=2)
    width = min(width, window.columns)
    across = max((window.columns + 2) // (width + 2), 1)
    for start in range(0, len(entries), across):
        line = []
        for sign, text in entries[start : start + across]:
            room = width - 2
            text = text if len(text) <= room else text[: room - 1] + "…"
            line.append(f"{sign} {text.ljust(room)}")
        yield "  ".join(line).rstrip()

# SPDX-License-Identifier: GPL-2.0-or-later
"""A histogram in a terminal: a line a row, with a bar beside what the row counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.cells import cell_len, set_cell_size

from pagedbg.output.render import text_cells
from pagedbg.schema.table import Column, Row, Table, Window

__all__ = ("bar", "histogram")

_GAP = "  "

# A bar that is longer tells no more, and one that is shorter nothing.
_LONGEST, _SHORTEST = 40, 8

# A name is not cut below this.
_NARROWEST = 6

_WHOLE, _PLAIN = "█", "#"
_PARTS: Sequence[str] = ("", *"▏▎▍▌▋▊▉")


def bar(number: int, most: int, width: int, *, unicode: bool) -> str:
    """
    Draw a number from 0 up. What there is is seen, however little.

    :param most: the number whose bar is ``width`` characters long
    :param unicode: whether in eighths of a character, or in plain ``#``

    >>> bar(3, 8, 4, unicode=True)
    '█▌'
    >>> bar(3, 8, 4, unicode=False)
    '##'
    """
    if number <= 0:
        return ""
    if not unicode:
        return _PLAIN * max(round(width * number / most), 1)
    whole, part = divmod(max(round(8 * width * number / most), 1), 8)
    return _WHOLE * whole + _PARTS[part]


def histogram(
    columns: Sequence[Column], rows: Sequence[Row], notes: list[str], empty: str
) -> Table:
    """
    A table that text shows as a histogram.

    :param columns: the last has how many a row counts
    :param empty: the sentence for no rows
    """
    drawing = _HistogramText(columns, rows, empty)
    return Table.of(columns, rows, notes=notes, empty=empty, drawing=drawing)


class _HistogramText:
    """Draws the rows in the window that they are shown in."""

    def __init__(
        self, columns: Sequence[Column], rows: Sequence[Row], empty: str
    ) -> None:
        self._columns, self._rows, self._empty = columns, rows, empty

    def lines(self, window: Window) -> Iterator[str]:
        """Return the lines; where there is no room, a class has no end."""
        if not self._rows:
            yield self._empty
            return
        shown = list(range(len(self._columns)))
        cells = [
            [column.name, *text_cells(column, [row[i] for row in self._rows])]
            for i, column in enumerate(self._columns)
        ]
        widths = [max(map(cell_len, each)) for each in cells]
        while len(shown) > 2 and _left(widths, shown, window) < _SHORTEST:
            shown.remove(max(shown, key=lambda i: self._columns[i].rank))
        first = shown[0]
        if self._columns[first].kind == "str":
            lacking = max(_SHORTEST - _left(widths, shown, window), 0)
            widths[first] = max(widths[first] - lacking, min(widths[first], _NARROWEST))
        room = min(max(_left(widths, shown, window), 0), _LONGEST)
        most = max(row[-1] for row in self._rows)
        for number in range(len(self._rows) + 1):
            line: str = _GAP.join(
                set_cell_size(cells[i][number], widths[i])
                if self._columns[i].kind == "str"
                else cells[i][number].rjust(widths[i])
                for i in shown
            )
            if number and room:
                count = self._rows[number - 1][-1]
                line += _GAP + bar(count, most, room, unicode=window.unicode)
            yield line.rstrip()


def _left(widths: Sequence[int], shown: Sequence[int], window: Window) -> int:
    """The columns that a bar can have."""
    return window.columns - sum(widths[i] + len(_GAP) for i in shown)

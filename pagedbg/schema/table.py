# SPDX-License-Identifier: GPL-2.0-or-later
"""The one thing that commands return and that every format is drawn from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple, Protocol

from pagedbg.schema.picture import Picture
from pagedbg.schema.stacks_over_time import StacksOverTime

Kind = Literal[
    "int",
    "hex",
    "float",
    "bool",
    "str",
    "bytes",
    "share",
    "ns",
    "list",
    "stack",
    "row",
    "rows",
    "series",
]
"""
What a column holds, hence how text shows it (JSON and CSV carry the plain value; JSON
a number beyond 2**53, which most of its readers would round, as the string ``"0x…"``):

``int`` a number, ``hex`` a number written in hexadecimal, ``float`` one that is not
whole, ``bool`` yes or no, ``str`` text, ``bytes`` a size in bytes (text: KiB, MiB),
``share`` per cent as a float, ``ns`` a time in nanoseconds (text: seconds), ``list``
some words, ``stack`` a list of frames, innermost first, ``row`` a row of the columns
``fields``, ``rows`` a sequence of them (CSV and text: as JSON), ``series`` some numbers
that follow each other (text: a little picture). Any value may be None: not known.
"""


@dataclasses.dataclass(frozen=True)
class Column:
    """
    One column: the ``name`` that scripts use and the ``kind`` that says how to draw it.
    In a narrow window columns of a lower ``rank`` are left out last. ``fields`` are the
    columns of rows in the cells.
    """

    name: str
    kind: Kind = "str"
    rank: int = 5
    fields: tuple[Column, ...] = ()


Row = Sequence[Any]


class Window(NamedTuple):
    """
    Where text is shown: how many columns and lines there are to write in, whether
    colours may be used, and whether characters that are not ASCII.
    """

    columns: int
    lines: int
    color: bool
    unicode: bool


class Drawing(Protocol):
    """What text shows in place of a table."""

    def lines(self, window: Window) -> Iterable[str]:
        """Return lines for a window: printable, but for colours."""


@dataclasses.dataclass
class Table:
    """
    Rows under named columns, perhaps too many to hold at once.

    ``batches`` is consumed once: an iterable of lists of rows, each row as long as
    ``columns``. ``notes`` are sentences said after the last row (what could not be
    read, what was left out); a producer may append to them until its last batch is
    taken. ``text`` is what to print instead of a table where the format is text, an
    iterable of lines, or a table with other columns (either may consume ``batches``
    itself). ``empty`` is the sentence for a table without rows.

    ``closing`` sums up the rows, for people: who reads data can do so alone.
    ``drawing`` is what text shows in place of rows, made for the window that it is
    shown in; it may add to ``notes`` and ``closing``. ``picture`` makes what is written
    into a file that is a picture, ``over_time`` what a page shows of a capture.
    ``sections`` are tables that text has below this one, each under a heading; a
    program asks for one at a time.
    """

    columns: Sequence[Column]
    batches: Iterable[Sequence[Row]]
    notes: list[str] = dataclasses.field(default_factory=list)
    text: Iterable[str] | Table | None = None
    empty: str = "Nothing matches."
    closing: list[str] = dataclasses.field(default_factory=list)
    sections: Sequence[tuple[str, Table]] = ()
    drawing: Drawing | None = None
    picture: Callable[[], Picture] | None = None
    over_time: Callable[[], StacksOverTime] | None = None

    @classmethod
    def of(cls, columns: Sequence[Column], rows: Sequence[Row], **more: Any) -> Table:
        """A table of rows that are all there already."""
        return cls(columns, [rows] if rows else [], **more)

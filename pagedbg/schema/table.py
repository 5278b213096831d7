# SPDX-License-Identifier: GPL-2.0-or-later
"""The one thing that commands return and that every format is drawn from."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, Literal

Kind = Literal["int", "hex", "bool", "str", "bytes", "share", "ns", "list", "stack"]
"""
What a column holds, hence how text shows it (JSON and CSV carry the plain value; JSON
a number beyond 2**53, which most of its readers would round, as the string ``"0x…"``):

``int`` a number, ``hex`` a number written in hexadecimal, ``bool`` yes or no, ``str``
text, ``bytes`` a size in bytes (text: KiB, MiB), ``share`` per cent as a float, ``ns``
a time in nanoseconds (text: seconds), ``list`` some words, ``stack`` a list of frames,
innermost first. Any value may be None: not known.
"""


@dataclasses.dataclass(frozen=True)
class Column:
    """
    One column: the ``name`` that scripts use and the ``kind`` that says how to draw it.
    In a narrow window columns of a lower ``rank`` are left out last.
    """

    name: str
    kind: Kind = "str"
    rank: int = 5


Row = Sequence[Any]


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
    """

    columns: Sequence[Column]
    batches: Iterable[Sequence[Row]]
    notes: list[str] = dataclasses.field(default_factory=list)
    text: Iterable[str] | Table | None = None
    empty: str = "Nothing matches."

    @classmethod
    def of(cls, columns: Sequence[Column], rows: Sequence[Row], **more: Any) -> Table:
        """A table of rows that are all there already."""
        return cls(columns, [rows] if rows else [], **more)

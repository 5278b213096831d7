# SPDX-License-Identifier: GPL-2.0-or-later
"""Why an allocation fails, drawn for people: from the same rows that programs get."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pagedbg.output.printable import printable
from pagedbg.schema.explanation_columns import EXPLANATION, each_explained
from pagedbg.schema.table import Row

__all__ = ("explanation_lines",)

_COLUMNS = [column.name for column in EXPLANATION]
_GAP = "  "
_COUNTERS_A_LINE = 5

_ZONE_COLUMNS = {
    "result": "result",
    "free": "free",
    "need": "needed",
    "withheld": "withheld",
    "stuck": "too small",
    "unusable_index": "unusable",
    "fragmentation_index": "fragmented",
}


def explanation_lines(rows: Iterable[Row]) -> Iterator[str]:
    """
    Draw the rows of :data:`pagedbg.schema.explanation_columns.EXPLANATION`, which are
    grouped by topic.
    """
    first = True
    for explained in each_explained(rows):
        topics: dict[str, list[dict[str, Any]]] = {}
        for row in explained:
            named = dict(zip(_COLUMNS, row, strict=True))
            topics.setdefault(named["topic"], []).append(named)
        for name, found in topics.items():
            if not first:
                yield ""
            first = False
            yield from _TOPICS.get(name, _sentences)(found)


def _sentences(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    # Of owners who let go together each has a row, and all the same sentence.
    for sentence in dict.fromkeys(row["finding"] for row in rows):
        yield printable(sentence)


def _request(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    for row in rows:
        yield printable(row["finding"])
        for frame in row["stack"] or ():
            yield f"    {printable(frame)}"


def _names(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What to call the zone of each row."""
    many = len({row["node"] for row in rows}) > 1
    return [
        f"node {row['node']} {row['zone']}" if many else str(row["zone"])
        for row in rows
    ]


def _zones(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    cells = [["zone", *_ZONE_COLUMNS.values()]]
    for name, row in zip(_names(rows), rows, strict=True):
        cells.append(
            [
                name,
                *(
                    f"{row[column] / 1000:.3f}"
                    if column.endswith("index")
                    else str(row[column])
                    for column in _ZONE_COLUMNS
                ),
            ]
        )
    yield from _aligned(cells, left=2)


def _blocks(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    last = max(row["order"] for row in rows)
    lines: dict[tuple[str, str], list[str]] = {}
    usable = False
    for name, row in zip(_names(rows), rows, strict=True):
        key = name, row["migratetype"] or "all"
        counts = lines.setdefault(key, ["0"] * (last + 1))
        count = "?" if row["blocks"] is None else str(row["blocks"])
        counts[row["order"]] = f"{count}*" if row["usable"] else count
        usable |= row["usable"]
    yield "Free blocks by order" + (
        ", * those that may be taken:" if usable else ", none of which may be taken:"
    )
    cells = [["zone", "type", *map(str, range(last + 1))]]
    cells += [[*key, *counts] for key, counts in lines.items()]
    yield from _aligned(cells, left=2)


def _counters(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield "Pages that the kernel had counted:"
    texts = [f"{row['kind']} {row['pages']}" for row in rows]
    for at in range(0, len(texts), _COUNTERS_A_LINE):
        yield "  " + printable(", ".join(texts[at : at + _COUNTERS_A_LINE]))


def _aligned(rows: Sequence[Sequence[str]], *, left: int) -> Iterator[str]:
    """Draw a table whose first columns are text."""
    shown = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    for row in shown:
        yield _GAP.join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()


_TOPICS = {
    "request": _request,
    "zone": _zones,
    "blocks": _blocks,
    "counter": _counters,
}

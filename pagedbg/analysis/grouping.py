# SPDX-License-Identifier: GPL-2.0-or-later
"""
Blocks and pages summed up by key, a piece at a time, so that memory grows with the
number of keys and not of pages.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import duckdb

# Partial sums are joined when there are this many.
_COMPACT_AT = 1 << 20

# Of the hash table: its slots, and the most groups; with fewer slots a group each, more
# would have to share one.
_SLOT_BITS = 17
_MOST_GROUPS = 1 << 15

# Knuth, The Art of Computer Programming, volume 3, 6.4: 2**32 divided by the golden
# ratio.
_MULTIPLIER = np.uint32(2654435761)


def group(keys: Sequence[NDArray[Any]]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """
    Number the distinct rows of some columns.

    :return: the index of one row of each group, and the group of each row
    """
    codes: NDArray[Any] | None = None
    limit = 1
    for key in keys:
        values, inverse = np.unique(key, return_inverse=True)
        if codes is not None and limit * len(values) >= 1 << 63:
            # Numbered anew, they fit again.
            seen, codes = np.unique(codes, return_inverse=True)
            limit = len(seen)
        codes = inverse if codes is None else codes * len(values) + inverse
        limit *= len(values)
    assert codes is not None
    _, first, which = np.unique(codes, return_index=True, return_inverse=True)
    return first, which


class Tally:
    """
    Sums of blocks and pages by several integer keys.

    To number keys NumPy sorts them, which takes longer than to read them out of a
    kernel. But nearly every row has a key that was seen before: a hash table has the
    group of the key that took a slot last, and only rows with another key are sorted. A
    group that lost its slot is begun anew the next time; :meth:`result` puts together
    what belongs together.
    """

    def __init__(self) -> None:
        # Sums that are no longer added to, and those that the table refers to; a part
        # is a column for each key, blocks and pages.
        self._parts: list[list[NDArray[Any]]] = []
        self._rows = 0
        self._groups: list[NDArray[Any]] = []
        self._slots = np.zeros(1 << _SLOT_BITS, np.intp)

    def add(self, keys: Sequence[NDArray[Any]], pages: NDArray[np.int64]) -> None:
        """Count one block a row: its keys, and its pages."""
        if not len(pages):
            return
        which = self._number(keys)
        groups = self._groups
        blocks = np.bincount(which, minlength=len(groups[-1]))
        groups[-2] += blocks
        groups[-1] += blocks
        # Most blocks are single pages.
        more = np.flatnonzero(pages > 1)
        if len(more):
            # Weights are doubles: exact up to 2**53 pages.
            groups[-1] += np.bincount(
                which[more], weights=pages[more] - 1, minlength=len(groups[-1])
            ).astype(np.int64)
        if len(groups[-1]) > _MOST_GROUPS:
            self._close()
            if self._rows > _COMPACT_AT:
                self._compact()

    def _number(self, keys: Sequence[NDArray[Any]]) -> NDArray[np.intp]:
        """The group of each row, made if there is none."""
        slots = _slots(keys)
        if not self._groups:
            self._groups = [
                *(key[:1].copy() for key in keys),
                *np.zeros((2, 1), np.int64),
            ]
        # An empty slot refers to the first group: whose key it is not.
        which = self._slots[slots]
        known = [
            column[which] == key
            for column, key in zip(self._groups, keys, strict=False)
        ]
        if not all(column.all() for column in known):
            new = np.flatnonzero(~np.logical_and.reduce(known))
            first, groups = group([key[new] for key in keys])
            rows, begin = new[first], len(self._groups[-1])
            which[new] = groups + begin
            self._slots[slots[rows]] = np.arange(begin, begin + len(rows))
            more = [*(key[rows] for key in keys), *np.zeros((2, len(rows)), np.int64)]
            self._groups = [
                np.concatenate(columns)
                for columns in zip(self._groups, more, strict=True)
            ]
        return which

    def _close(self) -> None:
        """Begin a new table."""
        if self._groups:
            self._parts.append(self._groups)
            self._rows += len(self._groups[-1])
            self._groups = []
            self._slots[:] = 0

    def _compact(self) -> None:
        *keys, blocks, pages = (
            np.concatenate(columns) for columns in zip(*self._parts, strict=True)
        )
        first, which = group(keys)
        sums = (
            np.bincount(which, weights=weights, minlength=len(first)).astype(np.int64)
            for weights in (blocks, pages)
        )
        self._parts = [[*(key[first] for key in keys), *sums]]
        self._rows = len(first)

    def result(self) -> list[NDArray[Any]]:
        """The columns: a column for each key, then blocks and pages."""
        self._close()
        if self._parts:
            self._compact()
        return self._parts[0] if self._parts else []


def _slots(keys: Sequence[NDArray[Any]]) -> NDArray[np.intp]:
    """The slot of the hash table for each row of some columns."""
    # 32 bits at a time: processors multiply more of them at once.
    words = [
        half.astype(np.uint32, copy=False)
        for key in keys
        for half in ((key, key >> 32) if key.dtype.itemsize > 4 else (key,))
    ]
    mixed = words[0] * _MULTIPLIER
    for word in words[1:]:
        mixed = (mixed + word) * _MULTIPLIER
    mixed >>= np.uint32(32 - _SLOT_BITS)
    return mixed.astype(np.intp)


def summarize(
    db: duckdb.DuckDBPyConnection,
    by: Sequence[str],
    values: Sequence[Sequence[Any]],
    blocks: NDArray[np.int64],
    pages: NDArray[np.int64],
    *,
    page_size: int,
    sort: str = "pages",
    descending: bool = True,
    top: int | None = None,
) -> tuple[list[tuple[Any, ...]], int]:
    """
    Sum up once more by what the keys stand for: several handles may be one function.

    :param by: names of the columns
    :param values: for each of them the value of each row, all str or all int
    :return: rows of ``(*by, blocks, pages, bytes, share)``, and how many groups there
        are without ``top``
    """
    relation = {
        **{f"k{i}": _column(column) for i, column in enumerate(values)},
        "blocks": blocks,
        "pages": pages,
    }
    names = [f'k{i} AS "{name}"' for i, name in enumerate(by)]
    order = f'"{sort}" {"DESC" if descending else "ASC"} NULLS LAST, ' + ", ".join(
        f'"{name}"' for name in by
    )
    db.register("tally", relation)
    try:
        rows = db.execute(f"""
            SELECT {", ".join(names)}, sum(blocks)::BIGINT AS blocks, sum(pages)::BIGINT AS pages,
                   sum(pages)::BIGINT * {page_size} AS bytes,
                   round(100 * sum(pages) / sum(sum(pages)) OVER (), 2)::DOUBLE AS share,
                   count(*) OVER () AS groups
            FROM tally GROUP BY ALL ORDER BY {order} {f"LIMIT {top}" if top is not None else ""}
            """).fetchall()  # noqa: E501
    finally:
        db.unregister("tally")
    return [row[:-1] for row in rows], rows[0][-1] if rows else 0


def _column(values: Sequence[Any]) -> NDArray[Any]:
    return (
        np.array(values, dtype=object)
        if any(isinstance(v, str) or v is None for v in values)
        else np.asarray(values, np.int64)
    )

# SPDX-License-Identifier: GPL-2.0-or-later
"""Blocks and pages summed up by key, a piece at a time, so that memory grows with the number of keys and not of pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import duckdb

# Partial sums are joined when there are this many.
_COMPACT_AT = 1 << 20


def group(keys: Sequence[NDArray[Any]]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """
    Number the distinct rows of some columns.

    :return: the index of one row of each group, and the group of each row
    """
    codes: NDArray[Any] | None = None
    for key in keys:
        values, inverse = np.unique(key, return_inverse=True)
        codes = inverse if codes is None else codes * len(values) + inverse
    assert codes is not None
    _, first, which = np.unique(codes, return_index=True, return_inverse=True)
    return first, which


class Tally:
    """Sums of blocks and pages by several integer keys."""

    def __init__(self) -> None:
        self._parts: list[list[NDArray[Any]]] = []
        self._rows = 0

    def add(self, keys: Sequence[NDArray[Any]], pages: NDArray[np.int64]) -> None:
        """Count one block a row: its keys, and its pages."""
        if len(pages):
            self._add(keys, np.ones(len(pages), np.int64), pages)

    def _add(self, keys: Sequence[NDArray[Any]], blocks: NDArray[np.int64], pages: NDArray[np.int64]) -> None:
        first, which = group(keys)
        # Weights are doubles: exact up to 2**53 pages.
        sums = (np.bincount(which, weights=weights, minlength=len(first)).astype(np.int64) for weights in (blocks, pages))
        self._parts.append([*(np.asarray(key)[first] for key in keys), *sums])
        self._rows += len(first)
        if self._rows > _COMPACT_AT:
            self.result()

    def result(self) -> list[NDArray[Any]]:
        """The columns: a column for each key, then blocks and pages."""
        if len(self._parts) > 1:
            columns = [np.concatenate(column) for column in zip(*self._parts, strict=True)]
            self._parts, self._rows = [], 0
            self._add(columns[:-2], columns[-2], columns[-1])
        return self._parts[0] if self._parts else []


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
    :return: rows of ``(*by, blocks, pages, bytes, share)``, and how many groups there are without ``top``
    """
    relation = {
        **{f"k{i}": _column(column) for i, column in enumerate(values)},
        "blocks": blocks,
        "pages": pages,
    }
    names = [f'k{i} AS "{name}"' for i, name in enumerate(by)]
    order = f'"{sort}" {"DESC" if descending else "ASC"} NULLS LAST, ' + ", ".join(f'"{name}"' for name in by)
    db.register("tally", relation)
    try:
        rows = db.execute(
            f"""
            SELECT {", ".join(names)}, sum(blocks)::BIGINT AS blocks, sum(pages)::BIGINT AS pages,
                   sum(pages)::BIGINT * {page_size} AS bytes,
                   round(100 * sum(pages) / sum(sum(pages)) OVER (), 2)::DOUBLE AS share,
                   count(*) OVER () AS groups
            FROM tally GROUP BY ALL ORDER BY {order} {f"LIMIT {top}" if top is not None else ""}
            """
        ).fetchall()
    finally:
        db.unregister("tally")
    return [row[:-1] for row in rows], rows[0][-1] if rows else 0


def _column(values: Sequence[Any]) -> NDArray[Any]:
    return np.array(values, dtype=object) if any(isinstance(v, str) or v is None for v in values) else np.asarray(values, np.int64)

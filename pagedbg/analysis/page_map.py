# SPDX-License-Identifier: GPL-2.0-or-later
"""
A map of memory: what is in cells of pages that lie together, summed up a batch at a
time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pagedbg.analysis.grouping import Amounts, Sums

if TYPE_CHECKING:
    import duckdb

__all__ = (
    "FREE",
    "KNOWN",
    "NONE",
    "NOT_RECORDED",
    "CellCounts",
    "CellSums",
    "PageMap",
    "Stretch",
)

KNOWN, FREE, NOT_RECORDED, NONE = range(4)
"""
Whether a page has what the map shows: it has, it is free, nobody is known to have it,
or it is of something else.
"""

_INSTEAD = {FREE: "free", NOT_RECORDED: "not on record", NONE: "none"}

# Values that are told apart; all others are one more.
_MOST_VALUES = 12

_SUMMED = {"pages": "sum(pages)::BIGINT", "pfn": "min(pfn)::UBIGINT"}


@dataclasses.dataclass(frozen=True)
class Stretch:
    """
    What one zone spans on a map: neighbouring cells of ``1 << order`` pages, of which
    the first and the last may reach beyond it.
    """

    node: int
    zone: str
    start_pfn: int
    end_pfn: int
    order: int
    counts: NDArray[np.int32]
    """For each cell and each value of the map, how many pages there are."""
    highlighted: NDArray[np.int32]
    """How many pages of each cell were chosen."""

    def __len__(self) -> int:
        return len(self.highlighted)

    def bounds(self, cell: int) -> tuple[int, int]:
        """The first page frame of a cell, and the one after its last."""
        start = ((self.start_pfn >> self.order) + cell) << self.order
        return (
            max(start, self.start_pfn),
            min(start + (1 << self.order), self.end_pfn),
        )

    @property
    def mostly(self) -> NDArray[np.int16]:
        """Which value most pages of each cell have; −1 where there is no page."""
        if not self.counts.size:
            return np.full(len(self), -1, np.int16)
        most: NDArray[np.int16] = self.counts.argmax(axis=1).astype(np.int16)
        most[self.counts.sum(axis=1) == 0] = -1
        return most


@dataclasses.dataclass(frozen=True)
class PageMap:
    """
    A map of memory.

    ``values`` are what pages are, the most frequent first, and behind them what stands
    for all others, if there are ``more``. ``marked`` says whether there was a filter of
    what to highlight.
    """

    by: str
    order: int
    values: Sequence[str]
    pages: Sequence[int]
    """How many pages have each value, on the whole map."""
    stretches: Sequence[Stretch]
    more: bool = False
    marked: bool = False


class CellCounts(NamedTuple):
    """
    What is in the cells of stretches: the values, how many pages each has, whether the
    last value stands for several, and for each stretch how many pages of its cells have
    each.
    """

    values: list[str]
    pages: list[int]
    more: bool
    stretches: list[NDArray[np.int32]]


class CellSums(Sums):
    """
    Pages by cell and by what they are.

    :param numbers: the columns that tell apart what pages are
    :param values: what finds the words for distinct rows of them
    """

    def __init__(
        self,
        db: duckdb.DuckDBPyConnection,
        numbers: Sequence[str],
        values: Callable[[Sequence[NDArray[Any]]], Sequence[Any]],
    ) -> None:
        super().__init__(
            db, ("stretch", "cell", "has", *numbers), Amounts(_SUMMED, _SUMMED, {})
        )
        self._value = {"value": (numbers, values)}

    def values(self) -> tuple[list[str], list[int], list[int]]:
        """
        Say what there is, the most frequent first.

        :return: the words, how many pages each has, and the first of them
        """
        words, query = self._named()
        if not query:
            return [], [], []
        rows = self._db.execute(
            f"SELECT value, sum(pages)::BIGINT, min(pfn) FROM {query}"
            " GROUP BY 1 ORDER BY 2 DESC, 1"
        ).fetchall()
        return (
            [_word(words, value) for value, _, _ in rows],
            [pages for _, pages, _ in rows],
            [pfn for _, _, pfn in rows],
        )

    def cells(self, sizes: Sequence[int]) -> CellCounts:
        """
        Count what is in each cell. Of more than a dozen values the rarest are one.

        :param sizes: how many cells each stretch has
        """
        words, query = self._named()
        if not query:
            none = [np.zeros((size, 0), np.int32) for size in sizes]
            return CellCounts([], [], False, none)
        found = self._db.execute(
            f"""
            WITH named AS (SELECT * FROM {query}),
            ranked AS (
                SELECT value, sum(pages)::BIGINT AS total,
                    row_number() OVER (ORDER BY sum(pages) DESC, value) - 1 AS place
                FROM named GROUP BY value)
            SELECT value, total FROM ranked ORDER BY place
            """
        ).fetchall()
        shown = len(found) if len(found) <= _MOST_VALUES else _MOST_VALUES - 1
        values = [_word(words, value) for value, _ in found[:shown]]
        totals = [int(total) for _, total in found[:shown]]
        if len(found) > shown:
            values.append(f"{len(found) - shown} others")
            totals.append(sum(int(total) for _, total in found[shown:]))
        places = {
            "value": np.array([value for value, _ in found], np.int64),
            "place": np.minimum(np.arange(len(found)), shown),
        }
        self._db.register("places", places)
        columns = self._db.execute(
            f"SELECT stretch, cell, place, sum(pages)::BIGINT AS pages FROM {query}"
            " JOIN places USING (value) GROUP BY ALL"
        ).fetchnumpy()
        counts = [np.zeros((size, len(values)), np.int32) for size in sizes]
        for number, each in enumerate(counts):
            of = columns["stretch"] == number
            each[columns["cell"][of], columns["place"][of]] = columns["pages"][of]
        return CellCounts(values, totals, len(found) > shown, counts)

    def _named(self) -> tuple[list[Any], str]:
        """
        What is counted, as something to select from: of each cell, what ``value`` (a
        place among the words, or less than zero) how many ``pages`` have; empty where
        there is nothing.
        """
        named = self.named(self._value)
        if named is None:
            return [], ""
        (words,), _, joins = named
        return words, (
            "(SELECT stretch, cell, pages, pfn, CASE has WHEN 0 THEN key0.word ELSE"
            f" -1 - has::INTEGER END AS value FROM {joins})"
        )


def _word(words: Sequence[Any], value: int) -> str:
    if value >= 0:
        return str(words[value])
    return _INSTEAD.get(-1 - value, "not known")

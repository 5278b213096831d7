# SPDX-License-Identifier: GPL-2.0-or-later
"""
Columns that are sorted, chosen or put into a database before they are drawn: only what
is shown is drawn.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from pagedbg.schema.owner_record import comm_bytes
from pagedbg.schema.table import Row


@dataclasses.dataclass(frozen=True)
class Undrawn:
    """
    A column of some rows that is not drawn yet: a number each, whether it is known, and
    the word that a number stands for, where it is not shown itself.

    Text from a record counts as a number: it is an array of bytes. ``together`` is told
    first which words will be asked for, where that is sooner than one by one.
    """

    numbers: NDArray[Any]
    known: NDArray[np.bool_] | None = None
    word: Callable[[Any], Any] | None = None
    together: Callable[[list[Any]], object] | None = None

    def words(self) -> tuple[list[Any], NDArray[np.intp]]:
        """
        Return the word of each distinct number, and for each row the place of its word
        among them.
        """
        assert self.word is not None
        distinct, which = np.unique(self.numbers, return_inverse=True)
        numbers = distinct.tolist()
        if self.together is not None:
            self.together(numbers)
        return [self.word(number) for number in numbers], which.reshape(-1)

    def draw(self) -> list[Any]:
        """Return the values, None for what is not known."""
        if self.word is None:
            values: list[Any] = self.numbers.tolist()
        else:
            words, which = self.words()
            values = [words[number] for number in which.tolist()]
        if self.known is None or self.known.all():
            return values
        return [
            value if known else None
            for value, known in zip(values, self.known.tolist(), strict=True)
        ]

    def order(self, descending: bool, top: int | None = None) -> NDArray[np.intp]:
        """
        Return the indices of the rows in the order of the column: equal ones as they
        stand, and what is not known last, whichever way.
        """
        numbers, known = self.numbers, self.known
        if self.word is not None:
            words, which = self.words()
            _, places = ranked(words)
            numbers = places[which]
            known = numbers >= 0 if known is None else known & (numbers >= 0)
        if descending:
            # From behind, twice: equal ones stay as they stand.
            index = len(numbers) - 1 - np.argsort(numbers[::-1], kind="stable")[::-1]
        else:
            index = np.argsort(numbers, kind="stable")
        if known is not None:
            index = np.concatenate((index[known[index]], index[~known[index]]))
        return index[:top]


class UndrawnRows(Sequence[Row]):
    """
    Rows of a table as columns that are not drawn yet: whoever takes columns need not
    have them as rows first, or drawn at all.
    """

    def __init__(self, columns: Sequence[Undrawn]) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return len(self.columns[0].numbers) if self.columns else 0

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows)

    @overload
    def __getitem__(self, index: int) -> Row: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Row]: ...

    def __getitem__(self, index: int | slice) -> Row | Sequence[Row]:
        return self._rows[index]

    @functools.cached_property
    def drawn(self) -> list[Sequence[Any]]:
        """The values of each column."""
        return [column.draw() for column in self.columns]

    @functools.cached_property
    def _rows(self) -> list[Row]:
        return list(zip(*self.drawn, strict=True))


def positive(numbers: NDArray[Any]) -> Undrawn:
    """Return a column of numbers of which a negative one is not known."""
    return Undrawn(numbers, numbers >= 0)


def text(words: NDArray[Any], decode: Callable[[NDArray[Any]], str | None]) -> Undrawn:
    """Return a column of ``comm``, and how they are decoded."""
    return Undrawn(
        comm_bytes(words),
        word=lambda name: decode(np.array(name)),
    )


def ranked(values: Sequence[Any]) -> tuple[list[Any], NDArray[np.int64]]:
    """
    Number values by their order.

    :return: the distinct values but None, sorted, and the place of each value among
        them, −1 for None
    """
    words = sorted({value for value in values if value is not None})
    place = {word: i for i, word in enumerate(words)}
    return words, np.array([place.get(value, -1) for value in values], np.int64)

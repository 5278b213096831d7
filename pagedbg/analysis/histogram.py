# SPDX-License-Identifier: GPL-2.0-or-later
"""How many there are of each: by value, by time, and by how long they lasted."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pagedbg.analysis.undrawn import Undrawn

__all__ = ("LifetimeClasses", "TimeClasses", "ValueCounts", "round_width")

# Classes of times that are told, and those that are kept until all are known.
_MOST_TOLD, _MOST_KEPT = 20, 4000

_DOUBLINGS = 64


def round_width(first: int, last: int, most: int) -> int:
    """
    Return the least width of classes, 1, 2 or 5 times a power of ten, with which there
    are not more than ``most`` from the first value to the last, both from 0 up.
    """
    power = 1
    while True:
        for width in (power, 2 * power, 5 * power):
            if last // width - first // width < most:
                return width
        power *= 10


class TimeClasses:
    """
    Times in classes of the same width: 1, 2 or 5 times a power of ten ns, the least
    with which there are not more than 20.
    """

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self._width = 1

    def add(self, times: NDArray[np.int64]) -> None:
        """Add times in ns; those below 0 are not known, and not counted."""
        times = times[times >= 0]
        if not len(times):
            return
        least, most = int(times.min()), int(times.max())
        if self._counts:
            least = min(least, min(self._counts) * self._width)
            most = max(most, (max(self._counts) + 1) * self._width - 1)
        while most // self._width - least // self._width >= _MOST_KEPT:
            self._widen(10)
        places, counts = np.unique(times // self._width, return_counts=True)
        self._counts.update(dict(zip(places.tolist(), counts.tolist(), strict=True)))

    def _widen(self, factor: int) -> None:
        counts, self._counts = self._counts, Counter()
        for place, count in counts.items():
            self._counts[place // factor] += count
        self._width *= factor

    def rows(self) -> list[tuple[int, int, int]]:
        """From when, until before when, and how many; without gaps."""
        if not self._counts:
            return []
        first, last = min(self._counts) * self._width, max(self._counts) * self._width
        self._widen(max(round_width(first, last, _MOST_TOLD) // self._width, 1))
        return [
            (at * self._width, (at + 1) * self._width, self._counts[at])
            for at in range(min(self._counts), max(self._counts) + 1)
        ]


class LifetimeClasses:
    """Times in classes, each of which is twice as wide as the one before."""

    def __init__(self) -> None:
        self._counts = np.zeros(_DOUBLINGS + 1, np.int64)

    def add(
        self, lasted: NDArray[np.int64], many: NDArray[np.int64] | None = None
    ) -> None:
        """
        Add times in ns, of 0 at least.

        :param many: how many lasted as long as each; one did where it is None
        """
        _, doublings = np.frexp(np.maximum(lasted, 0).astype(np.float64))
        np.add.at(self._counts, doublings, 1 if many is None else many)

    def rows(self) -> list[tuple[int, int, int]]:
        """From how long, to less than how long, and how many; without gaps."""
        found = np.flatnonzero(self._counts)
        if not len(found):
            return []
        return [
            (1 << (each - 1) if each else 0, 1 << each, int(self._counts[each]))
            for each in range(int(found[0]), int(found[-1]) + 1)
        ]


class ValueCounts:
    """Values that are counted."""

    def __init__(self) -> None:
        self._counts: Counter[Any] = Counter()
        self._words = False

    def add(self, values: Undrawn) -> None:
        """Add values: of a column that is not drawn yet, each is drawn once."""
        self._words = values.word is not None
        each, counts = np.unique(values.numbers, return_counts=True)
        for value, count in zip(
            dataclasses.replace(values, numbers=each).draw(),
            counts.tolist(),
            strict=True,
        ):
            self._counts[value] += count

    def rows(self) -> list[tuple[Any, int]]:
        """
        Each value, and how many there are: numbers by size, of words that with the most
        first.
        """
        if self._words:
            return sorted(self._counts.items(), key=lambda each: (-each[1], each[0]))
        return sorted(self._counts.items())

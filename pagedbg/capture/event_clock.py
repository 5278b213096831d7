# SPDX-License-Identifier: GPL-2.0-or-later
"""What local_clock() said when an event happened that only CLOCK_MONOTONIC tells."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pagedbg.schema.capture_meta import Begun

# Of so many on each side, events that tell both clocks are compared.
_NEIGHBOURS = 32

ENOUGH = 2 * _NEIGHBOURS + 2
"""Of so many before a time, no more have to be known to tell it."""


Samples = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Of some events CLOCK_MONOTONIC, and how far local_clock() was ahead of it."""


def both_clocks(records: NDArray[Any]) -> Samples:
    """What the events say that tell both clocks."""
    both = (records["time_nsec"] > 0) & (records["mono_nsec"] > 0)
    mono = records["mono_nsec"][both].astype(np.int64)
    return mono, records["time_nsec"][both].astype(np.int64) - mono


class EventClock:
    """
    Fitted once, on the records that have both clocks as they were measured.

    :param samples: by piece, what both clocks said, as :func:`both_clocks` finds it
    :param begun: what they said at the beginning, for where no event has both
    """

    def __init__(self, samples: Iterable[Samples], begun: Begun) -> None:
        none = np.zeros(0, np.int64)
        mono, ahead = zip((none, none), *samples, strict=True)
        self._mono, self._ahead = np.concatenate(mono), np.concatenate(ahead)
        self._begun = begun

    @property
    def range(self) -> tuple[int, int]:
        """How far local_clock() is ahead of CLOCK_MONOTONIC, at least and at most."""
        _, offset = self._offsets
        return int(offset.min()), int(offset.max())

    @functools.cached_property
    def _offsets(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """
        How far local_clock() is ahead of CLOCK_MONOTONIC, at some times of the latter:
        where an event has both.
        """
        if not len(self._mono):
            begun = self._begun
            return np.array([begun.mono_ns]), np.array(
                [(begun.local_ns or begun.mono_ns) - begun.mono_ns]
            )
        order = np.argsort(self._mono)
        # CLOCK_MONOTONIC was read a while after page_owner had taken its time: of
        # neighbours the greatest is nearest to the truth.
        return self._mono[order], _greatest_around(self._ahead[order])

    def times(self, records: NDArray[Any] | Mapping[str, Any]) -> NDArray[np.int64]:
        """When each event happened by local_clock(); −1 if that is not known."""
        times = records["time_nsec"].astype(np.int64)
        mono = records["mono_nsec"].astype(np.int64)
        missing = (times == 0) & (mono > 0)
        if missing.any():
            asked = mono[missing]
            # Nothing happens to an allocation before it is made, whatever the
            # conversion is off by.
            times[missing] = np.maximum(
                asked + self._ahead_at(asked),
                records["ts_nsec"][missing].astype(np.int64),
            )
        times[times == 0] = -1
        return times

    def _ahead_at(self, mono: NDArray[np.int64]) -> NDArray[np.int64]:
        """How far local_clock() was ahead at some times."""
        at, offset = self._offsets
        # Of a long capture, events of a piece are in a small part of them.
        first, last = np.searchsorted(at, (mono.min(), mono.max()))
        first = max(int(first) - 1, 0)
        near = at[first : int(last) + 1]
        nearest = np.clip(np.searchsorted(near, mono) - 1, 0, len(near) - 1)
        found: NDArray[np.int64] = offset[first + nearest]
        return found

    def latest(self, mono_ns: int) -> int:
        """What local_clock() said at a time after all events."""
        _, offset = self._offsets
        return mono_ns + int(offset[-1])


def _greatest_around(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """The greatest of each value and its neighbours."""
    window, width = 2 * _NEIGHBOURS + 1, 1
    found = np.pad(values, _NEIGHBOURS, mode="edge")
    # Of as many values together, then of twice as many.
    while width < window:
        more = min(width, window - width)
        found = np.maximum(found[:-more], found[more:])
        width += more
    return found

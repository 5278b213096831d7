# SPDX-License-Identifier: GPL-2.0-or-later
"""
How fast pages are allocated and freed, by the stack that they were allocated with, as
the events of a running trace come in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pagedbg.analysis.sums_by_place import added
from pagedbg.schema.event_record import COPY, NO_PFN, NO_RECORD, RESET, SET

__all__ = ("HolderRate", "HolderRates")

# Rates are of about so much time, in seconds: one of less would only flicker.
_WINDOW = 5.0


class HolderRate(NamedTuple):
    """
    What a holder has done: pages that it allocated and freed a second lately, by how
    many pages it has ``grown`` since the beginning, and the ``handles`` of its stacks,
    the one with the most events first.
    """

    holder: str
    allocated: float
    freed: float
    grown: int
    handles: tuple[int, ...]


class HolderRates:
    """
    Sums of events by handle. A free says with which stack its page was allocated; so
    what was allocated earlier and is freed now makes its holder shrink.

    ``unknown`` counts the events that could not read whose page it was, ``moved`` the
    pages that were migrated.

    :param now: when the first interval begins, in seconds
    """

    def __init__(self, now: float) -> None:
        self._places: dict[int, int] = {}
        # Pages allocated, pages freed, events: a row a handle.
        self._sums = np.zeros((0, 3), np.int64)
        self._before: deque[tuple[float, NDArray[np.int64]]] = deque(
            [(now, self._sums)]
        )
        self._now = now
        self.events = self.unknown = self.moved = 0

    @property
    def handles(self) -> Iterable[int]:
        """The handles that were seen."""
        return self._places.keys()

    def add(self, records: NDArray[Any]) -> None:
        """
        Add events.

        :param records: an array of :data:`pagedbg.schema.event_record.RECORD`
        """
        self.events += len(records)
        self.moved += int(
            (1 << records["order"][records["event"] == COPY].astype(np.int64)).sum()
        )
        records = records[np.isin(records["event"], (SET, RESET))]
        known = (records["pfn"] != NO_PFN) & (
            (records["event"] == SET) | (records["flags"] & NO_RECORD == 0)
        )
        self.unknown += int(np.count_nonzero(~known))
        records = records[known]
        handles, which = np.unique(records["handle"], return_inverse=True)
        places = np.array(
            [
                self._places.setdefault(each, len(self._places))
                for each in handles.tolist()
            ],
            np.intp,
        )
        at = places[which.reshape(-1)]
        pages = np.int64(1) << records["order"].astype(np.int64)
        is_set = records["event"] == SET
        amounts = (
            np.where(is_set, pages, 0),
            np.where(is_set, 0, pages),
            np.ones(len(pages), np.int64),
        )
        count = len(self._places)
        sums = np.stack([added(at, each, count) for each in amounts], axis=1)
        # Those of before are kept as they were.
        sums[: len(self._sums)] += self._sums
        self._sums = sums

    def tick(self, now: float) -> None:
        """Have rates be of the time up to now, in seconds."""
        self._now = now
        self._before.append((now, self._sums))
        while len(self._before) > 2 and self._before[1][0] <= now - _WINDOW:
            self._before.popleft()

    def rates(self, holder: Callable[[int], str]) -> list[HolderRate]:
        """
        What each holder has done, in no order.

        :param holder: who it is that has the stack of a handle
        """
        then, before = self._before[0]
        seconds = max(self._now - then, 1e-9)
        lately = self._sums[:, :2].astype(np.float64)
        lately[: len(before)] -= before[:, :2]
        lately /= seconds
        found: dict[str, list[int]] = {}
        for handle, place in self._places.items():
            found.setdefault(holder(handle), []).append(place)
        handles = list(self._places)
        rates = []
        for name, places in found.items():
            allocated, freed = lately[places].sum(axis=0).tolist()
            pages = self._sums[places].sum(axis=0).tolist()
            places.sort(key=lambda place: -int(self._sums[place, 2]))
            rates.append(
                HolderRate(
                    name,
                    allocated,
                    freed,
                    pages[0] - pages[1],
                    tuple(handles[place] for place in places),
                )
            )
        return rates

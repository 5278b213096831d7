# SPDX-License-Identifier: GPL-2.0-or-later
"""Captured allocations as pages that were held by stacks from when until when."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pagedbg.analysis.allocation_sums import block_pages
from pagedbg.analysis.histogram import round_width
from pagedbg.analysis.sums_by_place import added
from pagedbg.schema.allocation import FREED, LIVE, MIGRATED, SPLIT_UP
from pagedbg.schema.stacks_over_time import HeldCell, StacksOverTime

__all__ = ("HeldOverTime",)

# More could not be told apart, or would make the file large: a stack has no more than
# half of their square of cells.
_MOST_STRETCHES, _MOST_STACKS = 60, 60

# Sums that are joined when there are so many.
_JOIN_AT = 1 << 20

# Beside the handle, which has 32 bits, a key has two stretches.
_BITS = 8


class HeldOverTime:
    """
    Sums of allocations by stack, and by when they were made and freed.

    :param first: the first time that there is, in ns
    :param last: the last one
    :param page_size: in bytes
    """

    def __init__(self, first: int, last: int, page_size: int) -> None:
        last = max(first, last)
        self._width = round_width(first, last, _MOST_STRETCHES)
        self._begin = first // self._width
        self._stretches = last // self._width - self._begin + 1
        self._page_size = page_size
        self._keys = [np.zeros(0, np.int64)]
        self._pages = [np.zeros(0, np.int64)]
        self._waiting = self._unknown = 0

    def add(self, rows: NDArray[Any]) -> None:
        """
        Add allocations. Of what is held in part, the rest counts until the last of it
        was freed.

        :param rows: an array of :data:`pagedbg.schema.allocation.ALLOCATION`
        """
        state, pages = rows["state"], block_pages(rows)
        is_held = np.isin(state, (LIVE, MIGRATED, SPLIT_UP))
        held = np.where(is_held, rows["held"].astype(np.int64), 0)
        over = np.where(is_held | (state == FREED), pages - held, 0)
        begun = self._stretch(rows["ts_nsec"].astype(np.int64))
        freed_ns = rows["freed_ns"]
        known = freed_ns >= 0
        self._unknown += int(pages[~is_held & (state != FREED)].sum())
        self._unknown += int(over[~known].sum())
        handles = rows["handle"].astype(np.int64) << (2 * _BITS)
        keys = handles | begun << _BITS
        gone = known & (over > 0)
        self._put(keys[held > 0], held[held > 0])
        # None is 0: until is counted from 1.
        until = self._stretch(freed_ns[gone].astype(np.int64)) + 1
        self._put(keys[gone] | until, over[gone])

    def _stretch(self, times: NDArray[np.int64]) -> NDArray[np.int64]:
        """The stretch of each time; what is outside of all is in the nearest."""
        found: NDArray[np.int64] = np.clip(
            times // self._width - self._begin, 0, self._stretches - 1
        )
        return found

    def _put(self, keys: NDArray[np.int64], pages: NDArray[np.int64]) -> None:
        self._keys.append(keys)
        self._pages.append(pages)
        self._waiting += len(keys)
        if self._waiting > _JOIN_AT:
            self._join()

    def _join(self) -> None:
        keys, which = np.unique(np.concatenate(self._keys), return_inverse=True)
        sums = added(which.reshape(-1), np.concatenate(self._pages), len(keys))
        self._keys, self._pages, self._waiting = [keys], [sums], 0

    def made(
        self, stack: Callable[[int], Sequence[str]], notes: Sequence[str] = ()
    ) -> StacksOverTime:
        """
        All of it; of many stacks those with the most pages, and the others as one.

        :param stack: the frames of a handle, innermost first
        :param notes: what else is to be said
        """
        self._join()
        (keys,), (pages,) = self._keys, self._pages
        handles, which = np.unique(keys >> (2 * _BITS), return_inverse=True)
        which = which.reshape(-1)
        sums = added(which, pages, len(handles))
        kept = np.argsort(-sums, kind="stable")[:_MOST_STACKS]
        place = np.full(len(handles), len(kept))
        place[kept] = np.arange(len(kept))
        stacks = [stack(handle) for handle in handles[kept].tolist()]
        cells: list[dict[tuple[int, int], int]] = [{} for _ in range(len(kept) + 1)]
        for at, key, count in zip(
            place[which].tolist(), keys.tolist(), pages.tolist(), strict=True
        ):
            mask = (1 << _BITS) - 1
            when = (key >> _BITS & mask, (key & mask) - 1)
            cells[at][when] = cells[at].get(when, 0) + count
        said = []
        if self._unknown:
            said.append(
                f"{self._unknown:,} pages are left out: until when they were held is"
                " not known."
            )
        if len(handles) > len(kept):
            stacks.append([f"({len(handles) - len(kept)} other stacks)"])
        found: list[list[HeldCell]] = [
            [(begun, until, count) for (begun, until), count in sorted(each.items())]
            for each in cells[: len(stacks)]
        ]
        return StacksOverTime(
            self._begin * self._width,
            self._width,
            self._stretches,
            self._page_size,
            stacks,
            found,
            [*said, *notes],
        )

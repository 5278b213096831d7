# SPDX-License-Identifier: GPL-2.0-or-later
"""
Contiguous memory
-----------------

Helpers for ``mm/cma.h``: the areas that contiguous memory is kept in for devices.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from drgn import Object, Program
from drgn.helpers.common.prog import takes_program_or_default
from numpy.typing import NDArray

from pagedbg.mm.bulk_read import number, read_array

__all__ = ("CmaArea", "for_each_cma_area")

# MAX_CMA_AREAS is 2 to the power of 10 at most, and a bit stands for a pageblock's
# pages at most.
_MOST_AREAS, _MOST_ORDER = 1 << 10, 20


@dataclasses.dataclass(frozen=True)
class CmaArea:
    """An area of contiguous memory (``struct cma``)."""

    name: str
    order_per_bit: int
    ranges: tuple[tuple[int, int, NDArray[np.bool_]], ...]
    """Of each range its first page frame, how many pages it has, and its bitmap."""

    @property
    def pages(self) -> int:
        """How many pages it has."""
        return sum(count for _, count, _ in self.ranges)

    @property
    def used(self) -> int:
        """How many of them are allocated."""
        bits = sum(int(np.count_nonzero(used)) for _, _, used in self.ranges)
        return bits << self.order_per_bit

    def used_pfns(self) -> NDArray[np.int64]:
        """The page frames that are allocated."""
        unit = 1 << self.order_per_bit
        found = [np.zeros(0, np.int64)]
        for base, _, used in self.ranges:
            first = base + np.flatnonzero(used) * unit
            found.append((first[:, None] + np.arange(unit)).ravel())
        return np.concatenate(found)


@takes_program_or_default
def for_each_cma_area(prog: Program) -> Iterator[CmaArea]:
    """
    Iterate over the areas of a kernel; there are none where it has no CMA.

    :raises Damaged: if there are more than can be
    """
    try:
        count = number(prog, "cma_area_count", _MOST_AREAS)
    except LookupError:
        # CONFIG_CMA=n
        return
    for i in range(count):
        area = prog["cma_areas"][i]
        unit = min(area.order_per_bit.value_(), _MOST_ORDER)
        # Since Linux kernel commit c009da4258f9 ("mm, cma: support multiple contiguous
        # ranges, if requested") (in v6.15) an area may have several ranges.
        parts = (
            area.ranges[: area.nranges.value_()]
            if area.type_.has_member("ranges")
            else [area]
        )
        yield CmaArea(
            area.name.string_().decode("utf-8", "backslashreplace"),
            unit,
            tuple(
                (
                    part.base_pfn.value_(),
                    part.count.value_(),
                    _bits(part.bitmap, part.count.value_() >> unit),
                )
                for part in parts
            ),
        )


def _bits(bitmap: Object, count: int) -> NDArray[np.bool_]:
    """
    Which of the first bits are set.

    :param bitmap: ``unsigned long *``
    """
    if not bitmap:
        return np.zeros(0, np.bool_)
    words, _ = read_array(
        bitmap.prog_, bitmap.value_(), -(-count // 8), np.dtype(np.uint8)
    )
    return np.unpackbits(words, bitorder="little")[:count].astype(np.bool_)

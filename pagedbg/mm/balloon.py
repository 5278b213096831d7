# SPDX-License-Identifier: GPL-2.0-or-later
"""
Balloons
--------

Helpers for ``include/linux/balloon.h`` (``balloon_compaction.h`` before 7.x): pages
that a driver has given back to the hypervisor.
"""

from __future__ import annotations

import numpy as np
from drgn import Program
from numpy.typing import NDArray

from pagedbg.mm._page_members import page_members
from pagedbg.mm._page_words import MAPPING_FLAGS
from pagedbg.mm.bulk_read import number

__all__ = ("in_balloon",)


def in_balloon(prog: Program, pfns: NDArray[np.int64]) -> NDArray[np.bool_]:
    """
    Return which of some pages are in a balloon, as far as ``balloon_page_insert()`` has
    written it into them: it does where compaction can move what is in one.

    :param pfns: page frames that are offline and lie near each other, in order
    """
    found: NDArray[np.bool_]
    try:
        # Since v6.17. Nobody else marks a page that is offline with it.
        mark = np.uint64(1 << number(prog, "PG_movable_ops", 63))
    except LookupError:
        pass
    else:
        found = page_members(prog, "flags", pfns) & mark != 0
        return found
    try:
        ops = prog.symbol("balloon_mops").address
    except LookupError:
        # CONFIG_BALLOON_COMPACTION=n
        return np.zeros(len(pfns), np.bool_)
    mapping = page_members(prog, "mapping", pfns)
    found = mapping & ~np.uint64(MAPPING_FLAGS) == np.uint64(ops)
    return found

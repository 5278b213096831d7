# SPDX-License-Identifier: GPL-2.0-or-later
"""
The stacks that the kernel module keeps where page_owner is off: a table behind its
rings.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pagedbg.schema.event_record import RECORD

STACK_DEPTH = 31
"""``PAGEDBG_STACK_DEPTH``"""

STACK: np.dtype[Any] = np.dtype([("key", "<u8"), ("pc", "<u8", STACK_DEPTH)])
"""``struct pagedbg_stack``"""


def stacks_behind(header: np.void, page_size: int) -> tuple[int, int]:
    """
    How many stacks there are, and at which byte from the header they begin
    (``pagedbg_make_rings()`` of ``kmod/rings.c``).

    :param header: an element of :data:`~pagedbg.schema.event_record.HEADER`, of the
        module's rings
    :return: as :func:`numpy.frombuffer` takes them; of rings with page_owner 0 stacks
    """
    rings = int(header["cpus"]) * int(header["slots"]) * RECORD.itemsize
    end = -(-(int(header["slots_at"]) + rings) // page_size) * page_size
    return max(int(header["size"]) - end, 0) // STACK.itemsize, end


def addresses_of(stack: np.void) -> list[int]:
    """
    The return addresses of an element of :data:`STACK`, innermost first; empty if none
    was written, or not all of it (``PAGEDBG_STACK_KEY()``).
    """
    # The depth is the lowest byte, below 32 bits of a hash.
    key = int(stack["key"])
    depth = key & 0xFF
    if key >> 40 or depth > STACK_DEPTH:
        return []
    return stack["pc"][:depth].tolist()  # type: ignore[no-any-return]

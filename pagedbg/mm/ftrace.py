# SPDX-License-Identifier: GPL-2.0-or-later
"""
Function tracer
---------------

Helpers for ``include/linux/ftrace.h``: the list of all functions that can be traced.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from drgn import Object, Program
from drgn.helpers.linux.mm import in_direct_map, virt_to_pfn
from numpy.typing import NDArray

from pagedbg.mm._direct_map import pfns_of_block
from pagedbg.target.links import bounded

__all__ = ("ftrace_pages",)


def ftrace_pages(prog: Program) -> Iterator[NDArray[np.int64]]:
    """Iterate over the blocks of pages that the list of functions is kept in."""
    try:
        first = prog["ftrace_pages_start"].read_()
    except LookupError:
        # CONFIG_DYNAMIC_FTRACE=n
        return
    for part in bounded(_following(first)):
        records = part.records.value_()
        if in_direct_map(prog, records):
            first_pfn = virt_to_pfn(prog, records).value_()
            yield pfns_of_block(first_pfn, part.order.value_())


def _following(part: Object) -> Iterator[Object]:
    """A ``struct ftrace_page *`` and those behind it."""
    while part:
        yield part
        part = part.next.read_()

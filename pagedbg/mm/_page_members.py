# SPDX-License-Identifier: GPL-2.0-or-later
"""Words of ``struct page`` that few ask for."""

from __future__ import annotations

from typing import Any

import numpy as np
from drgn import Program
from numpy.typing import NDArray

from pagedbg.mm._page_layout import page_layout, read_pages
from pagedbg.mm.bulk_read import byte_order, offset_of, record_dtype

__all__ = ("page_members",)


def page_members(
    prog: Program, member: str, pfns: NDArray[np.int64]
) -> NDArray[np.uint64]:
    """
    Return a word of some pages, 0 where it cannot be read.

    :param pfns: page frames that lie near each other, in order
    :raises LookupError: if ``struct page`` has no member of this name
    """
    at = offset_of(prog.type("struct page"), member)
    dtype = record_dtype(
        {member: (f"{byte_order(prog)}u8", at)}, page_layout(prog).size
    )
    first, last = int(pfns[0]), int(pfns[-1])
    records, _ = read_pages(prog, first, last + 1 - first, dtype)
    words: NDArray[Any] = records[member][pfns - first].astype(np.uint64)
    return words

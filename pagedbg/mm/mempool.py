# SPDX-License-Identifier: GPL-2.0-or-later
"""
Memory pools
------------

Helpers for ``include/linux/mempool.h``: pages that are kept for when no memory can be
had. The kernel does not list its pools: these are those with pages in variables of its
own.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from drgn import Program, TypeKind
from numpy.typing import NDArray

from pagedbg.mm._direct_map import check_pages, pfns_of_block, together
from pagedbg.mm._page_layout import page_layout
from pagedbg.mm.bulk_read import byte_order, read_array

__all__ = ("for_each_page_mempool",)

_VARIABLES = (
    "integrity_buf_pool",
    "blk_crypto_bounce_page_pool",
    "fscrypt_bounce_page_pool",
)


def for_each_page_mempool(prog: Program) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """Iterate over memory pools of pages: the variable, and the pages that are left."""
    try:
        allocates = prog.symbol("mempool_alloc_pages").address
    except LookupError:
        return
    layout = page_layout(prog)
    for name in _VARIABLES:
        try:
            pool = prog[name]
        except LookupError:
            # CONFIG_BLK_DEV_INTEGRITY=n and the like, or a kernel before it.
            continue
        if pool.type_.kind == TypeKind.POINTER:
            if not pool:
                continue
            pool = pool[0]
        if pool.alloc.value_() != allocates:
            continue
        order, left = pool.pool_data.value_(), pool.curr_nr.value_()
        check_pages(prog, left, name)
        elements, known = read_array(
            prog, pool.elements.value_(), left, np.dtype(f"{byte_order(prog)}u8")
        )
        firsts = layout.pfns(elements[known].astype(np.uint64)).tolist()
        yield name, together([pfns_of_block(first, order) for first in firsts])

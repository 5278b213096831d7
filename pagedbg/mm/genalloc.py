# SPDX-License-Identifier: GPL-2.0-or-later
"""
Pools for devices
-----------------

Helpers for ``include/linux/genalloc.h``: memory that is set apart for DMA where nobody
can wait for it (``kernel/dma/pool.c``).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from drgn import Program, TypeKind
from drgn.helpers.linux.list import list_for_each_entry
from numpy.typing import NDArray

from pagedbg.mm._direct_map import check_pages, together
from pagedbg.mm.bulk_read import number
from pagedbg.target.links import bounded

__all__ = ("for_each_dma_pool",)

_VARIABLES = ("atomic_pool_dma", "atomic_pool_dma32", "atomic_pool_kernel")


def for_each_dma_pool(prog: Program) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """Iterate over the pools for DMA: the variable of each, and its pages."""
    shift = number(prog, "PAGE_SHIFT", 18, 12)
    for name in _VARIABLES:
        try:
            pool = prog[name]
        except LookupError:
            # CONFIG_DMA_COHERENT_POOL=n
            continue
        pool = (pool.pool if pool.type_.kind == TypeKind.STRUCT else pool).read_()
        if not pool:
            continue
        parts = []
        for chunk in bounded(
            list_for_each_entry(
                "struct gen_pool_chunk", pool.chunks.address_of_(), "next_chunk"
            )
        ):
            first = chunk.phys_addr.value_() >> shift
            size = chunk.end_addr.value_() - chunk.start_addr.value_() + 1
            check_pages(prog, size >> shift, name)
            parts.append(np.arange(first, first + (size >> shift), dtype=np.int64))
        yield name, together(parts)

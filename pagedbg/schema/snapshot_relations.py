# SPDX-License-Identifier: GPL-2.0-or-later
"""Which relations a snapshot may have, and the columns of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pagedbg.schema.block_columns import KEPT_BLOCKS, STACKS
from pagedbg.schema.columns import MIGRATETYPE, SchemaColumn
from pagedbg.schema.explanation_columns import FAILURES
from pagedbg.schema.kernel_columns import KERNEL
from pagedbg.schema.memory_columns import (
    HEALTH,
    LARGEST,
    MEMORY,
    POOLS,
    SLAB_SUMS,
    UNACCOUNTED,
)
from pagedbg.schema.page_columns import PAGE_RUNS
from pagedbg.schema.pageblock_columns import PAGEBLOCKS
from pagedbg.schema.snapshot_columns import OWNER_SUMS, STACK_NAMES
from pagedbg.schema.zone_columns import FREE_AREAS, ZONES

SNAPSHOT_RELATIONS: Mapping[str, Sequence[SchemaColumn]] = {
    "owners": OWNER_SUMS,
    "stacks": STACK_NAMES,
    "kernel": KERNEL,
    "memory": MEMORY,
    "unaccounted": UNACCOUNTED,
    "slab_sums": SLAB_SUMS,
    "pools": POOLS,
    "largest": LARGEST,
    "health": HEALTH,
    "zones": ZONES,
    "free": [column for column in FREE_AREAS if column is not MIGRATETYPE],
    "free_areas": FREE_AREAS,
    "pageblocks": PAGEBLOCKS,
    "failures": FAILURES,
    "blocks": KEPT_BLOCKS,
    "pages": PAGE_RUNS,
    "handles": STACKS,
}
"""By the names of their files."""

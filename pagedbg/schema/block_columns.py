# SPDX-License-Identifier: GPL-2.0-or-later
"""The columns of blocks on record, of their sums and of their stacks."""

from __future__ import annotations

from pagedbg.schema import columns, memory_columns, sum_columns
from pagedbg.schema.columns import SchemaColumn

AGE = SchemaColumn(
    name="age",
    rank=1,
    meaning="How long ago the pages were allocated, as a range of times.",
)

TAG_CALLS = SchemaColumn(
    name="tag_calls",
    rank=4,
    kind="int",
    unit="allocations",
    meaning=(
        "How many allocations of the line of the source last, slab objects among them,"
        " by the kernel's own counter (/proc/allocinfo)."
    ),
)
TAG_BYTES = SchemaColumn(
    name="tag_bytes",
    rank=4,
    kind="bytes",
    unit="bytes",
    meaning=(
        "The size of these allocations by that counter; of slab objects and what is"
        " made of other pages, too."
    ),
)

# ---- the relations of these columns ----

BLOCKS = (
    columns.PFN,
    columns.ORDER,
    columns.PAGES,
    columns.GFP_MASK,
    columns.GFP,
    columns.MIGRATETYPE,
    columns.ZONE,
    columns.NODE,
    columns.PID,
    columns.TGID,
    columns.COMM,
    columns.TS_NS,
    columns.HANDLE,
    columns.STACK,
    columns.STATE,
    columns.SITE,
)
"""A row a block on record: ``owners``."""

KEPT_BLOCKS = tuple(column for column in BLOCKS if column is not columns.STACK)
"""The same as a snapshot has it: ``handle`` says which stack it is."""

BLOCK_KEYS = (
    columns.ORDER,
    columns.COMM,
    columns.PID,
    columns.STACK,
    columns.STACK_ID,
    columns.STACK_SHAPE,
    columns.MODULE,
    columns.FUNCTION,
    columns.SITE.ranked(1),
    columns.VMALLOC.ranked(1),
    columns.HOLDER.ranked(1),
    columns.WITNESS.ranked(1),
    columns.GFP,
    columns.GFP_MASK,
    columns.MIGRATETYPE,
    columns.ZONE,
    columns.NODE,
    AGE,
    columns.KIND,
    columns.DETAIL,
    memory_columns.FILE,
    memory_columns.CACHE,
    columns.MEMCG,
    memory_columns.PAGEBLOCK,
    columns.PAGEBLOCK_MIGRATETYPE,
)
"""
What ``owners --by`` and ``memory --by`` may sum up by; these columns come first.
"""

BLOCK_SUMS = (
    sum_columns.BLOCKS,
    columns.PAGES,
    sum_columns.BYTES,
    sum_columns.SHARE,
    memory_columns.RAM_SHARE,
)
"""What ``owners --by`` says of each value of its keys."""

SITE_SUMS = (
    *BLOCK_SUMS,
    TAG_CALLS,
    TAG_BYTES,
)
"""What ``owners --by site`` says of each line of the source."""

STACKS = (
    columns.HANDLE,
    columns.STACK_ID,
    columns.STACK_SHAPE,
    columns.MODULE,
    columns.FUNCTION,
    columns.STACK,
)
"""A row a stack: ``stacks``."""

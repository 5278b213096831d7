# SPDX-License-Identifier: GPL-2.0-or-later
"""
The relations that commands give: which columns, in which order. What is written for
scripts stands in contrib/schema.md, and changes with SCHEMA_VERSION.
"""

from __future__ import annotations

from pagedbg.schema import columns, kernel_columns, sum_columns, zone_columns
from pagedbg.schema.columns import SchemaColumn

SCHEMA_VERSION = 1
"""To be raised when a column is renamed, removed, or means something else."""

PAGES = (
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
    columns.FREE_TS_NS,
    columns.HANDLE,
    columns.STACK,
    columns.STATE,
    columns.HEAD,
    columns.KIND,
    columns.DETAIL,
    columns.PHYS,
    columns.PAGE,
    columns.FLAGS,
    columns.REFCOUNT,
    columns.MAPCOUNT,
    columns.PAGEBLOCK_MIGRATETYPE,
    columns.MEMCG,
    columns.FREE_HANDLE,
    columns.FREE_STACK,
    columns.FREE_PID,
    columns.FREE_TGID,
    columns.MIGRATE_REASON,
    columns.AGE_NS,
)
"""A row a page: ``inspect``."""

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
)
"""A row a block on record: ``owners``."""

BLOCK_KEYS = (
    columns.ORDER,
    columns.COMM,
    columns.PID,
    columns.STACK,
    columns.STACK_ID,
    columns.STACK_SHAPE,
    columns.MODULE,
    columns.FUNCTION,
    columns.GFP,
    columns.MIGRATETYPE,
    columns.ZONE,
    columns.NODE,
    columns.AGE,
)
"""What ``owners --by`` may sum up by; these columns come first."""

BLOCK_SUMS = (
    sum_columns.BLOCKS,
    columns.PAGES,
    sum_columns.BYTES,
    sum_columns.SHARE,
)
"""What ``owners --by`` says of each value of its keys."""

STACKS = (
    columns.HANDLE,
    columns.STACK_ID,
    columns.STACK_SHAPE,
    columns.MODULE,
    columns.FUNCTION,
    columns.STACK,
)
"""A row a stack: ``stacks``."""

ZONES = (
    columns.NODE,
    columns.ZONE,
    zone_columns.START_PFN,
    zone_columns.SPANNED,
    zone_columns.PRESENT,
    zone_columns.MANAGED,
    zone_columns.FREE,
    zone_columns.PCP,
    zone_columns.WMARK_MIN,
    zone_columns.WMARK_LOW,
    zone_columns.WMARK_HIGH,
    zone_columns.BOOST,
    zone_columns.LOWMEM_RESERVE,
)
"""A row a zone: ``zones``."""

FREE_AREAS = (
    columns.NODE,
    columns.ZONE,
    columns.MIGRATETYPE,
    columns.ORDER,
    sum_columns.BLOCKS,
    columns.PAGES,
    sum_columns.BYTES,
)
"""A row the free blocks of one order: ``free``."""

PAGEBLOCKS = (
    zone_columns.START_PFN,
    columns.NODE,
    columns.ZONE,
    columns.PAGEBLOCK_MIGRATETYPE,
    columns.PAGES,
    zone_columns.FREE,
)
"""A row a pageblock: ``pageblocks``."""

EVENTS = (
    columns.TIME_NS,
    columns.EVENT,
    columns.PFN,
    columns.ORDER,
    columns.PID,
    columns.COMM,
    columns.OWNER_PID,
    columns.OWNER_COMM,
    columns.GFP,
    columns.MIGRATETYPE,
    columns.TS_NS,
    columns.OTHER_PFN,
    columns.NEW_ORDER,
    columns.REASON,
    columns.HANDLE,
    columns.TGID,
    columns.NESTED,
    columns.CPU,
    columns.SEQ,
    columns.STACK,
)
"""A row an event: ``trace show`` and ``trace follow``."""

ALLOCATIONS = (
    columns.PFN,
    columns.ORDER,
    columns.PAGES,
    columns.GFP,
    columns.MIGRATETYPE,
    columns.PID,
    columns.TGID,
    columns.COMM,
    columns.TS_NS,
    columns.HANDLE,
    columns.STACK,
    columns.STATE,
    columns.HELD,
    columns.FREED_NS,
    columns.LIFETIME_NS,
    columns.FREE_PID,
    columns.FREE_COMM,
    columns.NOW_PFN,
    columns.REUSED_PID,
    columns.REUSED_COMM,
    columns.CONTRADICTION,
)
"""A row an allocation that was captured: ``correlate``."""

ALLOCATION_KEYS = (
    columns.STACK,
    columns.MODULE,
    columns.FUNCTION,
    columns.COMM,
    columns.PID,
    columns.ORDER,
    columns.GFP,
    columns.MIGRATETYPE,
    columns.STATE,
)
"""What ``correlate --by`` may sum up by; these columns come first."""

ALLOCATION_SUMS = (
    sum_columns.BLOCKS,
    columns.PAGES,
    sum_columns.BYTES,
    sum_columns.SHARE,
    sum_columns.OLDEST,
    sum_columns.YOUNGEST,
)
"""What ``correlate --by`` and ``--leaked`` say of each value of their keys."""

LIFETIMES = (
    sum_columns.COUNT,
    sum_columns.MIN,
    sum_columns.MEDIAN,
    sum_columns.P90,
    sum_columns.P99,
    sum_columns.MAX,
)
"""What ``correlate --lifetimes`` says of each value of its keys."""

ORDERS = (
    columns.ORDER,
    kernel_columns.SEEN,
    kernel_columns.RECORDED,
    sum_columns.SHARE,
)
"""A row an order of which something was seen: ``trace status``."""

RECORDERS = (
    kernel_columns.NUMBER,
    kernel_columns.BACKEND,
    kernel_columns.ATTACH,
    kernel_columns.FILTER,
    kernel_columns.CPUS,
    kernel_columns.SLOTS,
    kernel_columns.RECORDED,
)
"""A row a recorder in a dump: ``trace recover``."""

KERNEL = (
    kernel_columns.RELEASE,
    kernel_columns.BUILD_ID,
    kernel_columns.BOOT_ID,
    kernel_columns.MACHINE,
    kernel_columns.CPUS,
    kernel_columns.BOOTED_S,
    kernel_columns.UP_NS,
    kernel_columns.LIVE,
    kernel_columns.PATH,
    kernel_columns.FORMAT,
    kernel_columns.LEVEL,
    kernel_columns.TYPES,
    kernel_columns.PANIC,
    kernel_columns.PANIC_NS,
    columns.PAGES,
    kernel_columns.PAGE_SIZE,
    kernel_columns.NODES,
    kernel_columns.ZONES,
    kernel_columns.PAGE_OWNER,
    kernel_columns.RECORDING,
    kernel_columns.RECORDED,
    kernel_columns.MISSING,
)
"""One row: ``status``."""

CAPABILITIES = (
    kernel_columns.CAPABILITY,
    columns.STATE,
    columns.DETAIL,
    kernel_columns.COST,
    kernel_columns.REMEDY,
)
"""A row a capability: ``doctor``."""

MESSAGES = (
    columns.TIME_NS,
    kernel_columns.LEVEL,
    kernel_columns.MESSAGE,
)
"""A row a message of the kernel: ``log``."""

RELATIONS: dict[str, tuple[SchemaColumn, ...]] = {
    "pages": PAGES,
    "blocks": BLOCKS,
    "block_keys": BLOCK_KEYS,
    "block_sums": BLOCK_SUMS,
    "stacks": STACKS,
    "zones": ZONES,
    "free_areas": FREE_AREAS,
    "pageblocks": PAGEBLOCKS,
    "events": EVENTS,
    "allocations": ALLOCATIONS,
    "allocation_keys": ALLOCATION_KEYS,
    "allocation_sums": ALLOCATION_SUMS,
    "lifetimes": LIFETIMES,
    "orders": ORDERS,
    "recorders": RECORDERS,
    "kernel": KERNEL,
    "capabilities": CAPABILITIES,
    "messages": MESSAGES,
}
"""All of them, by the names that contrib/schema.md has for them."""

# SPDX-License-Identifier: GPL-2.0-or-later
"""
The relations that commands give: which columns, in which order. What is written for
scripts stands in contrib/schema.md, and changes with SCHEMA_VERSION.
"""

from __future__ import annotations

from pagedbg.schema import columns
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
    columns.BLOCKS,
    columns.PAGES,
    columns.BYTES,
    columns.SHARE,
)
"""What ``owners --by`` says of each value of its keys."""

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
    columns.BLOCKS,
    columns.PAGES,
    columns.BYTES,
    columns.SHARE,
    columns.OLDEST,
    columns.YOUNGEST,
)
"""What ``correlate --by`` and ``--leaked`` say of each value of their keys."""

LIFETIMES = (
    columns.COUNT,
    columns.MIN,
    columns.MEDIAN,
    columns.P90,
    columns.P99,
    columns.MAX,
)
"""What ``correlate --lifetimes`` says of each value of its keys."""

ORDERS = (
    columns.ORDER,
    columns.SEEN,
    columns.RECORDED,
    columns.SHARE,
)
"""A row an order of which something was seen: ``trace status``."""

RECORDERS = (
    columns.NUMBER,
    columns.BACKEND,
    columns.ATTACH,
    columns.FILTER,
    columns.CPUS,
    columns.SLOTS,
    columns.RECORDED,
)
"""A row a recorder in a dump: ``trace recover``."""

KERNEL = (
    columns.RELEASE,
    columns.BUILD_ID,
    columns.BOOT_ID,
    columns.MACHINE,
    columns.CPUS,
    columns.BOOTED_S,
    columns.UP_NS,
    columns.LIVE,
    columns.PATH,
    columns.FORMAT,
    columns.LEVEL,
    columns.TYPES,
    columns.PANIC,
    columns.PANIC_NS,
    columns.PAGES,
    columns.PAGE_SIZE,
    columns.NODES,
    columns.ZONES,
    columns.PAGE_OWNER,
    columns.RECORDING,
    columns.RECORDED,
    columns.MISSING,
)
"""One row: ``status``."""

CAPABILITIES = (
    columns.CAPABILITY,
    columns.STATE,
    columns.DETAIL,
    columns.COST,
    columns.REMEDY,
)
"""A row a capability: ``doctor``."""

MESSAGES = (
    columns.TIME_NS,
    columns.LEVEL,
    columns.MESSAGE,
)
"""A row a message of the kernel: ``log``."""

RELATIONS: dict[str, tuple[SchemaColumn, ...]] = {
    "pages": PAGES,
    "blocks": BLOCKS,
    "block_keys": BLOCK_KEYS,
    "block_sums": BLOCK_SUMS,
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

# SPDX-License-Identifier: GPL-2.0-or-later
"""
Every column that a command gives, each defined once: what it is called, what it holds,
and what it means. contrib/schema.md says the same to people who write scripts.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from pagedbg.schema.event_record import EVENT_NAMES
from pagedbg.schema.table import Column

*_EVENTS, _LAST_EVENT = EVENT_NAMES.values()

Unit = Literal[
    "",
    "%",
    "CPUs",
    "allocations",
    "blocks",
    "bytes",
    "events",
    "nodes",
    "ns",
    "pages",
    "records",
    "s",
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SchemaColumn(Column):
    """
    A column of a relation. ``meaning`` is one sentence, and true of every relation that
    has the column.
    """

    unit: Unit = ""
    meaning: str


# ---- a page, a block, an allocation ----

PFN = SchemaColumn(
    name="pfn",
    rank=1,
    kind="hex",
    meaning="The page frame number of the page, or of the first page of the block.",
)
ORDER = SchemaColumn(
    name="order",
    rank=1,
    kind="int",
    meaning="The order of the block, which is 2 to the power of it pages long.",
)
PAGES = SchemaColumn(
    name="pages",
    rank=1,
    kind="int",
    unit="pages",
    meaning=(
        "How many pages there are; of a block on record only those that are still in"
        " its state."
    ),
)
GFP_MASK = SchemaColumn(
    name="gfp_mask",
    rank=7,
    kind="hex",
    meaning="The GFP flags of the allocation as a number.",
)
GFP = SchemaColumn(
    name="gfp",
    rank=4,
    meaning="The GFP flags of the allocation by name.",
)
MIGRATETYPE = SchemaColumn(
    name="migratetype",
    rank=3,
    meaning=(
        "The migratetype that the allocation asked for, or that free blocks are listed"
        " under."
    ),
)
ZONE = SchemaColumn(
    name="zone",
    rank=5,
    meaning="The zone, or the one that the page is in.",
)
NODE = SchemaColumn(
    name="node",
    rank=6,
    kind="int",
    meaning="The NUMA node, or the one that the page is on.",
)
PID = SchemaColumn(
    name="pid",
    rank=2,
    kind="int",
    meaning=(
        "The process id of the task that allocated the page, or that did what the"
        " event says."
    ),
)
TGID = SchemaColumn(
    name="tgid",
    rank=7,
    kind="int",
    meaning="The thread group id of the task that pid names.",
)
COMM = SchemaColumn(
    name="comm",
    rank=1,
    meaning="The name of the task that pid names, as it was then.",
)
TS_NS = SchemaColumn(
    name="ts_ns",
    rank=3,
    kind="ns",
    unit="ns",
    meaning="When the page was allocated, by the kernel's local_clock().",
)
FREE_TS_NS = SchemaColumn(
    name="free_ts_ns",
    kind="ns",
    unit="ns",
    meaning="When the page was last freed, by the kernel's local_clock().",
)
HANDLE = SchemaColumn(
    name="handle",
    rank=7,
    kind="hex",
    meaning="The number of the allocation's stack in the kernel's stack depot.",
)
STACK = SchemaColumn(
    name="stack",
    kind="stack",
    meaning="The call path of the allocation, innermost frame first.",
)
STATE = SchemaColumn(
    name="state",
    rank=2,
    meaning=(
        "How things stand: of pages and blocks allocated, freed or never, of"
        " captured allocations live, freed, reused, migrated, split or unknown, of"
        " capabilities yes or no."
    ),
)
HEAD = SchemaColumn(
    name="head",
    kind="hex",
    meaning=(
        "The page frame number of the first page of the block that the page belongs to."
    ),
)
KIND = SchemaColumn(
    name="kind",
    rank=1,
    meaning="What the page is used for.",
)
DETAIL = SchemaColumn(
    name="detail",
    meaning="More about what the row says, in words.",
)
PHYS = SchemaColumn(
    name="phys",
    kind="hex",
    meaning="The physical address of the page.",
)
PAGE = SchemaColumn(
    name="page",
    kind="hex",
    meaning="The address of the page's struct page.",
)
FLAGS = SchemaColumn(
    name="flags",
    meaning="The flags of the page by name.",
)
REFCOUNT = SchemaColumn(
    name="refcount",
    kind="int",
    meaning="How many references the page has.",
)
MAPCOUNT = SchemaColumn(
    name="mapcount",
    kind="int",
    meaning="How often the page is mapped by page tables.",
)
PAGEBLOCK_MIGRATETYPE = SchemaColumn(
    name="pageblock_migratetype",
    meaning="The migratetype of the pageblock, or of the one that the page is in.",
)
MEMCG = SchemaColumn(
    name="memcg",
    meaning="The memory cgroup that the page is charged to.",
)
FREE_HANDLE = SchemaColumn(
    name="free_handle",
    kind="hex",
    meaning=(
        "The number of the stack that last freed the page in the kernel's stack depot."
    ),
)
FREE_STACK = SchemaColumn(
    name="free_stack",
    kind="stack",
    meaning="The call path that last freed the page, innermost frame first.",
)
FREE_PID = SchemaColumn(
    name="free_pid",
    kind="int",
    meaning="The process id of the task that freed the page.",
)
FREE_TGID = SchemaColumn(
    name="free_tgid",
    kind="int",
    meaning="The thread group id of the task that freed the page.",
)
MIGRATE_REASON = SchemaColumn(
    name="migrate_reason",
    meaning="Why the page was last migrated.",
)
AGE_NS = SchemaColumn(
    name="age_ns",
    kind="ns",
    unit="ns",
    meaning="How long ago the page was allocated.",
)
HELD = SchemaColumn(
    name="held",
    kind="int",
    unit="pages",
    meaning="How many pages of the allocation are still held.",
)
FREED_NS = SchemaColumn(
    name="freed_ns",
    rank=3,
    kind="ns",
    unit="ns",
    meaning="When the allocation was freed, by the clock of ts_ns.",
)
LIFETIME_NS = SchemaColumn(
    name="lifetime_ns",
    kind="ns",
    unit="ns",
    meaning="How long the allocation lasted, from ts_ns to freed_ns.",
)
FREE_COMM = SchemaColumn(
    name="free_comm",
    meaning="The name of the task that freed the allocation.",
)
NOW_PFN = SchemaColumn(
    name="now_pfn",
    kind="hex",
    meaning="The page frame number where the allocation is now, if it was migrated.",
)
REUSED_PID = SchemaColumn(
    name="reused_pid",
    kind="int",
    meaning="The process id of the task that has allocated the page since.",
)
REUSED_COMM = SchemaColumn(
    name="reused_comm",
    meaning="The name of the task that has allocated the page since.",
)
CONTRADICTION = SchemaColumn(
    name="contradiction",
    meaning="How the kernel's records contradict the capture, in a sentence.",
)

# ---- an event ----

TIME_NS = SchemaColumn(
    name="time_ns",
    rank=1,
    kind="ns",
    unit="ns",
    meaning="When it happened or was logged, by the kernel's local_clock().",
)
EVENT = SchemaColumn(
    name="event",
    rank=1,
    meaning=f"What happened: {', '.join(_EVENTS)} or {_LAST_EVENT}.",
)
OWNER_PID = SchemaColumn(
    name="owner_pid",
    rank=6,
    kind="int",
    meaning="The process id of the task that had allocated the page.",
)
OWNER_COMM = SchemaColumn(
    name="owner_comm",
    rank=3,
    meaning="The name of the task that had allocated the page.",
)
OTHER_PFN = SchemaColumn(
    name="other_pfn",
    kind="hex",
    meaning="The page frame number that a moved page comes from.",
)
NEW_ORDER = SchemaColumn(
    name="new_order",
    kind="int",
    meaning="The order of the pieces that a block was split into.",
)
REASON = SchemaColumn(
    name="reason",
    meaning="Why the page was migrated.",
)
NESTED = SchemaColumn(
    name="nested",
    kind="int",
    meaning=(
        "1 if page_owner allocated the page for itself inside of another"
        " allocation, otherwise 0."
    ),
)
CPU = SchemaColumn(
    name="cpu",
    rank=6,
    kind="int",
    meaning="The CPU on which it happened.",
)
SEQ = SchemaColumn(
    name="seq",
    rank=7,
    kind="int",
    meaning="The number of the event in the ring of its CPU, counted from 1.",
)

# ---- its stack, and its age ----

MODULE = SchemaColumn(
    name="module",
    rank=1,
    meaning="The module of the innermost frame of the stack that belongs to one.",
)
FUNCTION = SchemaColumn(
    name="function",
    rank=1,
    meaning="The innermost function of the stack that is not the allocator's own.",
)
STACK_ID = SchemaColumn(
    name="stack_id",
    rank=1,
    meaning="A hash of the stack, the same in every boot of the same build.",
)
STACK_SHAPE = SchemaColumn(
    name="stack_shape",
    rank=1,
    meaning="A hash of the stack's functions, the same in builds with that call path.",
)
AGE = SchemaColumn(
    name="age",
    rank=1,
    meaning="How long ago the pages were allocated, as a range of times.",
)

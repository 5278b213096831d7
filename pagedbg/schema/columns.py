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
    "hosts",
    "nodes",
    "ns",
    "objects",
    "pages",
    "records",
    "s",
    "snapshots",
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SchemaColumn(Column):
    """
    A column of a relation. ``meaning`` is one sentence, and true of every relation that
    has the column.
    """

    unit: Unit = ""
    meaning: str

    def holding(self, fields: tuple[SchemaColumn, ...]) -> SchemaColumn:
        """The same, with rows of a relation in its cells."""
        return dataclasses.replace(self, fields=fields)

    def meaning_here(self, meaning: str) -> SchemaColumn:
        """The same, of a relation in which it has values of its own."""
        return dataclasses.replace(self, meaning=meaning)

    def ranked(self, rank: int) -> SchemaColumn:
        """The same, of another rank where it is not what a relation is about."""
        return dataclasses.replace(self, rank=rank)


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
        "The process id of the task that allocated the page, or that maps it, or that"
        " did what the event says."
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
        "What page_owner has on record: allocated, freed, or never where the page was"
        " not allocated since it was started."
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
    meaning="The flags of the page by name; one that means something else on a page of"
    " its kind has the name that it has there.",
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

# ---- an event ----

TIME_NS = SchemaColumn(
    name="time_ns",
    rank=1,
    kind="ns",
    unit="ns",
    meaning="When it happened or was logged, by the kernel's local_clock().",
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
SITE = SchemaColumn(
    name="site",
    rank=6,
    meaning=(
        "The line of the source and the function that allocated the page, as the"
        " kernel's allocation tags name it."
    ),
)
VMALLOC = SchemaColumn(
    name="vmalloc",
    rank=6,
    meaning=(
        "Where in the kernel vmalloc() was called for the page, as its area has it"
        " (/proc/vmallocinfo)."
    ),
)
HOLDER = SchemaColumn(
    name="holder",
    rank=6,
    meaning=(
        "Whom the kernel's own structures name: the task of a stack, the process of a"
        " page table, the device of a page pool, the pool of compressed memory, the"
        " DMA buffer, the balloon, the CMA area, the virtio device of a ring, a hash"
        " table, a buffer of the tracer and the like."
    ),
)
WITNESS = SchemaColumn(
    name="witness",
    rank=6,
    meaning=(
        "What says whose the page is, the best of what does: page_owner, tag for an"
        " allocation tag, or a structure of the kernel by its type; hash table for one"
        " that a variable points to."
    ),
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

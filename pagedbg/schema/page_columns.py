# SPDX-License-Identifier: GPL-2.0-or-later
"""The columns of one page: where it is, and what is found by looking around it."""

from __future__ import annotations

from pagedbg.schema import columns, event_columns, memory_columns, zone_columns
from pagedbg.schema.block_columns import BLOCKS
from pagedbg.schema.columns import SchemaColumn

# ---- of every page ----

VIRT = SchemaColumn(
    name="virt",
    kind="hex",
    meaning="The address of the page in the kernel's map of all memory.",
)
FLAGS_MASK = SchemaColumn(
    name="flags_mask",
    kind="hex",
    meaning="The word of the page's flags as a number, with its node and its zone.",
)
COMPOUND_HEAD = SchemaColumn(
    name="compound_head",
    kind="hex",
    meaning=(
        "The page frame number of the first page of the compound page or free block"
        " that the page is in, itself if in none."
    ),
)
COMPOUND_ORDER = SchemaColumn(
    name="compound_order",
    kind="int",
    meaning="The order of that compound page or free block.",
)
PGOFF = SchemaColumn(
    name="pgoff",
    kind="int",
    unit="pages",
    meaning="How far the page is into its file or its anonymous mapping, in pages.",
)
FILE_OFFSET = SchemaColumn(
    name="file_offset",
    kind="hex",
    unit="bytes",
    meaning="How far the page is into its file, in bytes.",
)
PAGEBLOCK_PFN = SchemaColumn(
    name="pageblock_pfn",
    kind="hex",
    meaning="The page frame number of the first page of the pageblock.",
)
PAGEBLOCK_ORDER = SchemaColumn(
    name="pageblock_order",
    kind="int",
    meaning="The order of pageblocks, which are 2 to the power of it pages long.",
)
RECORD = SchemaColumn(
    name="record",
    meaning=(
        "Whether page_owner's record of the page was read, is unreadable, is missing,"
        " or pages are untracked."
    ),
)
HANDLE_KIND = SchemaColumn(
    name="handle_kind",
    meaning=(
        "What page_owner filed in place of the allocation's stack: dummy for its own"
        " allocations, failure where the depot was full, early before it was ready."
    ),
)
FREE_HANDLE_KIND = SchemaColumn(
    name="free_handle_kind",
    meaning="What page_owner filed in place of the stack that last freed the page.",
)
FREE_AGE_NS = SchemaColumn(
    name="free_age_ns",
    kind="ns",
    unit="ns",
    meaning="How long ago the page was last freed.",
)

# ---- of one that somebody asks for ----

ADDRESS = SchemaColumn(
    name="address",
    kind="hex",
    meaning="The virtual address.",
)
OFFSET = SchemaColumn(
    name="offset",
    kind="hex",
    unit="bytes",
    meaning="How far the address that was asked for is into the page or the object.",
)
HEAD_REFCOUNT = SchemaColumn(
    name="head_refcount",
    kind="int",
    meaning="How many references the first page of the compound page has.",
)
OBJECT = SchemaColumn(
    name="object",
    kind="row",
    meaning="The slab object at the virtual address that was asked for.",
)
ALLOCATED = SchemaColumn(
    name="allocated",
    kind="bool",
    meaning="Whether the slab object is allocated.",
)
WHY_UNKNOWN = SchemaColumn(
    name="why_unknown",
    meaning="Why nothing is known of the object, in words.",
)
MAPPINGS = SchemaColumn(
    name="mappings",
    kind="rows",
    meaning="Where processes map the page.",
)
MM = SchemaColumn(
    name="mm",
    kind="hex",
    meaning="The address of the process's struct mm_struct.",
)
MAPPINGS_COMPLETE = SchemaColumn(
    name="mappings_complete",
    kind="bool",
    meaning="Whether these are all places that map the page.",
)
PARTS = SchemaColumn(
    name="parts",
    kind="rows",
    meaning="What has become of the pages of the block that was allocated.",
)
PART = SchemaColumn(
    name="part",
    meaning=(
        "What the pages are now: held, freed, reused for another allocation since, or"
        " unknown."
    ),
)
CAPTURED = SchemaColumn(
    name="captured",
    kind="int",
    unit="events",
    meaning="How many events of the page the capture has.",
)
EVENTS = SchemaColumn(
    name="events",
    kind="rows",
    meaning="The last of these events.",
)
DOUBTS = SchemaColumn(
    name="doubts",
    kind="list",
    meaning=(
        "What is to be said against who has allocated the page: that its contents were"
        " moved here or read back from swap, or that page_owner and the allocation tag"
        " do not name the same."
    ),
)
LOSSES = SchemaColumn(
    name="losses",
    kind="rows",
    meaning="What the capture has lost.",
)

# ---- the relations of these columns ----

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
    VIRT,
    FLAGS_MASK,
    COMPOUND_HEAD,
    COMPOUND_ORDER,
    PGOFF,
    FILE_OFFSET,
    PAGEBLOCK_PFN,
    PAGEBLOCK_ORDER,
    RECORD,
    HANDLE_KIND,
    FREE_HANDLE_KIND,
    FREE_AGE_NS,
    columns.MODULE,
    columns.FUNCTION,
    columns.SITE,
    columns.VMALLOC,
    columns.HOLDER,
    columns.WITNESS,
    DOUBTS,
)
"""A row a page: ``inspect``."""

PAGE_RUNS = (
    columns.PFN.meaning_here("The page frame number of the first of the pages."),
    columns.PAGES.meaning_here("How many pages follow each other that are the same."),
    columns.ORDER,
    columns.ZONE,
    columns.NODE,
    columns.STATE.meaning_here(
        "allocated where page_owner has the pages on record: their block is the one of"
        " this order that they lie in."
    ),
    columns.KIND,
    columns.DETAIL,
    columns.MEMCG,
    memory_columns.CACHE,
    memory_columns.FILE,
    columns.PAGEBLOCK_MIGRATETYPE,
)
"""A row neighbouring pages that are the same: what a full snapshot has of pages."""

KEPT_PAGES = (
    *BLOCKS,
    columns.KIND,
    columns.DETAIL,
    columns.PAGEBLOCK_MIGRATETYPE,
    columns.MEMCG,
    memory_columns.CACHE,
    memory_columns.FILE,
    columns.MODULE,
    columns.FUNCTION,
)
"""A row a page: ``inspect pfn`` of a snapshot."""

SLAB_OBJECTS = (
    ADDRESS,
    OFFSET,
    ALLOCATED,
    WHY_UNKNOWN,
    columns.PID,
    columns.STACK,
)
"""One row: ``inspect``, in ``object``."""

PAGE_MAPPINGS = (
    columns.PID,
    columns.COMM,
    MM,
    ADDRESS,
)
"""A row a place that maps a page: ``inspect``, in ``mappings``."""

BLOCK_PARTS = (
    zone_columns.START_PFN,
    columns.PAGES,
    PART,
)
"""A row pages that follow each other: ``inspect``, in ``parts``."""

PAGE_FACTS = (
    OFFSET,
    ADDRESS,
    HEAD_REFCOUNT,
    OBJECT.holding(SLAB_OBJECTS),
    MAPPINGS.holding(PAGE_MAPPINGS),
    MAPPINGS_COMPLETE,
    PARTS.holding(BLOCK_PARTS),
    CAPTURED,
    EVENTS.holding(event_columns.EVENTS),
    LOSSES.holding(event_columns.LOSSES),
)
"""What ``inspect`` says beside PAGES of one page; these columns come behind those."""

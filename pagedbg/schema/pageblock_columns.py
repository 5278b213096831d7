# SPDX-License-Identifier: GPL-2.0-or-later
"""The columns of pageblocks: what is in them, and who holds them."""

from __future__ import annotations

from pagedbg.schema import columns, sum_columns, zone_columns
from pagedbg.schema.columns import SchemaColumn

MOVABLE = SchemaColumn(
    name="movable",
    rank=3,
    kind="int",
    unit="pages",
    meaning="How many pages of processes and files there are that compaction can move.",
)
PINNED = SchemaColumn(
    name="pinned",
    rank=4,
    kind="int",
    unit="pages",
    meaning=(
        "How many more pages there are that could be moved, but for references beyond"
        " their mappings."
    ),
)
RECLAIMABLE = SchemaColumn(
    name="reclaimable",
    rank=4,
    kind="int",
    unit="pages",
    meaning="How many pages of slab caches there are that can be reclaimed.",
)
UNMOVABLE = SchemaColumn(
    name="unmovable",
    rank=3,
    kind="int",
    unit="pages",
    meaning="How many pages there are that stay where they are until they are freed.",
)
UNKNOWN = SchemaColumn(
    name="unknown",
    rank=6,
    kind="int",
    unit="pages",
    meaning=(
        "How many pages there are of which it is not known what they are: they cannot"
        " be read, or are on their way."
    ),
)
ABSENT = SchemaColumn(
    name="absent",
    rank=7,
    kind="int",
    unit="pages",
    meaning="How many page frames have no page: holes, and memory that is offline.",
)
OWNERS = SchemaColumn(
    name="owners",
    rank=5,
    kind="list",
    meaning=(
        "The functions that asked for the pages that cannot be moved, the one with most"
        " first."
    ),
)
EXTRA_REFERENCES = SchemaColumn(
    name="extra_references",
    rank=1,
    kind="int",
    meaning=(
        "How many references the page has beyond those of page tables, of the page"
        " cache and of swap: somebody holds it, 1024 for each time that it is pinned"
        " for a device."
    ),
)
MAPPED_BY = SchemaColumn(
    name="mapped_by",
    rank=2,
    kind="list",
    meaning="The programs that map the page, with their process ids.",
)

# ---- the relations of these columns ----

PAGEBLOCKS = (
    zone_columns.START_PFN,
    columns.NODE,
    columns.ZONE,
    columns.PAGEBLOCK_MIGRATETYPE,
    columns.PAGES,
    zone_columns.FREE,
    zone_columns.PCP,
    MOVABLE,
    PINNED,
    RECLAIMABLE,
    UNMOVABLE,
    UNKNOWN,
    ABSENT,
    OWNERS,
)
"""A row a pageblock, or a block of another size: ``blocks``."""

PAGEBLOCK_KEYS = (
    columns.FUNCTION,
    columns.STACK,
    columns.MODULE,
    columns.SITE.ranked(1),
    columns.COMM,
    columns.STACK_ID,
    columns.STACK_SHAPE,
)
"""What ``blocks --by`` may tell holders apart by; these columns come first."""

PAGEBLOCK_SUMS = (
    sum_columns.PAGEBLOCKS,
    columns.PAGES,
    sum_columns.SOLE_PAGEBLOCKS,
)
"""What ``blocks --by`` says of each holder."""

PINNED_PAGES = (
    columns.PFN,
    columns.ORDER,
    columns.PAGES,
    columns.ZONE,
    columns.NODE,
    columns.KIND,
    columns.DETAIL,
    columns.MAPCOUNT,
    EXTRA_REFERENCES,
    MAPPED_BY,
    columns.FUNCTION,
    columns.PID,
    columns.COMM,
)
"""A row a page, or a compound page, that is pinned: ``blocks --pinned``."""

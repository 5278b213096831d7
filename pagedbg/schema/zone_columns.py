# SPDX-License-Identifier: GPL-2.0-or-later
"""The columns of zones, of what is free in them, and of their pageblocks."""

from __future__ import annotations

from pagedbg.schema import columns, sum_columns
from pagedbg.schema.columns import SchemaColumn

START_PFN = SchemaColumn(
    name="start_pfn",
    rank=5,
    kind="hex",
    meaning="The page frame number of the first page.",
)
SPANNED = SchemaColumn(
    name="spanned",
    rank=8,
    kind="int",
    unit="pages",
    meaning="How many pages the zone spans, holes between them included.",
)
PRESENT = SchemaColumn(
    name="present",
    rank=7,
    kind="int",
    unit="pages",
    meaning="How many pages of the zone exist.",
)
MANAGED = SchemaColumn(
    name="managed",
    rank=4,
    kind="int",
    unit="pages",
    meaning="How many pages of the zone the buddy allocator manages.",
)
FREE = SchemaColumn(
    name="free",
    rank=2,
    kind="int",
    unit="pages",
    meaning="How many pages the buddy allocator has free.",
)
PCP = SchemaColumn(
    name="pcp",
    rank=7,
    kind="int",
    unit="pages",
    meaning="How many free pages are on the lists of the CPUs, which free leaves out.",
)
WMARK_MIN = SchemaColumn(
    name="wmark_min",
    rank=5,
    kind="int",
    unit="pages",
    meaning="With fewer free pages than this an allocation has to reclaim some itself.",
)
WMARK_LOW = SchemaColumn(
    name="wmark_low",
    rank=5,
    kind="int",
    unit="pages",
    meaning="With fewer free pages than this kswapd is woken to reclaim some.",
)
WMARK_HIGH = SchemaColumn(
    name="wmark_high",
    rank=6,
    kind="int",
    unit="pages",
    meaning="With as many free pages as this kswapd goes to sleep.",
)
BOOST = SchemaColumn(
    name="boost",
    rank=7,
    kind="int",
    unit="pages",
    meaning="By how much fragmentation has raised the three watermarks for now.",
)
LOWMEM_RESERVE = SchemaColumn(
    name="lowmem_reserve",
    rank=7,
    kind="int",
    unit="pages",
    meaning=(
        "How many pages are kept from allocations that could be made in a higher zone,"
        " at most."
    ),
)
LARGEST = SchemaColumn(
    name="largest",
    rank=1,
    kind="bytes",
    unit="bytes",
    meaning="The size of the largest block that an allocation can have now.",
)

# ---- the relations of these columns ----

ZONES = (
    columns.NODE,
    columns.ZONE,
    START_PFN,
    SPANNED,
    PRESENT,
    MANAGED,
    FREE,
    PCP,
    WMARK_MIN,
    WMARK_LOW,
    WMARK_HIGH,
    BOOST,
    LOWMEM_RESERVE,
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

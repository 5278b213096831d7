# SPDX-License-Identifier: GPL-2.0-or-later
"""The columns of where memory is."""

from __future__ import annotations

from pagedbg.schema import columns, sum_columns, zone_columns
from pagedbg.schema.columns import SchemaColumn

CACHE = SchemaColumn(
    name="cache",
    rank=1,
    meaning="The slab cache whose objects are in the page.",
)
FILE = SchemaColumn(
    name="file",
    rank=1,
    meaning="The file or block device that the page caches.",
)
PAGEBLOCK = SchemaColumn(
    name="pageblock",
    rank=1,
    kind="hex",
    meaning="The first page frame number of the pageblock that the page is in.",
)
RAM_SHARE = SchemaColumn(
    name="ram_share",
    rank=3,
    kind="share",
    unit="%",
    meaning="The pages of the row out of all that the zones have present.",
)
COUNTED = SchemaColumn(
    name="counted",
    rank=3,
    kind="int",
    unit="pages",
    meaning="How many pages the kernel's own counter has.",
)
DIFFERENCE = SchemaColumn(
    name="difference",
    rank=3,
    kind="int",
    unit="pages",
    meaning="The pages that the counter covers, on all rows with it, less counted.",
)
COUNTER = SchemaColumn(
    name="counter",
    rank=6,
    meaning="The kernel's counter that the pages of the row are in.",
)
OBJECTS = SchemaColumn(
    name="objects",
    rank=4,
    kind="int",
    unit="objects",
    meaning="How many objects the slab cache has room for, as /proc/slabinfo has it.",
)
ACTIVE = SchemaColumn(
    name="active",
    rank=4,
    kind="int",
    unit="objects",
    meaning="How many objects of the slab cache are in use.",
)
POOL = SchemaColumn(
    name="pool",
    rank=1,
    meaning="What kind of pool it is: CMA, hugetlb or swap.",
)
NAME = SchemaColumn(
    name="name",
    rank=1,
    meaning="What the kernel calls it.",
)
UNUSED = SchemaColumn(
    name="unused",
    rank=1,
    kind="int",
    unit="pages",
    meaning="How many pages of the pool nobody uses.",
)
RSS = SchemaColumn(
    name="rss",
    rank=1,
    kind="int",
    unit="pages",
    meaning="How many pages the process maps, shared ones included.",
)
SWAPPED = SchemaColumn(
    name="swapped",
    rank=1,
    kind="int",
    unit="pages",
    meaning="How many pages of the process are in swap.",
)
TIMES = SchemaColumn(
    name="times",
    rank=1,
    kind="int",
    unit="events",
    meaning="How often it has happened since the kernel was booted, on all CPUs.",
)
CHECK = SchemaColumn(
    name="check",
    rank=1,
    meaning="What was looked at.",
)
UNUSUAL = SchemaColumn(
    name="unusual",
    rank=1,
    kind="bool",
    meaning="Whether the figure is out of the ordinary.",
)
COMMAND = SchemaColumn(
    name="command",
    rank=1,
    meaning="The command that says more.",
)

# ---- the relations of these columns ----

MEMORY = (
    columns.KIND,
    columns.DETAIL,
    columns.PAGES,
    sum_columns.BYTES,
    RAM_SHARE,
    COUNTED,
    DIFFERENCE,
    COUNTER,
)
"""A row a kind of memory: ``memory``."""

MEMORY_SUMS = (
    columns.PAGES,
    sum_columns.BYTES,
    sum_columns.SHARE,
    RAM_SHARE,
    OBJECTS,
    ACTIVE,
)
"""What ``memory --by`` says of each value of its keys."""

UNACCOUNTED = (
    columns.KIND,
    columns.MODULE,
    columns.FUNCTION,
    columns.PAGES,
    sum_columns.BYTES,
    sum_columns.SHARE,
    RAM_SHARE,
)
"""
A row a kind, module and function that holds pages which no counter has: ``memory
--section unaccounted``.
"""

SLAB_SUMS = (
    CACHE.meaning_here("The slab cache of the objects."),
    columns.SITE.ranked(1),
    columns.STACK,
    OBJECTS.meaning_here("How many objects were allocated there, and are in use."),
    sum_columns.BYTES.meaning_here("How much they take."),
    columns.WITNESS.ranked(2),
)
"""
A row a slab cache and the line of the source or the call path that allocates its
objects: ``memory --section objects``.
"""

POOLS = (
    POOL,
    NAME,
    columns.PAGES,
    UNUSED,
    sum_columns.BYTES,
    columns.DETAIL,
)
"""A row a pool of memory: ``memory --section pools``."""

LARGEST = (
    columns.NODE,
    columns.ZONE,
    zone_columns.FREE,
    columns.ORDER,
    zone_columns.LARGEST,
)
"""A row a zone: ``memory --section largest``."""

PROCESSES = (
    columns.PID,
    columns.COMM,
    RSS,
    SWAPPED,
    sum_columns.BYTES,
)
"""A row a process: ``memory --section processes``."""

MEMORY_EVENTS = (
    NAME,
    TIMES,
)
"""A row a kind of event: ``memory --section events``."""

HEALTH = (
    CHECK,
    UNUSUAL,
    columns.DETAIL,
    COMMAND,
)
"""A row something that was looked at: ``memory --section health``."""

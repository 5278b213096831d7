# SPDX-License-Identifier: GPL-2.0-or-later
"""The columns of allocations that failed, and of why one does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pagedbg.schema import columns, pageblock_columns, sum_columns, zone_columns
from pagedbg.schema.columns import SchemaColumn
from pagedbg.schema.table import Row

# ---- what was logged ----

REPORT = SchemaColumn(
    name="report",
    rank=1,
    kind="int",
    meaning="The number of the report, by which explain takes it apart.",
)
FAILURE = SchemaColumn(
    name="failure",
    rank=1,
    meaning="What happened: allocation failure, allocation stall or OOM kill.",
)
STALLED_NS = SchemaColumn(
    name="stalled_ns",
    rank=6,
    kind="ns",
    unit="ns",
    meaning="How long an allocation had taken when the kernel complained of it.",
)
FREE_THEN = SchemaColumn(
    name="free_then",
    rank=3,
    kind="int",
    unit="pages",
    meaning="How many pages were free when the report was written.",
)
CONSTRAINT = SchemaColumn(
    name="constraint",
    rank=6,
    meaning="What the OOM killer was bound to, in the kernel's word for it.",
)
OOM_MEMCG = SchemaColumn(
    name="oom_memcg",
    rank=5,
    meaning="The memory cgroup that was out of memory.",
)
VICTIM = SchemaColumn(
    name="victim",
    rank=3,
    meaning="The name of the process that was killed.",
)
VICTIM_PID = SchemaColumn(
    name="victim_pid",
    rank=4,
    kind="int",
    meaning="The process id of the process that was killed.",
)
VICTIM_BYTES = SchemaColumn(
    name="victim_bytes",
    rank=5,
    kind="bytes",
    unit="bytes",
    meaning="How much memory the process that was killed had mapped.",
)
COMPLETE = SchemaColumn(
    name="complete",
    rank=6,
    kind="bool",
    meaning="Whether nothing of the report is missing, as far as that can be told.",
)

# ---- why ----

TOPIC = SchemaColumn(
    name="topic",
    rank=1,
    meaning=(
        "What the row is about: request, zone, blocks, counter, compaction, owners or"
        " verdict."
    ),
)
RESULT = SchemaColumn(
    name="result",
    rank=2,
    meaning=(
        "What becomes of the allocation: in a zone gives, could give, short, in pieces"
        " or wrong type, by compaction could help, short or cannot help, in the end"
        " succeeds, waits or fails."
    ),
)
NEED = SchemaColumn(
    name="need",
    rank=3,
    kind="int",
    unit="pages",
    meaning="How many pages have to be free in the zone before some are handed out.",
)
WITHHELD = SchemaColumn(
    name="withheld",
    rank=4,
    kind="int",
    unit="pages",
    meaning=(
        "How many of those are kept for other allocations: for those that have no"
        " higher zone, for atomic ones, and in areas of CMA."
    ),
)
STUCK = SchemaColumn(
    name="stuck",
    rank=4,
    kind="int",
    unit="pages",
    meaning="How many free pages are in blocks that are too small.",
)
UNUSABLE_INDEX = SchemaColumn(
    name="unusable_index",
    rank=6,
    kind="int",
    meaning=(
        "The share of free memory that is in blocks that are too small, in thousandths,"
        " as the kernel's extfrag/unusable_index has it."
    ),
)
FRAGMENTATION_INDEX = SchemaColumn(
    name="fragmentation_index",
    rank=6,
    kind="int",
    meaning=(
        "Why no free block is large enough, from 0 for want of memory to 1000 since it"
        " is in pieces, or -1000 where one is, as the kernel's extfrag/extfrag_index"
        " has it."
    ),
)
USABLE = SchemaColumn(
    name="usable",
    rank=5,
    kind="bool",
    meaning="Whether these blocks are large enough, and of a type that may be taken.",
)
STEP = SchemaColumn(
    name="step",
    rank=4,
    kind="int",
    meaning="At which step an owner lets go, in order of what that gains.",
)
AT_ONCE = SchemaColumn(
    name="at_once",
    rank=5,
    kind="int",
    unit="blocks",
    meaning="How many of these blocks would be free without anything being moved.",
)
FINDING = SchemaColumn(
    name="finding",
    rank=2,
    meaning="The same as a sentence.",
)

# ---- the relations of these columns ----

FROZEN = (
    columns.TIME_NS,
    FAILURE,
    columns.ORDER,
    columns.GFP,
    columns.PID,
    columns.COMM,
    REPORT,
)
"""One row: ``trace status``, in ``frozen``."""

FAILURES = (
    REPORT,
    columns.TIME_NS,
    FAILURE,
    columns.ORDER,
    columns.GFP_MASK,
    columns.GFP,
    columns.COMM,
    columns.PID,
    columns.MODULE,
    columns.FUNCTION,
    FREE_THEN,
    STALLED_NS,
    VICTIM,
    VICTIM_PID,
    VICTIM_BYTES,
    CONSTRAINT,
    OOM_MEMCG,
    COMPLETE,
    columns.STACK,
)
"""A row an allocation that the kernel has complained of: ``explain``."""

EXPLANATION = (
    TOPIC,
    columns.NODE,
    columns.ZONE,
    columns.ORDER,
    columns.GFP,
    columns.MIGRATETYPE,
    RESULT,
    zone_columns.FREE,
    NEED,
    WITHHELD,
    STUCK,
    UNUSABLE_INDEX,
    FRAGMENTATION_INDEX,
    sum_columns.BLOCKS,
    USABLE,
    columns.PAGES,
    columns.KIND,
    pageblock_columns.MOVABLE,
    pageblock_columns.PINNED,
    STEP,
    AT_ONCE,
    columns.MODULE,
    columns.FUNCTION,
    columns.COMM,
    columns.STACK,
    FINDING,
)
"""
A row a finding: ``explain order`` and ``explain N``. Of several allocations each begins
with a row of the topic ``request``.
"""

_TOPIC = EXPLANATION.index(TOPIC)


def each_explained(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """The rows of :data:`EXPLANATION` for each allocation by itself."""
    found: list[Row] = []
    for row in rows:
        if row[_TOPIC] == "request" and found:
            yield found
            found = []
        found.append(row)
    if found:
        yield found

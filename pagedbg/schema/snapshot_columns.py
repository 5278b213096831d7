# SPDX-License-Identifier: GPL-2.0-or-later
"""The columns of snapshots, and of what has changed between two."""

from __future__ import annotations

from pagedbg.schema import block_columns, columns, kernel_columns, sum_columns
from pagedbg.schema.columns import SchemaColumn

SNAPSHOT = SchemaColumn(
    name="snapshot",
    rank=1,
    meaning="The directory of the snapshot.",
)
TAKEN = SchemaColumn(
    name="taken",
    rank=1,
    meaning="When the kernel was as it is said, in ISO 8601.",
)
LACKS = SchemaColumn(
    name="lacks",
    kind="list",
    rank=4,
    meaning="The relations that are not in the snapshot.",
)
PAGES_BEFORE = SchemaColumn(
    name="pages_before",
    rank=2,
    kind="int",
    unit="pages",
    meaning="How many pages there were before.",
)
PAGES_AFTER = SchemaColumn(
    name="pages_after",
    rank=2,
    kind="int",
    unit="pages",
    meaning="How many pages there were afterwards.",
)
DELTA_PAGES = SchemaColumn(
    name="delta_pages",
    rank=1,
    kind="int",
    unit="pages",
    meaning="How many more pages there were afterwards; less than 0 for fewer.",
)
DELTA_BYTES = SchemaColumn(
    name="delta_bytes",
    rank=2,
    kind="bytes",
    unit="bytes",
    meaning="The same in bytes.",
)
BLOCKS_BEFORE = SchemaColumn(
    name="blocks_before",
    rank=6,
    kind="int",
    unit="blocks",
    meaning="How many blocks there were before.",
)
BLOCKS_AFTER = SchemaColumn(
    name="blocks_after",
    rank=6,
    kind="int",
    unit="blocks",
    meaning="How many blocks there were afterwards.",
)
CHANGE = SchemaColumn(
    name="change",
    rank=3,
    meaning="Whether the row is new or gone, or has more or less or the same pages.",
)
BYTES_PER_HOUR = SchemaColumn(
    name="bytes_per_hour",
    rank=1,
    kind="bytes",
    unit="bytes",
    meaning="By how many bytes it grows in an hour, by the line that fits best.",
)
STRAIGHTNESS = SchemaColumn(
    name="straightness",
    rank=2,
    kind="share",
    unit="%",
    meaning="How much of the change that line explains.",
)
FIRST_BYTES = SchemaColumn(
    name="first_bytes",
    rank=4,
    kind="bytes",
    unit="bytes",
    meaning="What there was at the first of the times.",
)
LAST_BYTES = SchemaColumn(
    name="last_bytes",
    rank=3,
    kind="bytes",
    unit="bytes",
    meaning="What there was at the last of the times.",
)
HISTORY = SchemaColumn(
    name="history",
    rank=4,
    kind="series",
    unit="bytes",
    meaning="What there was at each of the times.",
)

SNAPSHOTS = (
    SNAPSHOT,
    TAKEN,
    kernel_columns.HOST,
    kernel_columns.RELEASE,
    kernel_columns.BUILD_ID,
    kernel_columns.BOOT_ID,
    kernel_columns.UP_NS,
    columns.PAGES.meaning_here("How many pages of memory the host has."),
    sum_columns.BYTES.meaning_here("The size of the snapshot's files."),
    LACKS,
)
"""A row a snapshot: ``snapshot list``."""

OWNER_SUMS = (
    columns.STACK_ID,
    columns.ORDER,
    columns.GFP_MASK,
    columns.GFP,
    columns.MIGRATETYPE,
    columns.ZONE,
    columns.NODE,
    columns.KIND,
    columns.MEMCG,
    columns.COMM,
    columns.SITE.ranked(1),
    block_columns.AGE,
    sum_columns.BLOCKS,
    columns.PAGES,
    sum_columns.BYTES,
)
"""The sums of blocks on record that a snapshot has: its ``owners``."""

STACK_NAMES = (
    columns.STACK_ID,
    columns.STACK_SHAPE,
    columns.MODULE,
    columns.FUNCTION,
    columns.STACK,
)
"""The stacks that a snapshot's ``owners`` name: its ``stacks``."""

GROWTH = (
    PAGES_BEFORE,
    PAGES_AFTER,
    DELTA_PAGES,
    DELTA_BYTES,
    BLOCKS_BEFORE,
    BLOCKS_AFTER,
    CHANGE,
)
"""What ``diff`` says of each value of its keys, which come first."""

TREND = (
    BYTES_PER_HOUR,
    STRAIGHTNESS,
    FIRST_BYTES,
    LAST_BYTES,
    HISTORY,
)
"""What ``trend`` says of each value of its keys, which come first."""

_SUMS = (sum_columns.BLOCKS, columns.PAGES, sum_columns.BYTES)

OWNER_KEYS = {
    column.name: column for column in (*STACK_NAMES, *OWNER_SUMS) if column not in _SUMS
}
"""What ``diff`` and ``trend`` compare by: what is known of any kernel and snapshot."""

SHOWN_BY_STACK = frozenset({"stack_shape", "stack_id"})
"""Keys of which a row shows a stack that it is of."""

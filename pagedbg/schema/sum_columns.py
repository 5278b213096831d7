# SPDX-License-Identifier: GPL-2.0-or-later
"""The columns of sums over blocks and over allocations."""

from __future__ import annotations

from pagedbg.schema.columns import SchemaColumn

BLOCKS = SchemaColumn(
    name="blocks",
    rank=2,
    kind="int",
    unit="blocks",
    meaning="How many blocks or allocations the row sums up.",
)
BYTES = SchemaColumn(
    name="bytes",
    rank=3,
    kind="bytes",
    unit="bytes",
    meaning="The size of the pages that the row sums up.",
)
SHARE = SchemaColumn(
    name="share",
    rank=2,
    kind="share",
    unit="%",
    meaning=(
        "The pages of the row out of those of all rows, or what was recorded out of"
        " what was seen."
    ),
)
OLDEST = SchemaColumn(
    name="oldest",
    kind="ns",
    unit="ns",
    meaning="How long ago the first of the allocations was made.",
)
YOUNGEST = SchemaColumn(
    name="youngest",
    kind="ns",
    unit="ns",
    meaning="How long ago the last of the allocations was made.",
)
COUNT = SchemaColumn(
    name="count",
    kind="int",
    unit="allocations",
    meaning="How many allocations were freed.",
)
MIN = SchemaColumn(
    name="min",
    kind="ns",
    unit="ns",
    meaning="The shortest time that one of the allocations lasted.",
)
MEDIAN = SchemaColumn(
    name="median",
    kind="ns",
    unit="ns",
    meaning="The time that half of the allocations lasted at most.",
)
P90 = SchemaColumn(
    name="p90",
    kind="ns",
    unit="ns",
    meaning="The time that 90 per cent of the allocations lasted at most.",
)
P99 = SchemaColumn(
    name="p99",
    kind="ns",
    unit="ns",
    meaning="The time that 99 per cent of the allocations lasted at most.",
)
MAX = SchemaColumn(
    name="max",
    kind="ns",
    unit="ns",
    meaning="The longest time that one of the allocations lasted.",
)

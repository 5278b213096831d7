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
PAGEBLOCKS = SchemaColumn(
    name="pageblocks",
    rank=1,
    kind="int",
    unit="blocks",
    meaning="In how many pageblocks, or blocks of the size asked for, it holds pages.",
)
SOLE_PAGEBLOCKS = SchemaColumn(
    name="sole_pageblocks",
    rank=1,
    kind="int",
    unit="blocks",
    meaning=(
        "How many of these it alone keeps from being free: all pages in them that"
        " cannot be moved are its own."
    ),
)

# SPDX-License-Identifier: GPL-2.0-or-later
"""The columns of what is said of a fleet of hosts."""

from __future__ import annotations

import dataclasses

from pagedbg.schema import columns, kernel_columns, snapshot_columns, sum_columns
from pagedbg.schema.columns import SchemaColumn

DATE = SchemaColumn(
    name="date",
    rank=1,
    meaning="The day in UTC, as ISO 8601 has it.",
)
HOST_ID = SchemaColumn(
    name="host_id",
    meaning="What tells the host from another of the same name.",
)
HOSTS = SchemaColumn(
    name="hosts",
    rank=1,
    kind="int",
    unit="hosts",
    meaning="How many hosts there are.",
)
SNAPSHOT_COUNT = SchemaColumn(
    name="snapshot_count",
    rank=1,
    kind="int",
    unit="snapshots",
    meaning="How many snapshots there are.",
)
COMPACTED_COUNT = SchemaColumn(
    name="compacted_count",
    rank=2,
    kind="int",
    unit="snapshots",
    meaning="How many of the snapshots are compacted.",
)
RELEASES = SchemaColumn(
    name="releases",
    rank=2,
    kind="list",
    meaning="The releases of the kernels.",
)

# In a lake it has a number, and stands in a directory that is named by it.
_SNAPSHOT = dataclasses.replace(
    snapshot_columns.SNAPSHOT,
    kind="int",
    meaning="The number of the snapshot, a hash of its meta.json.",
)

LAKE_SNAPSHOTS = (
    _SNAPSHOT,
    DATE,
    snapshot_columns.HOST,
    snapshot_columns.TAKEN,
    kernel_columns.RELEASE,
    kernel_columns.BUILD_ID,
    kernel_columns.BOOT_ID,
    HOST_ID,
    kernel_columns.UP_NS,
    columns.PAGES.meaning_here("How many pages of memory the host has."),
    kernel_columns.PAGE_SIZE,
    sum_columns.BYTES.meaning_here("The size of the snapshot's files."),
    snapshot_columns.LACKS,
)
"""A row a snapshot of a lake: ``snapshots`` of a day that is compacted."""

LAKE_DAYS = (
    DATE,
    HOSTS,
    SNAPSHOT_COUNT,
    COMPACTED_COUNT,
    RELEASES,
    sum_columns.BYTES.meaning_here("The size of the files of the day."),
)
"""A row a day: ``fleet status``."""

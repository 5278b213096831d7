# SPDX-License-Identifier: GPL-2.0-or-later
"""The columns of what is said of a fleet of hosts."""

from __future__ import annotations

import dataclasses

from pagedbg.schema import (
    columns,
    kernel_columns,
    memory_columns,
    snapshot_columns,
    sum_columns,
)
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
    kernel_columns.HOST,
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

HOSTS_MORE = SchemaColumn(
    name="hosts_more",
    rank=2,
    kind="int",
    unit="hosts",
    meaning="On how many hosts there is more than before.",
)
HOSTS_LESS = SchemaColumn(
    name="hosts_less",
    rank=3,
    kind="int",
    unit="hosts",
    meaning="On how many hosts there is less than before.",
)
SHARE_WITHIN = SchemaColumn(
    name="share_within",
    rank=1,
    kind="share",
    unit="%",
    meaning=(
        "By how much of its memory more a host holds with the kernel than the same host"
        " did without, on average."
    ),
)
SHARE_BETWEEN = SchemaColumn(
    name="share_between",
    rank=1,
    kind="share",
    unit="%",
    meaning=(
        "By how much of its memory more a host with the kernel holds than hosts without"
        " on the same day, on average."
    ),
)
BYTES_PER_HOST = SchemaColumn(
    name="bytes_per_host",
    rank=2,
    kind="bytes",
    unit="bytes",
    meaning="By how many bytes more a host holds with the kernel, on average.",
)

FLEET_SUMS = (
    HOSTS,
    sum_columns.BLOCKS,
    columns.PAGES,
    sum_columns.BYTES,
    sum_columns.SHARE,
    memory_columns.RAM_SHARE,
)
"""What ``fleet owners`` says of each value of its keys, which come first."""

FLEET_GROWTH = (*snapshot_columns.GROWTH, HOSTS_MORE, HOSTS_LESS)
"""What ``fleet diff`` says of each value of its keys, which come first."""

KERNEL_GROWTH = (
    SHARE_WITHIN,
    SHARE_BETWEEN,
    BYTES_PER_HOST,
    HOSTS_MORE,
    HOSTS_LESS,
)
"""What ``fleet since`` says of each value of its keys, which come first."""

FLEET_TREND = (
    snapshot_columns.BYTES_PER_HOUR,
    snapshot_columns.STRAIGHTNESS,
    HOSTS_MORE,
    HOSTS_LESS,
    snapshot_columns.FIRST_BYTES,
    snapshot_columns.LAST_BYTES,
)
"""What ``fleet trend`` says of each value of its keys, which come first."""

HOST_SUMS = (
    kernel_columns.HOST,
    kernel_columns.RELEASE,
    snapshot_columns.TAKEN,
    sum_columns.BLOCKS,
    columns.PAGES,
    sum_columns.BYTES,
    memory_columns.RAM_SHARE,
)
"""A row a host: ``fleet hosts``."""

LAKE_OWNERS = (_SNAPSHOT, *snapshot_columns.OWNER_SUMS)
"""What snapshots of a lake have of owners: ``owners`` of ``fleet sql``."""

# SPDX-License-Identifier: GPL-2.0-or-later
"""The columns of histograms: how many events, or allocations, there are of each."""

from __future__ import annotations

from pagedbg.schema import allocation_columns, columns, event_columns
from pagedbg.schema.columns import SchemaColumn

AT_LEAST = SchemaColumn(
    name="at_least",
    rank=1,
    kind="ns",
    unit="ns",
    meaning="The least time that is counted in the row.",
)
BELOW = SchemaColumn(
    name="below",
    rank=3,
    kind="ns",
    unit="ns",
    meaning="The time that is too great for the row, and begins the next one.",
)
EVENT_COUNT = SchemaColumn(
    name="event_count",
    rank=1,
    kind="int",
    unit="events",
    meaning="How many events the row counts.",
)

# ---- the relations of these columns ----

EVENT_COUNTS = (
    AT_LEAST,
    BELOW,
    event_columns.EVENT,
    columns.ORDER,
    event_columns.CPU,
    columns.COMM,
    EVENT_COUNT,
)
"""
A row a class or a value: ``trace show --histogram``, with the column that it names, or
with the first two of a time.
"""

LIFETIME_COUNTS = (
    AT_LEAST,
    BELOW,
    allocation_columns.COUNT,
)
"""A row a class of lifetimes: ``correlate --lifetimes --histogram``."""

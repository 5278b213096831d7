# SPDX-License-Identifier: GPL-2.0-or-later
"""The columns of allocations that were captured, and of what became of them."""

from __future__ import annotations

from pagedbg.schema import columns, event_columns, sum_columns
from pagedbg.schema.allocation import STATES
from pagedbg.schema.columns import SchemaColumn

*_STATES, _LAST_STATE = STATES

HELD = SchemaColumn(
    name="held",
    kind="int",
    unit="pages",
    meaning="How many pages of the allocation are still held.",
)
FREED_NS = SchemaColumn(
    name="freed_ns",
    rank=3,
    kind="ns",
    unit="ns",
    meaning="When the allocation was freed, by the clock of ts_ns.",
)
LIFETIME_NS = SchemaColumn(
    name="lifetime_ns",
    kind="ns",
    unit="ns",
    meaning="How long the allocation lasted, from ts_ns to freed_ns.",
)
FREE_COMM = SchemaColumn(
    name="free_comm",
    meaning="The name of the task that freed the allocation.",
)
NOW_PFN = SchemaColumn(
    name="now_pfn",
    kind="hex",
    meaning="The page frame number where the allocation is now, if it was migrated.",
)
REUSED_PID = SchemaColumn(
    name="reused_pid",
    kind="int",
    meaning="The process id of the task that has allocated the page since.",
)
REUSED_COMM = SchemaColumn(
    name="reused_comm",
    meaning="The name of the task that has allocated the page since.",
)
CONTRADICTION = SchemaColumn(
    name="contradiction",
    meaning="How the kernel's records contradict the capture, in a sentence.",
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

# ---- the relations of these columns ----

_FATE = columns.STATE.meaning_here(
    f"What has become of the allocation: {', '.join(_STATES)} or {_LAST_STATE}."
)

ALLOCATIONS = (
    columns.PFN,
    columns.ORDER,
    columns.PAGES,
    columns.GFP,
    columns.MIGRATETYPE,
    columns.PID,
    columns.TGID,
    columns.COMM,
    columns.TS_NS,
    columns.HANDLE,
    columns.STACK,
    _FATE,
    HELD,
    FREED_NS,
    LIFETIME_NS,
    columns.FREE_PID,
    FREE_COMM,
    NOW_PFN,
    REUSED_PID,
    REUSED_COMM,
    CONTRADICTION,
    *event_columns.STACK_IDS,
)
"""A row an allocation that was captured: ``correlate``."""

ALLOCATION_KEYS = (
    columns.STACK,
    columns.MODULE,
    columns.FUNCTION,
    columns.COMM,
    columns.PID,
    columns.ORDER,
    columns.GFP,
    columns.MIGRATETYPE,
    _FATE,
    columns.STACK_ID,
    columns.STACK_SHAPE,
)
"""What ``correlate --by`` may sum up by; these columns come first."""

ALLOCATION_SUMS = (
    sum_columns.BLOCKS,
    columns.PAGES,
    sum_columns.BYTES,
    sum_columns.SHARE,
    OLDEST,
    YOUNGEST,
)
"""What ``correlate --by`` and ``--leaked`` say of each value of their keys."""

LIFETIMES = (
    COUNT,
    MIN,
    MEDIAN,
    P90,
    P99,
    MAX,
)
"""What ``correlate --lifetimes`` says of each value of its keys."""

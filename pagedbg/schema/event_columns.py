# SPDX-License-Identifier: GPL-2.0-or-later
"""The columns of what a capture has: its events, and what it has lost."""

from __future__ import annotations

from pagedbg.schema import columns
from pagedbg.schema.columns import SchemaColumn
from pagedbg.schema.event_record import EVENT_NAMES

*_EVENTS, _LAST_EVENT = EVENT_NAMES.values()

EVENT = SchemaColumn(
    name="event",
    rank=1,
    meaning=f"What happened: {', '.join(_EVENTS)} or {_LAST_EVENT}.",
)
OWNER_PID = SchemaColumn(
    name="owner_pid",
    rank=6,
    kind="int",
    meaning="The process id of the task that had allocated the page.",
)
OWNER_COMM = SchemaColumn(
    name="owner_comm",
    rank=3,
    meaning="The name of the task that had allocated the page.",
)
OTHER_PFN = SchemaColumn(
    name="other_pfn",
    kind="hex",
    meaning="The page frame number that a moved page comes from.",
)
NEW_ORDER = SchemaColumn(
    name="new_order",
    kind="int",
    meaning="The order of the pieces that a block was split into.",
)
REASON = SchemaColumn(
    name="reason",
    meaning="Why the page was migrated.",
)
NESTED = SchemaColumn(
    name="nested",
    kind="int",
    meaning=(
        "1 if page_owner allocated the page for itself inside of another"
        " allocation, otherwise 0."
    ),
)
CPU = SchemaColumn(
    name="cpu",
    rank=6,
    kind="int",
    meaning="The CPU on which it happened.",
)
SEQ = SchemaColumn(
    name="seq",
    rank=7,
    kind="int",
    meaning="The number of the event in the ring of its CPU, counted from 1.",
)
LOSS = SchemaColumn(
    name="loss",
    meaning="How events got lost.",
)
LOST = SchemaColumn(
    name="lost",
    kind="int",
    unit="events",
    meaning="How many events got lost in that way.",
)

# ---- the relations of these columns ----

STACK_IDS = (columns.STACK_ID.ranked(9), columns.STACK_SHAPE.ranked(9))
"""Of a stack, which is what people look at: in text these are left out first."""

EVENTS = (
    columns.TIME_NS,
    EVENT,
    columns.PFN,
    columns.ORDER,
    columns.PID,
    columns.COMM,
    OWNER_PID,
    OWNER_COMM,
    columns.GFP,
    columns.MIGRATETYPE,
    columns.TS_NS,
    OTHER_PFN,
    NEW_ORDER,
    REASON,
    columns.HANDLE,
    columns.TGID,
    NESTED,
    CPU,
    SEQ,
    columns.STACK,
    *STACK_IDS,
)
"""A row an event: ``trace show`` and ``trace follow``."""

LOSSES = (
    LOSS,
    LOST,
)
"""A row a way in which a capture has lost events: ``inspect``, in ``losses``."""

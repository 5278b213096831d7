# SPDX-License-Identifier: GPL-2.0-or-later
"""The columns of what is known of a kernel, and of what records in it."""

from __future__ import annotations

from pagedbg.schema import (
    columns,
    event_columns,
    explanation_columns,
    page_columns,
    sum_columns,
    zone_columns,
)
from pagedbg.schema.columns import SchemaColumn

# ---- a recording ----

NUMBER = SchemaColumn(
    name="number",
    kind="int",
    meaning="The number by which trace recover opens the recorder.",
)
BACKEND = SchemaColumn(
    name="backend",
    meaning="What records: bpf, or kmod for the kernel module.",
)
ATTACH = SchemaColumn(
    name="attach",
    meaning="How the recorder is attached to the kernel.",
)
FILTER = SchemaColumn(
    name="filter",
    meaning="What was to be recorded, as the options of trace set.",
)
CPUS = SchemaColumn(
    name="cpus",
    kind="int",
    unit="CPUs",
    meaning="How many CPUs there are.",
)
SLOTS = SchemaColumn(
    name="slots",
    kind="int",
    unit="records",
    meaning="How many records the ring of a CPU holds.",
)
SEEN = SchemaColumn(
    name="seen",
    kind="int",
    unit="allocations",
    meaning="How many allocations the recorder has seen.",
)
RECORDED = SchemaColumn(
    name="recorded",
    kind="int",
    unit="events",
    meaning="How many events were recorded; by order only those of allocations.",
)
OWN = SchemaColumn(
    name="own",
    kind="int",
    unit="allocations",
    meaning=(
        "How many of those seen would have been recorded, but are of pagedbg's own"
        " processes, which are left out."
    ),
)
DIRECTORY = SchemaColumn(
    name="directory",
    meaning="The directory of the capture.",
)
FUNCTIONS = SchemaColumn(
    name="functions",
    kind="list",
    meaning="What of the kernel the recorder is attached to.",
)
FAILED = SchemaColumn(
    name="failed",
    kind="list",
    meaning="The events that it could not be attached for.",
)
BEGUN = SchemaColumn(
    name="begun",
    meaning="When the recording began by the wall clock, as ISO 8601 has it.",
)
ENDED = SchemaColumn(
    name="ended",
    meaning="When the recording ended by the wall clock, as ISO 8601 has it.",
)
ENDED_BY = SchemaColumn(
    name="ended_by",
    meaning="Why the recording ended.",
)
DURATION_NS = SchemaColumn(
    name="duration_ns",
    kind="ns",
    unit="ns",
    meaning="How long the recording lasted, or has lasted until now.",
)
KEPT = SchemaColumn(
    name="kept",
    kind="int",
    unit="events",
    meaning="How many events the capture has.",
)
SIZE = SchemaColumn(
    name="size",
    kind="bytes",
    unit="bytes",
    meaning="The size of the events of the capture on the disk.",
)
FIRST_NS = SchemaColumn(
    name="first_ns",
    kind="ns",
    unit="ns",
    meaning="When the first event of the capture happened, by the clock of time_ns.",
)
LAST_NS = SchemaColumn(
    name="last_ns",
    kind="ns",
    unit="ns",
    meaning="When the last event of the capture happened, by the clock of time_ns.",
)
ORDERS = SchemaColumn(
    name="orders",
    kind="rows",
    meaning="What was seen and recorded of each order.",
)

FROZEN = SchemaColumn(
    name="frozen",
    kind="rows",
    meaning="What has stopped the rings.",
)

# ---- a kernel, its log, and what works with it ----

RELEASE = SchemaColumn(
    name="release",
    meaning="The release of the kernel.",
)
BUILD_ID = SchemaColumn(
    name="build_id",
    meaning="The build id of the kernel.",
)
BOOT_ID = SchemaColumn(
    name="boot_id",
    meaning="The random id of this boot of the kernel.",
)
HOST = SchemaColumn(
    name="host",
    rank=2,
    meaning="The name of the host.",
)
MACHINE = SchemaColumn(
    name="machine",
    meaning="The architecture of the machine.",
)
BOOTED_S = SchemaColumn(
    name="booted_s",
    kind="int",
    unit="s",
    meaning="When the kernel was booted by its wall clock, counted from 1970 in UTC.",
)
UP_NS = SchemaColumn(
    name="up_ns",
    kind="ns",
    unit="ns",
    meaning="How long the kernel has run, by its local_clock().",
)
LIVE = SchemaColumn(
    name="live",
    kind="bool",
    meaning="Whether it is the running kernel.",
)
PATH = SchemaColumn(
    name="path",
    meaning="The path of the dump, or of the socket that a guest is looked at through.",
)
FORMAT = SchemaColumn(
    name="format",
    meaning="The format of the dump.",
)
LEVEL = SchemaColumn(
    name="level",
    kind="int",
    meaning=(
        "How bad the message of the log is, 0 the worst, or what the dump was"
        " filtered of, as the number after makedumpfile -d."
    ),
)
TYPES = SchemaColumn(
    name="types",
    meaning="Where the types of the kernel come from.",
)
PANIC = SchemaColumn(
    name="panic",
    meaning="Why the kernel panicked, as it said itself.",
)
PANIC_NS = SchemaColumn(
    name="panic_ns",
    kind="ns",
    unit="ns",
    meaning="When the kernel panicked, by its local_clock().",
)
PAGE_SIZE = SchemaColumn(
    name="page_size",
    kind="bytes",
    unit="bytes",
    meaning="The size of a page.",
)
NODES = SchemaColumn(
    name="nodes",
    kind="int",
    unit="nodes",
    meaning="How many NUMA nodes there are.",
)
ZONES = SchemaColumn(
    name="zones",
    kind="rows",
    meaning="The zones that the kernel has.",
)
PAGE_OWNER = SchemaColumn(
    name="page_owner",
    kind="bool",
    meaning="Whether the kernel tracks page owners.",
)
RECORDING = SchemaColumn(
    name="recording",
    kind="rows",
    meaning="What was recording in the dump.",
)
MISSING = SchemaColumn(
    name="missing",
    kind="list",
    meaning="The capabilities that are not there.",
)
MESSAGE = SchemaColumn(
    name="message",
    meaning="The text of the message.",
)
CAPABILITY = SchemaColumn(
    name="capability",
    meaning="The name of the capability.",
)
COST = SchemaColumn(
    name="cost",
    meaning="What does not work without the capability.",
)
REMEDY = SchemaColumn(
    name="remedy",
    meaning="How to get the capability.",
)

# ---- the relations of these columns ----

RECORDERS = (
    NUMBER,
    BACKEND,
    ATTACH,
    FILTER,
    CPUS,
    SLOTS,
    RECORDED,
)
"""A row a recorder in a dump: ``trace recover``."""

KERNEL = (
    RELEASE,
    BUILD_ID,
    BOOT_ID,
    HOST,
    MACHINE,
    CPUS,
    BOOTED_S,
    UP_NS,
    LIVE,
    PATH,
    FORMAT,
    LEVEL,
    TYPES,
    PANIC,
    PANIC_NS,
    columns.PAGES,
    PAGE_SIZE,
    NODES,
    ZONES.holding(zone_columns.ZONES),
    PAGE_OWNER,
    RECORDING.holding(RECORDERS),
    RECORDED,
    MISSING,
)
"""One row: ``status``."""

CAPABILITIES = (
    CAPABILITY,
    columns.STATE.meaning_here("Whether the capability is there: yes or no."),
    columns.DETAIL,
    COST,
    REMEDY,
)
"""A row a capability: ``doctor``."""

MESSAGES = (
    columns.TIME_NS,
    LEVEL,
    MESSAGE,
)
"""A row a message of the kernel: ``log``."""

BY_ORDER = (
    columns.ORDER,
    SEEN,
    RECORDED,
    OWN,
    sum_columns.SHARE.meaning_here(
        "What was recorded, or is pagedbg's own, out of what was seen."
    ),
)
"""A row an order of which something was seen: ``trace status``, in ``orders``."""

TRACE = (
    columns.STATE.meaning_here(
        "What the recorder does: it is recording, has ended, was abandoned where it was"
        " killed, or recovered from a dump; or the kernel is unattended, and records"
        " with none."
    ),
    BACKEND,
    ATTACH,
    FILTER,
    DIRECTORY,
    FUNCTIONS,
    FAILED,
    RELEASE,
    BUILD_ID,
    BOOT_ID,
    PAGE_OWNER,
    SLOTS,
    BEGUN,
    ENDED,
    ENDED_BY,
    DURATION_NS,
    SEEN,
    RECORDED,
    KEPT,
    SIZE,
    FIRST_NS,
    LAST_NS,
    ORDERS.holding(BY_ORDER),
    FROZEN.holding(explanation_columns.FROZEN),
    page_columns.LOSSES.holding(event_columns.LOSSES),
)
"""One row: ``trace status``."""

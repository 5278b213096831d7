# SPDX-License-Identifier: GPL-2.0-or-later
"""The columns of what is known of a kernel, and of what records in it."""

from __future__ import annotations

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
    meaning="The path of the dump.",
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
    kind="list",
    meaning="The zones that the kernel has.",
)
PAGE_OWNER = SchemaColumn(
    name="page_owner",
    kind="bool",
    meaning="Whether the kernel tracks page owners.",
)
RECORDING = SchemaColumn(
    name="recording",
    kind="list",
    meaning="The backends that were recording in the dump.",
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

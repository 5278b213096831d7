# SPDX-License-Identifier: GPL-2.0-or-later
"""Sentences on a capture that several commands say."""

from __future__ import annotations

from pagedbg.capture.backends.bpf_programs import TRACEPOINT
from pagedbg.capture.directory import Capture
from pagedbg.schema.capture_meta import KMOD, Attached
from pagedbg.schema.event_record import TRACEPOINTS

_WAYS = {
    "combined": (
        "with tracepoints and kprobes, also where compaction and alloc_contig_range()"
        " (CMA, gigantic pages) allocate; what kprobes miss while another program runs"
        " is counted since Linux 6.2"
    ),
    "tracepoint": (
        "with tracepoints and kprobes: what compaction and alloc_contig_range() (CMA,"
        " gigantic pages) allocate is missed, and not counted"
    ),
    "trampoline": (
        "with trampolines: page_owner's stacks of that time begin with one of them"
    ),
    "kprobe": (
        "with kprobes: where too many calls have not returned, or another program runs,"
        " events are missed; before Linux 6.2 nothing counts them"
    ),
}
"""How BPF attaches, and what each way misses."""

_MODULE_WAYS = {
    "module": "with tracepoints and ftrace, which miss nothing, and kprobes",
    "kprobe": (
        "with kprobes, which miss what happens while another one runs, or too many"
        " calls have not returned"
    ),
}
"""How the module attaches, and what each way misses."""


def size(capture: Capture) -> str:
    """How many events a capture has."""
    kept = capture.contents.records
    return f"{kept:,} events ({capture.size / 1024:,.0f} KiB)"


def held(capture: Capture) -> list[str]:
    """
    What a capture has in the place of events, if its recorder keeps only what is held.
    """
    if capture.held is None:
        return []
    kept = sum(piece.records for piece in capture.summaries())
    return [
        f"Only what was still held is kept: {kept:,} events are here. Those of"
        f" {int(capture.freed()['count'].sum()):,} allocations that were freed are not:"
        " correlate --lifetimes sums them up."
    ]


def hooks(attached: Attached) -> str:
    """A sentence that says what events are taken from."""
    listed = ", ".join(attached.functions.values())
    module = attached.backend == KMOD
    if attached.attach == TRACEPOINT and attached.functions == TRACEPOINTS:
        by = "with the kernel module, " if module else ""
        said = f"page_owner is off: {by}from the tracepoints {listed}."
    elif module:
        said = (
            f"The kernel module listens to {listed}, {_MODULE_WAYS[attached.attach]}."
        )
    else:
        said = f"Attached to {listed}, {_WAYS[attached.attach]}."
    failed = "".join(f" {name}: {why}." for name, why in attached.failed.items())
    return said + failed

# SPDX-License-Identifier: GPL-2.0-or-later
"""
Recorders in a dump: the rings that were being written when the machine died, found
again and made a capture.

The module's are where its variable ``pagedbg_rings`` points to; without its symbols,
where a piece of vmalloc memory begins like them. BPF's are the values of maps that a
loaded program uses. Nothing is taken for a ring that does not begin with ``struct
pagedbg_header`` of ``bpf/ring.h``.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pagedbg.capture.backends.hooks import find_hooks
from pagedbg.capture.kernel_description import kernel_of, names_of
from pagedbg.capture.recovery.bpf_rings import find_bpf
from pagedbg.capture.recovery.kmod_rings import find_module
from pagedbg.capture.recovery.recovered_rings import RecoveredRecorder
from pagedbg.capture.writer import CaptureWriter
from pagedbg.errors import PagedbgError
from pagedbg.mm.sched_clock import known_local_clock
from pagedbg.schema import event_record
from pagedbg.schema.capture_meta import (
    Begun,
    Counts,
    Cpu,
    Ended,
    Kernel,
    Meta,
    Process,
    Recovered,
    Since,
    storable,
)
from pagedbg.schema.event_record import TRACEPOINTS
from pagedbg.target.links import UNREADABLE

if TYPE_CHECKING:
    from pagedbg.target.target import Target


def find_recorders(target: Target) -> tuple[list[RecoveredRecorder], list[str]]:
    """
    Find what was recording in a dump.

    :return: the recorders, and sentences on those whose rings cannot be used
    """
    found: list[RecoveredRecorder] = []
    said: list[str] = []
    for what, find in (
        ("The kernel module pagedbg", find_module),
        ("A recorder with BPF", find_bpf),
    ):
        try:
            for make in find(target, said):
                try:
                    found.append(make())
                except PagedbgError as error:
                    said.append(f"{what} was recording, but {error}.")
                except UNREADABLE as error:
                    said.append(
                        f"{what} was recording, but what it was cannot be read:"
                        f" {str(error).rstrip('.')}."
                    )
        except UNREADABLE as error:
            said.append(f"{what} cannot be looked for: {str(error).rstrip('.')}.")
    return found, said


def recover(
    target: Target, recorder: RecoveredRecorder, said: list[str], directory: Path
) -> None:
    """
    Write what is in a recorder's rings as a capture.

    :param said: what else there is to say of recorders in this dump
    :param directory: where to; must be empty
    """
    kernel = kernel_of(target)
    functions = find_hooks(target) if kernel["page_owner"] else TRACEPOINTS
    counters, known = recorder.counters
    filters = recorder.filters
    unreadable: list[str] = []
    names = names_of(target.prog, unreadable)
    if unreadable:
        said = [*said, f"The dump does not hold the names of {', '.join(unreadable)}."]
    try:
        meta = Meta(
            kernel=msgspec.convert(kernel, Kernel),
            backend=recorder.backend,
            attach=recorder.attach,
            functions=recorder.functions,
            failed={
                event: "nothing was attached"
                for event in functions
                if event not in recorder.functions
            },
            slots=recorder.slots,
            ring=True,
            filters=[Since(0, filter_) for filter_ in filters] or [Since(0, None)],
            begun=Begun(0, ""),
            names=names,
            recorder=Process(0, 0),
            recovered=Recovered(
                storable(target.name),
                bool(known.all() and filters),
                recorder.missed is not None,
                [*map(storable, said)],
            ),
            frozen=recorder.frozen,
            counts=Counts(missed=recorder.missed or 0, **event_record.summed(counters)),
        )
    except msgspec.ValidationError as error:
        raise PagedbgError(
            "what was recorded cannot be made out, since the dump contradicts itself"
            f" ({error})"
        ) from None
    assert meta.recovered is not None
    writer = CaptureWriter(directory)
    writer.begin(meta)
    with contextlib.closing(writer):
        latest = 0
        handles: set[int] = set()
        for _, ring in recorder.rings():
            kept = writer.append(ring.records)
            if kept < len(ring.records):
                raise OSError(errno.ENOSPC, writer.fault)
            counts = meta.counts
            meta.recovered.counters &= not ring.head_damaged
            counts.recorded += ring.newest
            counts.read += kept
            counts.lost += ring.overwritten
            counts.left_out += ring.left_out
            counts.damaged += ring.damaged
            counts.cpus.append(Cpu(ring.newest + 1, ring.overwritten, kept))
            latest = max(latest, int(ring.records["mono_nsec"].max(initial=0)))
            if not kernel["page_owner"]:
                handles.update(ring.records["handle"].tolist())
        meta.ended = Ended(
            latest,
            _crash_time(target),
            storable(f"with {target.name}"),
            known_local_clock(target.prog),
        )
        for handle in sorted(handles):
            if pcs := recorder.stack(handle):
                os.write(
                    writer.stacks,
                    json.dumps(
                        {"handle": handle, "stack": target.symbolize(pcs)}
                    ).encode()
                    + b"\n",
                )


def _crash_time(target: Target) -> str:
    """
    When the kernel died by its own clock, if it had the time to write that down
    (``crash_save_vmcoreinfo()``).
    """
    text = target.vmcoreinfo.get("CRASHTIME", "")
    if not re.fullmatch("[0-9]{1,11}", text):
        return ""
    return time.strftime("%Y-%m-%dT%H:%M:%S+0000", time.gmtime(int(text)))

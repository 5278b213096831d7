# SPDX-License-Identifier: GPL-2.0-or-later
"""The ways in which pagedbg watches allocations, for ``measure_trace.py``."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from trace_case import Case

from pagedbg.capture.backends.bpf import BpfBackend
from pagedbg.capture.backends.bpf_programs import (
    COMBINED,
    KPROBE,
    TRACEPOINT,
    TRAMPOLINE,
)
from pagedbg.capture.backends.kmod import KmodBackend
from pagedbg.schema import event_record
from pagedbg.schema.capture_meta import MODULE
from pagedbg.schema.filter_record import FILTER
from pagedbg.schema.freezing import UNFROZEN

KMOD = "kmod"

SMALL = 1 << 12  # slots of a ring that is not drained

# drgn and bcc cannot be in one process.
DESCRIBE = """
import dataclasses, json
from pagedbg.capture.backends.hooks import describe_kernel
from pagedbg.target.opening import open_target
print(json.dumps(dataclasses.asdict(describe_kernel(open_target()))))
"""


def describe() -> dict[str, Any]:
    described = subprocess.run(
        [sys.executable, "-c", DESCRIBE], stdout=subprocess.PIPE, check=True
    )
    return json.loads(described.stdout)  # type: ignore[no-any-return]


def filter_of(*orders: int, events: int = 0xFF) -> Any:
    made = np.zeros(1, FILTER)[0]
    made["threshold"][list(orders)] = 1 << 32
    made["events"] = events
    made["orders"] = max(orders, default=-1) + 1
    return made


@contextlib.contextmanager
def backend(
    kernel: dict[str, Any], filter_: Any, attach: str, slots: int = SMALL
) -> Iterator[BpfBackend | KmodBackend]:
    known = kernel["functions"], kernel["constants"], kernel["addresses"]
    options: Any = {"slots": slots, "filter_": filter_, "freeze_on": UNFROZEN}
    opened: BpfBackend | KmodBackend
    if attach == KMOD:
        opened = KmodBackend.load(*known, **options, attach=MODULE)
    else:
        opened = BpfBackend.load(
            *known, **options, attach=attach, untold=kernel["untold"]
        )
    try:
        yield opened
    finally:
        opened.close()


def ours(
    kernel: dict[str, Any], filter_: Any, attach: str
) -> Callable[[], contextlib.AbstractContextManager[None]]:
    @contextlib.contextmanager
    def start() -> Iterator[None]:
        with backend(kernel, filter_, attach):
            yield

    return start


def cases(kernel: dict[str, Any]) -> Iterator[Case]:
    if not kernel["page_owner"]:
        yield Case(
            "ours on tracepoints, filtered out", ours(kernel, filter_of(9), TRACEPOINT)
        )
        yield Case(
            "ours on tracepoints, recorded with a BPF stack id",
            ours(kernel, filter_of(*range(11)), TRACEPOINT),
        )
        return
    for attach in (COMBINED, TRACEPOINT, TRAMPOLINE, KPROBE, KMOD):
        by = {
            COMBINED: "",
            TRACEPOINT: " by tracepoints",
            TRAMPOLINE: " by trampolines",
            KPROBE: " by kprobes",
            KMOD: ", the module",
        }[attach]
        yield Case(
            f"ours{by}, filtered out: order 9 asked for",
            ours(kernel, filter_of(9), attach),
        )
        yield Case(
            f"ours{by}, filtered out: order 0 asked for",
            ours(kernel, filter_of(0), attach),
            (4,),
        )
        yield Case(
            f"ours{by}, allocations recorded",
            ours(kernel, filter_of(*range(11), events=1 << event_record.SET), attach),
        )
        yield Case(f"ours{by}, recorded", ours(kernel, filter_of(*range(11)), attach))

# SPDX-License-Identifier: GPL-2.0-or-later
"""Sentences on a capture that several commands say."""

from __future__ import annotations

from pagedbg.capture.backends.kmod import KMOD
from pagedbg.capture.directory import Capture
from pagedbg.schema import event_record
from pagedbg.schema.capture_meta import Attached


def size(capture: Capture) -> str:
    """How many events a capture has."""
    kept = capture.contents.records
    return f"{kept:,} events ({kept * event_record.RECORD.itemsize / 1024:,.0f} KiB)"


def hooks(attached: Attached) -> str:
    """A sentence that says what events are taken from."""
    listed = ", ".join(attached.functions.values())
    if "mm_page_free" in attached.functions.values():
        said = f"page_owner is off: from the tracepoints {listed}."
    elif attached.backend == KMOD:
        said = f"The kernel module has probes on {listed}."
    else:
        said = f"Attached with {attached.attach}s to {listed}."
    failed = "".join(f" {name}: {why}." for name, why in attached.failed.items())
    return said + failed

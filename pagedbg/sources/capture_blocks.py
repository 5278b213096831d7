# SPDX-License-Identifier: GPL-2.0-or-later
"""
What a capture from tracepoints knows of who holds pages: in place of page_owner's
records where it is off.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

import numpy as np

from pagedbg.analysis.correlation import correlate
from pagedbg.capture.directory import Capture
from pagedbg.schema.allocation import LIVE
from pagedbg.schema.blocks import Blocks
from pagedbg.session import Session
from pagedbg.sources.capture_names import Captured, what_is_missing
from pagedbg.sources.kernel_names import Lookup


def capture_blocks(capture: Capture) -> Blocks:
    """
    The allocations of a capture that were not seen to be freed, as blocks of pages.
    """
    allocations = correlate(capture.events()).allocations
    live = allocations[allocations["state"] == LIVE]
    return Blocks(
        live["pfn"].copy(),
        live["order"].copy(),
        live["held"].copy(),
        live,
        np.arange(len(live)),
    )


class CaptureLookup(Lookup):
    """
    Look-ups for these: stacks are the capture's, and so is the clock; zones and names
    the kernel's.
    """

    def __init__(self, session: Session, capture: Capture) -> None:
        # Not the superclass's: this kernel may have no stack depot at all.
        self.target = session.target
        self.prog = session.prog
        self.page_size = self.prog["PAGE_SIZE"].value_()
        self.notes = what_is_missing(capture)
        self.now = (
            time.monotonic_ns()
            if capture.meta.ended is None
            else capture.meta.ended.mono_ns
        )
        self.special = {}
        self._gfp = {}
        self._captured = Captured(session, capture)

    def stacks(self, handles: Iterable[int]) -> dict[int, list[str]]:
        """The stack of each handle as the kernel prints it, innermost frame first."""
        return {handle: self._captured.stack(handle) for handle in set(handles)}

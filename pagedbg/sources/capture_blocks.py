# SPDX-License-Identifier: GPL-2.0-or-later
"""
What a capture from tracepoints knows of who holds pages: in place of page_owner's
records where it is off.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

import numpy as np

from pagedbg.analysis.correlation_pieces import PiecewiseCorrelation
from pagedbg.capture.directory import Capture
from pagedbg.schema.allocation import LIVE
from pagedbg.schema.blocks import Blocks
from pagedbg.session import Session
from pagedbg.sources.capture_names import CaptureNames
from pagedbg.sources.held_pages import HeldPages
from pagedbg.sources.kernel_names import KernelNames


def capture_blocks(capture: Capture, held: HeldPages) -> Blocks:
    """
    The allocations of a capture that were not seen to be freed, as blocks of pages.

    :param held: what the pages say themselves
    """
    found = PiecewiseCorrelation(capture, looked=held)
    allocations = np.concatenate(list(found.rows(freed=False)))
    live = allocations[allocations["state"] == LIVE]
    return Blocks(
        live["pfn"].copy(),
        live["order"].copy(),
        live["held"].copy(),
        live,
        np.arange(len(live)),
    )


class CaptureStackNames(KernelNames):
    """
    The names for these blocks: their stacks are the capture's, and so is the clock;
    zones and words are the kernel's, which may have no stack depot at all.
    """

    def __init__(self, session: Session, capture: Capture) -> None:
        super().__init__(session)
        self.special = {}
        self.tagged = False
        self._captured = CaptureNames(capture, None)
        self.now = (
            time.monotonic_ns()
            if capture.meta.ended is None
            else capture.meta.ended.mono_ns
        )

    def stack(self, handle: int) -> list[str]:
        """Return the stack of a handle, innermost frame first."""
        return self._captured.stack(handle)

    def known_stack(self, handle: int) -> list[str]:
        """Return the stack of a handle; empty where it was not saved."""
        return self._captured.known_stack(handle)

    def stacks(self, handles: Iterable[int]) -> dict[int, list[str]]:
        """Return the stacks of many handles."""
        return self._captured.stacks(handles)

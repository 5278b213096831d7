# SPDX-License-Identifier: GPL-2.0-or-later
"""
What has stopped the rings, with the kernel's own report of it: as values, and as a
sentence.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time

from pagedbg.analysis.allocation_log import FAILURE, OOM_KILL
from pagedbg.capture.directory import Capture
from pagedbg.errors import PagedbgError
from pagedbg.mm.gfp import decode_gfp_mask, gfpflag_names
from pagedbg.mm.sched_clock import known_local_clock
from pagedbg.schema import freezing
from pagedbg.schema.freezing import Frozen
from pagedbg.schema.table import Row
from pagedbg.session import Session
from pagedbg.sources.failure_log import failures_of
from pagedbg.sources.same_boot import same_boot
from pagedbg.target.links import UNREADABLE

# How far a report may be from what it is of: where only CLOCK_MONOTONIC tells when that
# was, local_clock() is told from it to within a tick, or an idle CPU's sleep.
_NEAR_NS = 10**9

_KINDS = {
    freezing.FAILURE: FAILURE,
    freezing.QUIET_FAILURE: FAILURE,
    freezing.OOM_KILL: OOM_KILL,
}


@dataclasses.dataclass(frozen=True)
class FrozenRings:
    """
    What has stopped the rings, and when (``at`` by local_clock() in ns, 0 if that is
    not known); ``gfp`` are the flags in words. ``report`` is the number of the kernel's
    own report, and when it was logged; ``looked`` says whether its log could be read.
    """

    frozen: Frozen
    at: int
    gfp: str
    report: tuple[int, int] | None
    looked: bool

    @property
    def kind(self) -> str | None:
        """What it is called in the kernel's log; None if it is not known."""
        return _KINDS.get(self.frozen.reason)

    def row(self) -> Row:
        """The same as a row of :data:`~pagedbg.schema.explanation_columns.FROZEN`."""
        found = self.frozen
        if not found.reason:
            return (None,) * 7
        report = self.report[0] if self.report else None
        return (
            *(self.at or None, self.kind, found.order, self.gfp),
            *(found.pid, found.comm, report),
        )

    def sentence(self) -> str:
        """The same in words."""
        found = self.frozen
        if not found.reason:
            return "The rings are frozen: why had not been written down yet."
        if found.reason != freezing.OOM_KILL:
            what = f"an allocation of order {found.order} that failed ({self.gfp})"
        elif found.order < 0:
            what = "an OOM kill that was asked for"
        else:
            what = f"an OOM kill for an allocation of order {found.order} ({self.gfp})"
        since = f" since {self.at / 1e9:.6f} s" if self.at else ""
        return (
            f"The rings are frozen{since} by {what}, of {found.comm} ({found.pid})."
            f"{self._said()}"
        )

    def _said(self) -> str:
        if self.report is not None:
            number, ts_ns = self.report
            return (
                f" The kernel reported it at {ts_ns / 1e9:.6f} s: explain {number}"
                " takes that apart."
            )
        if self.frozen.reason == freezing.QUIET_FAILURE:
            return " The kernel says nothing of it (__GFP_NOWARN)."
        if self.looked:
            return " The kernel's log has no report of it: it limits their number."
        return ""


def frozen_capture(session: Session, capture: Capture) -> FrozenRings | None:
    """What has stopped the rings that a capture is of; None if nothing has."""
    frozen = capture.meta.frozen
    if frozen is None:
        return None
    at = frozen.time_ns or frozen.mono_ns
    if not frozen.time_ns and at and capture.page_owner:
        at = capture.clock_of(len(capture.summaries())).latest(frozen.mono_ns)
    return _looked_up(
        session if same_boot(session, capture) else None, frozen, at, capture.gfp_names
    )


def frozen_here(session: Session, frozen: Frozen) -> FrozenRings:
    """What has stopped rings of the running kernel."""
    at = frozen.time_ns
    if not at and (now := known_local_clock(session.prog)):
        at = now - (time.monotonic_ns() - frozen.mono_ns)
    return _looked_up(session, frozen, at, gfpflag_names(session.prog))


def _looked_up(
    session: Session | None,
    frozen: Frozen,
    at: int,
    gfp_names: tuple[tuple[int, str], ...],
) -> FrozenRings:
    """
    :param session: of the kernel that it is of; None if that is not open
    """
    reports = None
    kind = _KINDS.get(frozen.reason)
    if session is not None and session.target.has_kernel and kind is not None:
        with contextlib.suppress(PagedbgError, *UNREADABLE):
            reports = failures_of(session.prog, [])
    near = [
        (abs(report.ts_ns - at), number, report.ts_ns)
        for number, report in enumerate(reports or (), 1)
        if (report.kind, report.order, report.comm) == (kind, frozen.order, frozen.comm)
    ]
    distance, number, ts_ns = min(near, default=(_NEAR_NS + 1, 0, 0))
    return FrozenRings(
        frozen,
        at,
        decode_gfp_mask(gfp_names, frozen.gfp_mask),
        (number, ts_ns) if distance <= _NEAR_NS else None,
        reports is not None,
    )

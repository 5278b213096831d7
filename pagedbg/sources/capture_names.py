# SPDX-License-Identifier: GPL-2.0-or-later
"""
What the numbers in a capture's events stand for: from the capture itself, or from the
kernel that is open if it is the same.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pagedbg.analysis.names import Names
from pagedbg.capture.directory import Capture
from pagedbg.errors import PagedbgError
from pagedbg.mm.gfp import decode_gfp_mask
from pagedbg.schema import event_record
from pagedbg.schema.capture_meta import KMOD
from pagedbg.schema.loss import LossKind
from pagedbg.session import Session
from pagedbg.sources.kernel_names import kernel_names
from pagedbg.sources.same_boot import same_boot
from pagedbg.sources.stack_frames import StackNames

# Between a tracepoint and the program on it.
_TRACEPOINT_FRAMES = ("bpf_trace_run", "__bpf_trace_", "__traceiter_")

# What a command waits altogether for stacks that are being named, in seconds.
_PATIENCE = 20.0


def need_capture(session: Session) -> Capture:
    """
    Return the session's capture with all that was recorded up to now.

    :raises PagedbgError: if there is none
    """
    capture = session.refresh_capture()
    if capture is not None:
        return capture
    if session.snapshot is not None:
        raise PagedbgError(
            "a snapshot holds no recording: trace load DIR (or pagedbg --capture DIR)"
            " opens a capture."
        )
    recorders, said = session.recorders
    if recorders:
        raise PagedbgError(
            f"{len(recorders)} recorders were at work in {session.target.name}: trace"
            " recover lists them, and opens one."
        )
    need_still(session)
    if session.target.elsewhere:
        none = " ".join(said) or f"Nothing was recording in {session.target.name}."
        raise PagedbgError(
            f"{none} trace load DIR (or pagedbg --capture DIR) opens a capture."
        )
    raise PagedbgError(
        "there is no capture yet: trace start records one, trace load DIR (or pagedbg"
        " --capture DIR) opens one."
    )


def need_still(session: Session) -> None:
    """
    Check that what records in the target does not go on while it is read.

    :raises PagedbgError: if it is a guest that runs
    """
    if session.target.elsewhere and session.target.changes:
        raise PagedbgError(
            f"what records in {session.target.name} goes on while it is read: have the"
            " guest wait, with pagedbg --qemu SOCKET --pause."
        )


def need_followed_capture(session: Session) -> Capture:
    """
    Return the session's capture if its events come as they are recorded.

    :raises PagedbgError: if none is being recorded, or they do not
    """
    capture = need_capture(session)
    if not capture.at_work:
        raise PagedbgError(
            "no trace is running: trace start begins one, trace show lists what was"
            " recorded."
        )
    if capture.meta.held:
        raise PagedbgError(
            "this trace keeps only what is still held: trace show lists that, and a"
            " trace without --held can be followed."
        )
    if capture.meta.ring:
        raise PagedbgError(
            "this trace keeps its events in the rings until they are asked for: trace"
            " show asks."
        )
    return capture


class CaptureNames(StackNames):
    """
    The names of a capture, for one run of a command: what it has saved, and beyond that
    what the kernel knows that it is of.
    """

    no_clock = "the capture does not say what time it is. Leave --age out"

    def __init__(
        self, capture: Capture, kernel: Names | None, now: int | None = None
    ) -> None:
        """
        :param kernel: the names of the capture's own kernel, None if it is not open
        :param now: the time of now in the clock of the events, where it is not that of
            the kernel or the end of the capture
        """
        self.capture = capture
        self._kernel = kernel
        self._now = now
        self.recorder = capture.meta.recorder.pid or None
        self._reasons: Sequence[str] = capture.meta.names.migrate_reason
        self._functions = frozenset(capture.meta.functions.values())
        masks = {name: mask for mask, name in capture.gfp_names}
        self._movable, self._reclaimable = (
            masks.get("__GFP_MOVABLE", 0x8),
            masks.get("__GFP_RECLAIMABLE", 0x10),
        )

    @functools.cached_property
    def now(self) -> int | None:
        """
        The time of now in the clock of the events, or of the dump, or of the end of the
        capture; None if it is not known.
        """
        if self._now is not None:
            return self._now
        return self.capture.ended_at() if self._kernel is None else self._kernel.now

    def stack(self, handle: int) -> list[str]:
        """Return the stack of a handle, innermost frame first; empty for none."""
        found = self._found(handle)
        if found is not None:
            return found
        # Told by a recorder that may still be starting, on a busy machine.
        saved = "is not saved yet" if self.capture.at_work else "was not saved"
        return [f"(the stack {handle:#x} {saved})"]

    def known_stack(self, handle: int) -> list[str]:
        """Return the stack of a handle; empty for none, and for one that is lost."""
        return self._found(handle) or []

    @functools.cache  # noqa: B019 - lives as long as a command
    def _found(self, handle: int) -> list[str] | None:
        if not handle:
            return []
        found = self.capture.stack(handle)
        if found is None and self._kernel is not None:
            found = self._kernel.stack(handle)
        elif found is None and self.capture.at_work:
            found = self._awaited(handle)
        return None if found is None else self._without_tracing(found)

    @functools.cached_property
    def _deadline(self) -> float:
        return time.monotonic() + _PATIENCE

    def _awaited(self, handle: int) -> list[str] | None:
        """
        A stack that only the recorder can tell, and writes a moment after the event.
        """
        while (
            found := self.capture.stack(handle)
        ) is None and time.monotonic() < self._deadline:
            time.sleep(0.05)
        return found

    def _without_tracing(self, stack: list[str]) -> list[str]:
        """
        Leave out what tracing has put on top of a stack. A BPF trampoline calls the
        function, which thereby appears with it in the stack that the function takes; a
        program on a tracepoint that takes the stack itself is in it, with what has
        called it.
        """
        for index in range(min(len(stack), 4) - 1, -1, -1):
            function = stack[index].partition("+")[0]
            # 7.3 leaves the function out, so that the trampoline comes first: by name,
            # or by address where its name was not known any more.
            in_trampoline = (
                function in self._functions
                or function.startswith("bpf_trampoline_")
                or (index == 0 and function.startswith("0x"))
            )
            if (self.capture.meta.attach == "trampoline" and in_trampoline) or (
                not self.capture.page_owner and function.startswith(_TRACEPOINT_FRAMES)
            ):
                return stack[index + 1 :]
        return stack

    @property
    def migratetypes(self) -> Sequence[str]:
        """The names of the migratetypes, by number."""
        return self.capture.meta.names.migratetype

    @property
    def gfp_names(self) -> Sequence[tuple[int, str]]:
        """Masks of gfp flags and their names, in the kernel's order."""
        return self.capture.gfp_names

    @functools.cache  # noqa: B019
    def gfp(self, mask: int) -> str:
        """A gfp mask as the kernel writes it."""
        return decode_gfp_mask(self.capture.gfp_names, mask)

    @functools.cache  # noqa: B019
    def migratetype(self, mask: int) -> str:
        """
        The name of the migratetype that a gfp mask asks for (``gfp_migratetype()``).
        """
        number = (mask & (self._movable | self._reclaimable)) >> (
            self._movable.bit_length() - 1
        )
        names = self.migratetypes
        return names[number] if number < len(names) else str(number)

    def reason(self, number: int) -> str | None:
        """The name of a reason to migrate; None for never."""
        return self._reasons[number] if 0 <= number < len(self._reasons) else None

    def zones(self, pfns: NDArray[Any]) -> tuple[list[str], NDArray[Any]]:
        """
        Return the names of the zones, and the index of each page's as far as their
        spans tell, −1 if they do not.
        """
        spans = self.capture.meta.names.zones
        index: dict[str, int] = {}
        values = [index.setdefault(span.zone, len(index)) for span in spans]
        return list(index), self._of_spans(pfns, values)

    def nodes(self, pfns: NDArray[Any]) -> NDArray[Any]:
        """
        Return the NUMA node of each page as far as the spans of the zones tell, −1 if
        they do not.
        """
        return self._of_spans(
            pfns, [span.node for span in self.capture.meta.names.zones]
        )

    def _of_spans(self, pfns: NDArray[Any], values: Sequence[int]) -> NDArray[np.int64]:
        # Zones may lie interleaved, so the spans are gone through one after the other.
        distinct, which = np.unique(pfns, return_inverse=True)
        found = np.full(len(distinct), -1)
        for span, value in zip(self.capture.meta.names.zones, values, strict=True):
            first, end = np.searchsorted(
                distinct, np.array([span.start_pfn, span.end_pfn], distinct.dtype)
            )
            found[first:end] = value
        result: NDArray[np.int64] = found[which]
        return result


def names_of(session: Session, capture: Capture) -> CaptureNames:
    """
    Return what the numbers in a capture stand for: as it says itself, and beyond that
    the kernel that is open if it is known to be the same.
    """
    same = same_boot(session, capture)
    return CaptureNames(
        capture,
        # Without page_owner, handles are not of the kernel's stack depot.
        kernel_names(session) if same and capture.page_owner else None,
        time.monotonic_ns()
        if same and session.target.live and capture.clock == "monotonic"
        else None,
    )


def names_by_kernel(session: Session, capture: Capture) -> CaptureNames:
    """
    Return the same where a dump that is open was checked to be of the capture's kernel,
    by :func:`pagedbg.sources.same_boot.check_same_boot`.
    """
    target = session.target
    if not target.has_kernel or target.live or not capture.page_owner:
        return names_of(session, capture)
    return CaptureNames(capture, kernel_names(session))


def what_is_missing(capture: Capture) -> list[str]:
    """
    Sentences that say which events are not in a capture, and which are that should not.
    """
    said = [_SENTENCES[loss.kind](capture, loss.count or 0) for loss in capture.losses]
    if capture.meta.failed:
        said.append(f"Not attached: {', '.join(capture.meta.failed)}.")
    if recovered := capture.meta.recovered:
        if not recovered.counters:
            said.append(
                "What the CPUs counted is damaged or not in the dump: how many events"
                " are missing is not known."
            )
        if not recovered.missed:
            said.append("How many events the kernel missed could not be read.")
        said += recovered.said
    return said


def _overwritten(capture: Capture, count: int) -> str:
    if capture.meta.recovered and capture.meta.recovered.joined:
        return (
            f"{count} events are lost: they lie before or between what the recorder had"
            " written and what was still in the rings."
        )
    if capture.meta.recovered:
        return (
            f"{count} earlier events were overwritten in the rings; what a recorder had"
            " read by then is in its capture, as far as it has reached that machine's"
            " disk."
        )
    return f"{count} events were overwritten before they could be read."


def _missed(capture: Capture, count: int) -> str:
    if capture.meta.backend == KMOD:
        return (
            f"{count} events were missed by the kernel, whose probes do not run inside"
            " of each other."
        )
    return (
        f"{count} events were missed by the kernel, which runs no BPF program inside of"
        " itself."
    )


_SENTENCES: dict[LossKind, Callable[[Capture, int], str]] = {
    LossKind.OVERWRITTEN: _overwritten,
    LossKind.MISSED: _missed,
    LossKind.LEFT_OUT: lambda capture, count: (
        f"{count} events lie in pages that the dump left out."
    ),
    LossKind.RING_DAMAGED: lambda capture, count: (
        f"{count} events in the rings are damaged, or were just being written."
    ),
    LossKind.NO_ROOM: lambda capture, count: (
        f"{count} events found no room in the capture."
    ),
    LossKind.FORGOTTEN: lambda capture, count: (
        f"{count} splits were not remembered: frees of their pieces may be missing."
    ),
    LossKind.DAMAGED: lambda capture, count: f"{count} events in the file are damaged.",
    LossKind.GONE: lambda capture, count: (
        f"{count} events were written and are gone from the file: it was cut, or a disk"
        " has lost them."
    ),
    LossKind.REPEATED: lambda capture, count: (
        f"{count} events are in the file a second time, or out of order: they are left"
        " out."
    ),
    LossKind.UNCOUNTED: lambda capture, count: (
        f"{count} events are in the file that its recorder did not count."
    ),
    LossKind.KILLED: lambda capture, count: (
        "The recorder was killed: what it had not written yet is not here."
    ),
    LossKind.SILENCED: lambda capture, count: (
        f"Events may be missing without a count: {capture.meta.silenced}."
    ),
    LossKind.CONTRADICTED: lambda capture, count: (
        "What the recorder counted contradicts itself: how many events are missing is"
        " not known."
    ),
}


def event_names(numbers: Iterable[int]) -> list[str]:
    """Events as they are shown."""
    return [event_record.EVENT_NAMES.get(number, str(number)) for number in numbers]

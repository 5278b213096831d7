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
from drgn import FaultError
from numpy.typing import NDArray

from pagedbg.capture.backends.kmod import KMOD
from pagedbg.capture.directory import Capture
from pagedbg.errors import PagedbgError
from pagedbg.mm.gfp import decode_gfp_mask
from pagedbg.schema import event_record
from pagedbg.schema.loss import LossKind
from pagedbg.schema.owner_record import decode_comm
from pagedbg.session import Session
from pagedbg.sources.stack_frames import function_of, module_of

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
    recorders, said = session.recorders
    if recorders:
        raise PagedbgError(
            f"{len(recorders)} recorders were at work in {session.target.name}: trace"
            " recover lists them, and opens one."
        )
    if session.target.dump is not None:
        none = " ".join(said) or f"Nothing was recording in {session.target.name}."
        raise PagedbgError(
            f"{none} trace load DIR (or pagedbg --capture DIR) opens a capture."
        )
    raise PagedbgError(
        "there is no capture yet: trace start records one, trace load DIR (or pagedbg"
        " --capture DIR) opens one."
    )


class Captured:
    """Look-ups for a capture, for one run of a command."""

    def __init__(self, session: Session, capture: Capture) -> None:
        self.capture = capture
        self._session = session
        self._names: Sequence[str] = capture.meta.names.migratetype
        self._reasons: Sequence[str] = capture.meta.names.migrate_reason
        self._functions = frozenset(capture.meta.functions.values())
        masks = {name: mask for mask, name in capture.gfp_names}
        self._movable, self._reclaimable = (
            masks.get("__GFP_MOVABLE", 0x8),
            masks.get("__GFP_RECLAIMABLE", 0x10),
        )

    @functools.cached_property
    def same_boot(self) -> bool:
        """
        Whether the kernel that is open is known to be the one that the capture is of,
        in this boot of it.
        """
        session = self._session
        if self.capture is session.recovered:
            return True
        return (
            session.target.has_kernel
            and session.target.boot_id == self.capture.meta.kernel.boot_id != ""
        )

    @functools.cached_property
    def now(self) -> int | None:
        """
        The time of now in the clock of the events, or of the end of the capture; None
        if not known.
        """
        if (
            self.same_boot
            and self._session.target.live
            and self.capture.clock == "monotonic"
        ):
            return time.monotonic_ns()
        if self._lookup is not None:
            here: int | None = self._lookup.now
            return here
        return self.capture.ended_at()

    @functools.cached_property
    def _lookup(self) -> Any:
        from pagedbg.sources.kernel_names import Lookup

        try:
            return (
                Lookup(self._session)
                if self.same_boot and self.capture.page_owner
                else None
            )
        except (LookupError, FaultError):
            return None

    @functools.cache  # noqa: B019 - lives as long as a command
    def stack(self, handle: int) -> list[str]:
        """The stack of a handle, innermost frame first; empty for none."""
        if not handle:
            return []
        found = self.capture.stack(handle)
        if found is None and self._lookup is not None:
            found = self.kernel_stack(handle)
        elif found is None and self.capture.at_work:
            found = self._awaited(handle)
        return (
            [f"(the stack {handle:#x} was not saved)"]
            if found is None
            else self._without_tracing(found)
        )

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

    def kernel_stack(self, handle: int) -> list[str]:
        """
        The stack of a handle as the kernel that is open has it; empty if it has none.
        """
        stack: list[str] = (
            self._lookup.stack(handle) if self._lookup is not None else []
        )
        return stack

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

    def module(self, handle: int) -> str | None:
        """The module of the innermost frame that belongs to one."""
        return module_of(self.stack(handle))

    def function(self, handle: int) -> str | None:
        """The innermost function that is not the allocator's own."""
        return function_of(self.stack(handle))

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
        return self._names[number] if number < len(self._names) else str(number)

    def reason(self, number: int) -> str | None:
        """The name of a reason to migrate; None for never."""
        return self._reasons[number] if 0 <= number < len(self._reasons) else None

    def zones(
        self, pfns: NDArray[np.uint64]
    ) -> tuple[list[str | None], list[int | None]]:
        """The zone and the node of each page, as far as the spans of the zones tell."""
        names: NDArray[Any] = np.full(len(pfns), None, object)
        nodes: NDArray[Any] = np.full(len(pfns), None, object)
        for span in self.capture.meta.names.zones:
            inside = (pfns >= span.start_pfn) & (pfns < span.end_pfn)
            names[inside], nodes[inside] = span.zone, span.node
        return names.tolist(), nodes.tolist()

    @staticmethod
    def comm(words: NDArray[Any]) -> str:
        """The text of a ``comm``."""
        return decode_comm(words)


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

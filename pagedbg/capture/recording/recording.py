# SPDX-License-Identifier: GPL-2.0-or-later
"""Starting a recorder, and talking to it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pagedbg import trust
from pagedbg.capture.backends.bpf import BPF
from pagedbg.capture.backends.hooks import describe_kernel
from pagedbg.capture.backends.kmod import KMOD
from pagedbg.capture.kernel_description import kernel_of, names_of
from pagedbg.capture.recording.channel import Channel
from pagedbg.capture.recording.flight_recorder import FlightRecorder
from pagedbg.errors import PagedbgError, UsageError
from pagedbg.mm.sched_clock import known_local_clock
from pagedbg.schema.capture_meta import Attached
from pagedbg.schema.event_filter import EVERYTHING, EventFilter
from pagedbg.schema.event_record import RECORD, most_slots
from pagedbg.schema.freezing import UNFROZEN, FreezeOn

if TYPE_CHECKING:
    from pagedbg.target.target import Target

# Compiling under emulation, on a machine that is busy, takes its time, and a module
# more.
_PATIENCE, _BUILD_PATIENCE = 120.0, 960.0

# What the rings of all CPUs take together, unless slots are asked for, and what each
# has then (kmod/rings.c does the same); less only where memory is short.
_RING_MEMORY = 16 << 20
_FEWEST_SLOTS, _MOST_SLOTS = 4096, 16384
_LEAST_SLOTS = 64


@dataclasses.dataclass(frozen=True)
class Plan:
    """
    What to record, and for how long: ``filter`` is what is recorded, ``size`` is in
    bytes and ``duration`` in seconds, 0 for no limit. The first of
    ``backends`` that can be attached is; ``unusable`` says of which it is known that
    they cannot be, and why. ``ring`` is whether only what fits the rings is kept, and
    ``held`` whether only what is still held is. ``adopt`` is what records already and
    is to be taken over, ``freeze_on`` what stops the rings.
    """

    directory: Path | None = None
    filter: EventFilter = EVERYTHING
    size: int = 256 << 20
    duration: float = 0
    ring: bool = False
    held: bool = False
    slots: int = 0
    attach: str = "auto"
    backends: tuple[str, ...] = (BPF, KMOD)
    unusable: Mapping[str, str] = dataclasses.field(default_factory=dict)
    adopt: FlightRecorder | None = None
    freeze_on: FreezeOn = UNFROZEN


class Recording:
    """
    A recorder at work. ``directory`` is where it writes, ``temporary`` whether we chose
    that ourselves.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        channel: Channel,
        directory: Path,
        temporary: bool,
    ) -> None:
        self.directory = directory
        self.temporary = temporary
        self._process = process
        self._channel = channel

    @classmethod
    def start(cls, target: Target, plan: Plan) -> Recording:
        """
        Start a recorder, and return once it records.

        :raises PagedbgError: if it cannot, with the reason
        """
        directory = plan.directory
        if (
            directory is not None
            and directory.exists()
            and (not directory.is_dir() or any(directory.iterdir()))
        ):
            raise PagedbgError(
                f"{directory} is there already and not empty: a capture needs a"
                " directory of its own."
            )
        asked = _asked(target, plan)
        temporary = directory is None
        if directory is None:
            directory = Path(tempfile.mkdtemp(prefix="pagedbg-", dir="/var/tmp"))
        asked["directory"] = str(directory.absolute())
        recording = cls(*_spawn(), directory, temporary)
        try:
            recording._begin(asked)
        except BaseException:
            recording.abandon()
            if temporary:
                with contextlib.suppress(OSError):
                    directory.rmdir()
            raise
        return recording

    @classmethod
    def leave(cls, target: Target, plan: Plan) -> Attached:
        """
        Have events recorded by the kernel alone, until somebody takes it over.

        :return: what is attached
        :raises PagedbgError: if it cannot be, with the reason
        """
        recording = cls(*_spawn(), Path(), False)
        try:
            return msgspec.convert(
                recording._begin({**_asked(target, plan), "flight": True}), Attached
            )
        finally:
            recording.abandon()

    def _begin(self, asked: dict[str, Any]) -> dict[str, Any]:
        answer = self._ask(
            asked, _BUILD_PATIENCE if KMOD in asked["backends"] else _PATIENCE
        )
        if "error" in answer:
            raise PagedbgError(
                f"nothing can be attached: {answer['error'].rstrip('.')}."
            )
        return answer

    @property
    def running(self) -> bool:
        """
        Whether the recorder is still at it: it stops by itself when its time or room is
        used up.
        """
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """The recorder's process."""
        return self._process.pid

    def flush(self) -> dict[str, Any] | None:
        """
        Have everything up to now written; returns the recorder's counts and the
        capture's size, None if it has ended.
        """
        return self._request({"do": "flush"})

    def clear(self) -> None:
        """Have everything up to now forgotten."""
        self._request({"do": "clear"})

    def set_filter(self, filter_: EventFilter) -> None:
        """Put another filter in force."""
        self._request({"do": "filter", "filter": _plain(filter_)})

    def stop(self) -> None:
        """Detach, and have the capture finished; returns when it is."""
        with contextlib.suppress(_Ended):
            self._ask({"do": "stop"}, None)
        self._process.wait()
        self._channel.close()

    def abandon(self) -> None:
        """End the recorder, whatever it does."""
        self._channel.close()
        try:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def wait(self, patience: float) -> bool:
        """
        Wait until the recorder ends by itself, or for some seconds; returns whether it
        has ended.
        """
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(patience)
        return not self.running

    def _request(self, request: Mapping[str, Any]) -> dict[str, Any] | None:
        try:
            answer = self._ask(request, _PATIENCE)
        except _Ended:
            return None
        return None if "ended" in answer else answer

    def _ask(
        self, request: Mapping[str, Any], patience: float | None
    ) -> dict[str, Any]:
        self._channel.send(request)
        answer = None if self._channel.closed else self._channel.next(patience)
        if self._channel.closed and answer is None:
            raise _Ended(self._epitaph())
        if answer is None:
            raise PagedbgError(
                "the recorder does not answer: the machine is very busy, or it hangs."
                " trace stop ends it."
            )
        return answer

    def _epitaph(self) -> str:
        try:
            status = self._process.wait(5)
        except subprocess.TimeoutExpired:
            status = 0
        how = (
            f"signal {signal.Signals(-status).name}"
            if status < 0
            else f"status {status}"
        )
        return f"the recorder ended unexpectedly ({how})."


def _spawn() -> tuple[subprocess.Popen[bytes], Channel]:
    """Start the recorder's process."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            trust.python("pagedbg.capture.recording.recorder_process"),
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # Ctrl-C at the prompt is not for it.
            start_new_session=True,
            cwd="/",
            env=trust.environment(),
        )
    return process, Channel(ours)


class _Ended(PagedbgError):
    """The recorder is not there any more."""


def _slots(wanted: int, cpus: int) -> int:
    """
    How many slots the ring of a CPU is to have.

    :param wanted: what was asked for, or 0
    :raises UsageError: if that is more than the machine's memory has room for
    """
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    most = most_slots(cpus, memory)
    if wanted > most:
        raise UsageError(
            f"--slots: rings of {wanted} slots for {cpus} CPUs would take"
            f" {wanted * cpus * RECORD.itemsize >> 20:,} MiB, which is more than a"
            f" sixteenth of this machine's memory: {most} at most"
        )
    if wanted:
        return wanted
    slots = _RING_MEMORY // RECORD.itemsize // cpus
    slots = min(max(1 << slots.bit_length() - 1, _FEWEST_SLOTS), _MOST_SLOTS)
    # Unasked, no more than a quarter of what may be asked for.
    return max(min(slots, most_slots(cpus, memory // 4)), _LEAST_SLOTS)


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    return msgspec.to_builtins(value, str_keys=True)


def _asked(target: Target, plan: Plan) -> dict[str, Any]:
    """All that the recorder has to know of the kernel, in plain words."""
    prog = target.prog
    kernel = describe_kernel(target)
    slots = _slots(plan.slots, prog["nr_cpu_ids"].value_())
    return {
        "functions": kernel.functions,
        "constants": kernel.constants,
        "addresses": kernel.addresses,
        "untold": kernel.untold,
        "unknown": kernel.unknown,
        "attach": plan.attach,
        "backends": plan.backends,
        "unusable": plan.unusable,
        "adopt": plan.adopt is not None,
        "begun": _plain(plan.adopt.begun) if plan.adopt else None,
        "flight": False,
        "freeze_on": _plain(plan.freeze_on),
        "slots": slots,
        "filter": _plain(plan.adopt.filter if plan.adopt else plan.filter),
        "own": [os.getpid()],
        "size": plan.size,
        "duration": plan.duration,
        "ring": plan.ring,
        "held": plan.held,
        "local_ns": known_local_clock(prog) if kernel.page_owner else None,
        "kernel": kernel_of(target),
        "names": _plain(names_of(target.prog)),
    }

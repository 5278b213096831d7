# SPDX-License-Identifier: GPL-2.0-or-later
"""
The process that records: attaches a back end, drains its rings into a directory, and
detaches.

It is a process of its own so that nothing a prompt does holds it up (drgn keeps
Python's lock while it reads), and so that it can end well when the prompt does not.
:mod:`pagedbg.capture.recording.recording` starts it and talks to it through a socket on
its standard input: a JSON object a line, each answered with one. When the other end is
closed, it stops.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from pathlib import Path
from typing import Any

import msgspec
from numpy.typing import NDArray

from pagedbg.capture.backends.kmod import KMOD
from pagedbg.capture.recording import flight_recorder
from pagedbg.capture.recording.attaching import adopt, attach, leave
from pagedbg.capture.recording.channel import Channel
from pagedbg.capture.recording.sealing_feed import Rounds, SealingFeed
from pagedbg.capture.recording.stack_feed import StackFeed
from pagedbg.capture.rings import Ring
from pagedbg.capture.segments import FULL_HELD
from pagedbg.capture.this_boot import now, process_start
from pagedbg.capture.writer import CaptureWriter
from pagedbg.errors import PagedbgError
from pagedbg.schema import event_record
from pagedbg.schema.capture_meta import (
    Begun,
    Counts,
    Cpu,
    Ended,
    Kernel,
    Meta,
    Process,
    Since,
    storable,
)
from pagedbg.schema.event_filter import EventFilter
from pagedbg.schema.filter_record import pack, unpack
from pagedbg.schema.recorded_names import RecordedNames

# How long to wait between two looks at the rings, in seconds: less and less while they
# fill up.
_SHORTEST, _LONGEST = 0.002, 0.05
_META_EVERY = 2.0


class Recorder:
    """
    One recording, as ``start`` asked for it. :attr:`ended_by` says why it is over, None
    before that.
    """

    def __init__(self, asked: dict[str, Any]) -> None:
        """:raises PagedbgError: if nothing can be attached, or written"""
        self._asked = asked
        self._names = msgspec.convert(asked["names"], RecordedNames, str_keys=True)
        self._until = (
            time.monotonic() + asked["duration"] if asked["duration"] else None
        )
        self._limit: int = asked["size"]
        self._ring_only: bool = asked["ring"]
        self._held: bool = asked["held"]
        self._dropped = self._cleared = self._missed = 0
        self._interval = _SHORTEST
        self._meta_at = time.monotonic()
        self.ended_by: str | None = None
        self._writer = CaptureWriter(
            Path(asked["directory"]), FULL_HELD if self._held else None
        )
        self._stacks = StackFeed(self._writer.stacks)
        self._sealing = SealingFeed(self._writer.path, held=self._held)
        self._rounds = Rounds()
        try:
            self._backend = (
                adopt(asked["functions"], self._own)
                if asked["adopt"]
                else attach(asked, self._packed(asked["filter"]))
            )
            self._rings = self._backend.rings
            # By CPU, the number of the first record that was not cleared, where records
            # stay in the rings.
            self._first = [1] * len(self._rings)
            try:
                self._writer.begin(self._meta())
            except BaseException:
                self._let_go()
                raise
        except BaseException:
            self._stacks.abandon()
            self._sealing.abandon()
            self._writer.abandon()
            raise
        if self._backend.name == KMOD:
            # If this process is killed, the module stays.
            flight_recorder.note(
                KMOD, self._backend.attach, self._writer.meta.filters[-1].filter
            )
        self._stacks.begin(
            None if asked["kernel"]["page_owner"] else self._backend.stack
        )

    @property
    def _own(self) -> list[int]:
        """The processes that are left out of what is recorded."""
        return [os.getpid(), self._stacks.pid, self._sealing.pid, *self._asked["own"]]

    def _packed(self, filter_: dict[str, Any]) -> NDArray[Any]:
        """A filter that is asked for, with us left out."""
        packed = pack(msgspec.convert(filter_, EventFilter), self._names)
        own = self._own
        packed["own"][: len(own)] = own
        return packed

    def _in_force(self) -> EventFilter | None:
        """What was asked for or, where nobody has noted that, what is in the rings."""
        if self._asked["filter"] is not None:
            return msgspec.convert(self._asked["filter"], EventFilter)
        try:
            return unpack(self._backend.in_force, self._names)
        except ValueError:
            return None

    def _meta(self) -> Meta:
        asked, backend = self._asked, self._backend
        begun = (
            Begun(**asked["begun"])
            if asked["begun"]
            else Begun(**now(), local_ns=asked["local_ns"])
        )
        return Meta(
            kernel=msgspec.convert(asked["kernel"], Kernel),
            backend=backend.name,
            attach=backend.attach,
            functions=backend.functions,
            failed=backend.failed,
            slots=len(backend.rings[0].slots),
            ring=self._ring_only,
            held=self._held,
            filters=[Since(begun.mono_ns, self._in_force())],
            begun=begun,
            frozen=backend.frozen,
            counts=self._counts(),
            names=self._names,
            recorder=Process(os.getpid(), process_start(os.getpid())),
        )

    def _counts(self) -> Counts:
        cpus = self._backend.counts()
        return Counts(
            recorded=int(cpus["head"].sum()),
            read=sum(ring.read for ring in self._rings),
            lost=sum(ring.lost for ring in self._rings),
            dropped=self._dropped,
            cleared=self._cleared,
            missed=self._missed,
            cpus=[
                Cpu(ring.next, ring.lost, int(self._writer.written[cpu]))
                for cpu, ring in enumerate(self._rings)
            ],
            **event_record.summed(cpus),
        )

    # ---- its life ----

    @property
    def patience(self) -> float:
        """How long until :meth:`tick` should be called again, in seconds."""
        return self._interval

    def tick(self) -> None:
        """Do what is to be done from time to time."""
        if not self._ring_only:
            self._drain()
        if self._backend.frozen is not None:
            self.ended_by = self.ended_by or "frozen"
        if self._until is not None and time.monotonic() >= self._until:
            self.ended_by = self.ended_by or "duration"
        if time.monotonic() - self._meta_at > _META_EVERY:
            self.update_meta()
            self._writer.sync()
        if self._writer.fault is not None:
            self._end_by_fault()

    def _drain(self) -> None:
        fullest = 0.0
        self._backend.complete()
        for ring in self._rings:
            fullest = max(fullest, ring.waiting / len(ring.slots))
            for piece in ring.drain():
                self._write(piece)
        if fullest > 1 / 8:
            self._interval = max(self._interval / 2, _SHORTEST)
        elif fullest < 1 / 64:
            self._interval = min(self._interval * 2, _LONGEST)
        self._stacks.feed()
        self._pass_on()

    def _pass_on(self) -> None:
        """Have segments that are full made smaller."""
        full, may = self._writer.take_full(), self._rounds.end(self._writer.number)
        if full and self._sealing.revive():
            self._backend.leave_out(self._own)
        if not self._held:
            self._sealing.feed(full)
        elif may is not None:
            # What is folded is counted before: of its events no number is left.
            self._write_counts()
            self._sealing.fold(*may)

    def _write(self, piece: NDArray[Any]) -> None:
        whole = len(piece)
        if self._limit:
            piece = piece[
                : max(self._limit - self._writer.size, 0)
                // event_record.RECORD.itemsize
            ]
            if len(piece) < whole:
                self.ended_by = self.ended_by or "size"
        kept = self._writer.append(piece)
        if kept < len(piece):
            # A full disk: what is there stays.
            self._end_by_fault()
        self._dropped += whole - kept
        self._stacks.note(piece[:kept])

    def _end_by_fault(self) -> None:
        self.ended_by = self.ended_by or f"{self._writer.path}: {self._writer.fault}"

    def update_meta(self) -> None:
        """Write down what was counted so far."""
        self._missed = self._backend.missed()
        # Nothing counts what is not seen then. It may be on again when somebody looks.
        self._writer.meta.silenced = (
            self._writer.meta.silenced or self._backend.silenced()
        )
        self._write_counts()
        self._meta_at = time.monotonic()

    def _write_counts(self) -> None:
        self._writer.meta.counts = self._counts()
        self._writer.write_meta()

    def finish(self) -> None:
        """Detach, write what is left, and end the capture."""
        try:
            self._missed = self._backend.missed()
            self._writer.meta.frozen = self._backend.frozen
            self._backend.detach()
            # A program that was running on another CPU just then.
            time.sleep(0.01)
            self.flush()
            self._writer.meta.counts = self._counts()
        finally:
            self._let_go()
        self._stacks.close()
        self._writer.meta.ended = Ended(
            **now(), by=storable(self.ended_by or "unknown")
        )
        self._writer.close()
        self._sealing.close()

    def _let_go(self) -> None:
        # Memory of the module that somebody holds would keep it loaded.
        self._rings = []
        self._backend.close()
        if self._backend.name == KMOD or self._asked["adopt"]:
            flight_recorder.forget()

    # ---- what is asked of it ----

    def flush(self) -> None:
        """
        Write out all that was recorded up to now; of a recorder that only keeps its
        rings, what is in them.
        """
        if self._ring_only:
            self._begin_again()
            self._forget()
        self._drain()

    def _begin_again(self) -> None:
        """Read the rings from their oldest record on, but for what was cleared."""
        self._rings = [
            Ring(ring.slots, ring.head, first)
            for ring, first in zip(self._backend.rings, self._first, strict=True)
        ]

    def set_filter(self, filter_: dict[str, Any]) -> None:
        """Put another filter in force."""
        self._backend.set_filter(self._packed(filter_))
        self._writer.meta.filters.append(
            Since(time.monotonic_ns(), msgspec.convert(filter_, EventFilter))
        )

    def clear(self) -> None:
        """Forget all events up to now."""
        self._drain()
        if self._ring_only:
            self._first = [ring.next for ring in self._rings]
            self._begin_again()
            self._forget()
        else:
            self._cleared += self._forget()

    def _forget(self) -> int:
        count = self._writer.forget()
        self._write_counts()
        self._writer.clear()
        if self._held:
            self._sealing.forget()
        return count

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what a request asks, and return the answer."""
        match request["do"]:
            case "flush":
                self.flush()
            case "clear":
                self.clear()
            case "filter":
                self.set_filter(request["filter"])
            case "stop":
                self.ended_by = "stop"
        self.update_meta()
        return {"size": self._writer.size}


def _outlive() -> None:
    """
    A machine that runs out of memory is what this is for: others are ended before it.
    """
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("-900")


_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


def _give_up(number: int, frame: object) -> None:
    """What was attached so far is detached on the way out."""
    raise SystemExit(1)


def main() -> int:
    """Record until told to stop."""
    channel = Channel(socket.socket(fileno=0))
    asked = channel.next(None)
    if asked is None:
        return 1
    for number in _SIGNALS:
        signal.signal(number, _give_up)
    _outlive()
    try:
        if asked["flight"]:
            channel.send(leave(asked))
            return 0
        recorder = Recorder(asked)
    except PagedbgError as error:
        channel.send({"error": str(error)})
        return 1

    def on_signal(number: int, frame: object) -> None:
        recorder.ended_by = recorder.ended_by or signal.Signals(number).name

    for number in _SIGNALS:
        signal.signal(number, on_signal)
    try:
        channel.send({"attached": True})
        while recorder.ended_by is None:
            request = channel.next(recorder.patience)
            if channel.closed:
                recorder.ended_by = "prompt gone"
            elif request is not None:
                # The answer to "stop" comes when all is written.
                answer = recorder.answer(request)
                if recorder.ended_by is None:
                    channel.send(answer)
            recorder.tick()
    finally:
        recorder.finish()
    channel.send({"ended": recorder.ended_by})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

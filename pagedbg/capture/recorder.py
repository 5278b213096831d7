# SPDX-License-Identifier: GPL-2.0-or-later
"""
The process that records: attaches a back end, drains its rings into a directory, and detaches.

It is a process of its own so that nothing a prompt does holds it up (drgn keeps Python's lock while it reads), and so that it can end well
when the prompt does not. :mod:`pagedbg.capture.control` starts it and talks to it through a socket on its standard input: a JSON object a
line, each answered with one. When the other end is closed, it stops.
"""

from __future__ import annotations

import base64
import json
import os
import select
import signal
import socket
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pagedbg.capture import layout, left
from pagedbg.capture.backend import Backend
from pagedbg.capture.bpf import BPF, KPROBE, TRACEPOINT, TRAMPOLINE, BpfBackend
from pagedbg.capture.directory import STACKS, CaptureWriter, now, process_start
from pagedbg.capture.kmod import KMOD, MODULE, KmodBackend
from pagedbg.capture.rings import Ring
from pagedbg.capture.stacks import StackFeed
from pagedbg.errors import PagedbgError

# How long to wait between two looks at the rings, in seconds: less and less while they fill up.
_SHORTEST, _LONGEST = 0.002, 0.05
_META_EVERY = 2.0


class Recorder:
    """One recording, as ``start`` asked for it. :attr:`ended_by` says why it is over, None before that."""

    def __init__(self, asked: dict[str, Any]) -> None:
        """:raises PagedbgError: if nothing can be attached, or written"""
        self._asked = asked
        self._filter = _decode(asked["filter"])
        self._stacks = StackFeed()
        self._own = [os.getpid(), self._stacks.pid, *asked["own"]]
        self._until = time.monotonic() + asked["duration"] if asked["duration"] else None
        self._limit: int = asked["size"]
        self._ring_only: bool = asked["ring"]
        self._dropped = self._cleared = self._missed = 0
        self._interval = _SHORTEST
        self._meta_at = time.monotonic()
        self.ended_by: str | None = None
        self._backend = self._adopt() if asked["adopt"] else attach(asked, self._own_left_out())
        self._rings = self._backend.rings
        try:
            self._open()
        except BaseException:
            self._let_go()
            raise

    def _open(self) -> None:
        asked = self._asked
        self._writer = CaptureWriter(Path(asked["directory"]), self._meta())
        if self._backend.name == KMOD:
            # If this process is killed, the module stays.
            left.note(KMOD, MODULE, asked["words"])
        self._stacks.open(self._writer.path / STACKS, None if asked["kernel"]["page_owner"] else self._backend.stack)

    def _adopt(self) -> Backend:
        """Take over what goes on recording by itself."""
        found = left.find()
        if found is None:
            raise PagedbgError("nothing records by itself: trace start --flight has something do so")
        functions = self._asked["functions"]
        backend: Backend = KmodBackend.adopt(functions) if found["backend"] == KMOD else BpfBackend.adopt(found["attach"])
        backend.leave_out(self._own)
        return backend

    def _own_left_out(self) -> NDArray[Any]:
        self._filter["own"][: len(self._own)] = self._own
        return self._filter

    def _meta(self) -> dict[str, Any]:
        asked, backend, moment = self._asked, self._backend, now()
        begun = asked["begun"] or moment
        return {
            "record_size": layout.RECORD.itemsize,
            "kernel": asked["kernel"],
            "backend": backend.name,
            "attach": backend.attach,
            "functions": backend.functions,
            "failed": backend.failed,
            "slots": len(backend.rings[0].slots),
            "ring": self._ring_only,
            "filters": [{"since_ns": begun["mono_ns"], "filter": asked["words"]}],
            "begun": {**begun, "local_ns": asked["local_ns"] if begun is moment else None},
            "ended": None,
            "counts": self._counts(),
            "names": asked["names"],
            "recorder": {"pid": os.getpid(), "started": process_start(os.getpid())},
        }

    def _counts(self) -> dict[str, Any]:
        cpus = self._backend.counts()
        return {
            "recorded": int(cpus["head"].sum()),
            "read": sum(ring.read for ring in self._rings),
            "lost": sum(ring.lost for ring in self._rings),
            "dropped": self._dropped,
            "cleared": self._cleared,
            "missed": self._missed,
            **layout.summed(cpus),
        }

    # ---- its life ----

    @property
    def patience(self) -> float:
        """How long until :meth:`tick` should be called again, in seconds."""
        return self._interval

    def tick(self) -> None:
        """Do what is to be done from time to time."""
        if not self._ring_only:
            self._drain()
        if self._until is not None and time.monotonic() >= self._until:
            self.ended_by = self.ended_by or "duration"
        if time.monotonic() - self._meta_at > _META_EVERY:
            self.update_meta()

    def _drain(self) -> None:
        fullest = 0.0
        for ring in self._rings:
            fullest = max(fullest, ring.waiting / len(ring.slots))
            for piece in ring.drain():
                self._write(piece)
        if fullest > 1 / 8:
            self._interval = max(self._interval / 2, _SHORTEST)
        elif fullest < 1 / 64:
            self._interval = min(self._interval * 2, _LONGEST)
        self._stacks.feed()

    def _write(self, piece: NDArray[Any]) -> None:
        whole = len(piece)
        if self._limit:
            piece = piece[: max(self._limit - self._writer.size, 0) // layout.RECORD.itemsize]
            if len(piece) < whole:
                self.ended_by = self.ended_by or "size"
        try:
            self._writer.append(piece)
        except OSError as error:
            # A full disk: what is there stays.
            piece = piece[:0]
            self.ended_by = f"{self._writer.path}: {error.strerror}"
        self._dropped += whole - len(piece)
        self._stacks.note(piece)

    def update_meta(self) -> None:
        """Write down what was counted so far."""
        self._missed = self._backend.missed()
        self._writer.meta["counts"] = self._counts()
        self._writer.write_meta()
        self._meta_at = time.monotonic()

    def finish(self) -> None:
        """Detach, write what is left, and end the capture."""
        try:
            self._missed = self._backend.missed()
            self._backend.detach()
            # A program that was running on another CPU just then.
            time.sleep(0.01)
            self.flush()
            self._writer.meta["counts"] = self._counts()
        finally:
            self._let_go()
        self._stacks.close()
        self._writer.meta["ended"] = {**now(), "by": self.ended_by}
        self._writer.close()

    def _let_go(self) -> None:
        # Memory of the module that somebody holds would keep it loaded.
        self._rings = []
        self._backend.close()
        if self._backend.name == KMOD or self._asked["adopt"]:
            left.forget()

    # ---- what is asked of it ----

    def flush(self) -> None:
        """Write out all that was recorded up to now; of a recorder that only keeps its rings, what is in them."""
        if self._ring_only:
            self._writer.clear()
            self._rings = [Ring(ring.slots, ring.head) for ring in self._backend.rings]
        self._drain()

    def set_filter(self, filter_: str, words: str) -> None:
        """Put another filter in force."""
        self._filter = _decode(filter_)
        self._backend.set_filter(self._own_left_out())
        self._writer.meta["filters"].append({"since_ns": time.monotonic_ns(), "filter": words})

    def clear(self) -> None:
        """Forget all events up to now."""
        self._drain()
        self._cleared += self._writer.size // layout.RECORD.itemsize
        self._writer.clear()

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what a request asks, and return the answer."""
        match request["do"]:
            case "flush":
                self.flush()
            case "clear":
                self.clear()
            case "filter":
                self.set_filter(request["filter"], request["words"])
            case "stop":
                self.ended_by = "stop"
        self.update_meta()
        return {"counts": self._writer.meta["counts"], "size": self._writer.size}


def attach(asked: dict[str, Any], filter_: NDArray[Any]) -> Backend:
    """
    Attach the first back end that can be, in one of its ways, of those that are asked for.

    :raises PagedbgError: if none can, with all reasons
    """
    known = asked["functions"], asked["constants"], asked["addresses"]
    reasons: dict[str, list[str]] = {}
    for backend, way in _ways(asked):
        try:
            if backend in asked["unusable"]:
                raise PagedbgError(asked["unusable"][backend])
            if backend == KMOD:
                return KmodBackend.load(*known, slots=asked["slots"], filter_=filter_)
            return BpfBackend.load(*known, slots=asked["slots"], attach=way, filter_=filter_)
        except PagedbgError as error:
            # What one way lacks others may lack, too.
            why = str(error).rstrip(".")
            if why not in reasons.setdefault(backend, []):
                reasons[backend].append(why)
    raise PagedbgError(
        "; ".join(f"{backend}: {'; '.join(why)}" if len(reasons) > 1 else "; ".join(why) for backend, why in reasons.items())
    )


def _ways(asked: dict[str, Any]) -> list[tuple[str, str]]:
    if not asked["kernel"]["page_owner"]:
        if asked["attach"] not in ("auto", TRACEPOINT) or BPF not in asked["backends"]:
            raise PagedbgError("page_owner is off, so that there are only tracepoints: leave --attach and --backend out")
        return [(BPF, TRACEPOINT)]
    ways = {BPF: [TRAMPOLINE, KPROBE] if asked["attach"] == "auto" else [asked["attach"]], KMOD: [MODULE]}
    return [(backend, way) for backend in asked["backends"] for way in ways[backend]]


def leave(asked: dict[str, Any]) -> dict[str, Any]:
    """
    Have events recorded with nobody to drain the rings.

    :return: what is attached, as in a capture's ``meta.json``
    :raises PagedbgError: if that cannot be, with the reason
    """
    if left.find() is not None:
        raise PagedbgError("something records by itself already: trace attach takes it over")
    backend = attach(asked, _decode(asked["filter"]))
    if isinstance(backend, BpfBackend):
        try:
            backend.pin()
        except BaseException:
            backend.close()
            raise
    left.note(backend.name, backend.attach, asked["words"])
    return {"backend": backend.name, "attach": backend.attach, "functions": backend.functions, "failed": backend.failed}


def _decode(filter_: str) -> NDArray[Any]:
    return np.frombuffer(base64.b64decode(filter_), layout.FILTER).reshape(()).copy()


class _Lines:
    """Lines of JSON over a socket, read without waiting longer than asked."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._buffer = b""
        self.closed = False

    def next(self, patience: float | None) -> dict[str, Any] | None:
        """The next object; None if there was none in time, or there will be none any more."""
        while b"\n" not in self._buffer:
            if self.closed or not select.select([self._connection], [], [], patience)[0]:
                return None
            data = self._connection.recv(1 << 16)
            self.closed = not data
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        request: dict[str, Any] = json.loads(line)
        return request

    def send(self, answer: dict[str, Any]) -> None:
        try:
            self._connection.sendall(json.dumps(answer).encode() + b"\n")
        except OSError:
            self.closed = True


_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


def _give_up(number: int, frame: object) -> None:
    """What was attached so far is detached on the way out."""
    raise SystemExit(1)


def main() -> int:
    """Record until told to stop."""
    connection = socket.socket(fileno=0)
    lines = _Lines(connection)
    asked = lines.next(None)
    if asked is None:
        return 1
    for number in _SIGNALS:
        signal.signal(number, _give_up)
    try:
        if asked["flight"]:
            lines.send(leave(asked))
            return 0
        recorder = Recorder(asked)
    except PagedbgError as error:
        lines.send({"error": str(error)})
        return 1

    def on_signal(number: int, frame: object) -> None:
        recorder.ended_by = recorder.ended_by or signal.Signals(number).name

    for number in _SIGNALS:
        signal.signal(number, on_signal)
    try:
        lines.send({"attached": True})
        while recorder.ended_by is None:
            request = lines.next(recorder.patience)
            if lines.closed:
                recorder.ended_by = "prompt gone"
            elif request is not None:
                # The answer to "stop" comes when all is written.
                answer = recorder.answer(request)
                if recorder.ended_by is None:
                    lines.send(answer)
            recorder.tick()
    finally:
        recorder.finish()
    lines.send({"ended": recorder.ended_by})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

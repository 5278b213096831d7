# SPDX-License-Identifier: GPL-2.0-or-later
"""
A capture on disk: written by the recorder, read by anybody, with or without a kernel
behind it. ``contrib/capture-format.md`` says what is in which file.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pagedbg.capture.event_clock import EventClock
from pagedbg.capture.events import Contents, read_events
from pagedbg.capture.files import Folder
from pagedbg.capture.losses import losses_of
from pagedbg.capture.memory_room import lacking_room
from pagedbg.capture.numpy_file import records_in
from pagedbg.capture.this_boot import boot_id, process_start
from pagedbg.errors import PagedbgError
from pagedbg.schema import capture_meta
from pagedbg.schema.capture_meta import Meta
from pagedbg.schema.event_record import RECORD
from pagedbg.schema.loss import Loss
from pagedbg.schema.recorded_names import Handle

META, EVENTS, STACKS, PAGES = "meta.json", "events.bin", "stacks.jsonl", "pages.npy"

META_SYNCED = "meta.json.synced"
"""
What ``meta.json`` said when all that it counts was on the disk: for a machine
that lost its power.
"""

# A stack has 127 frames at most (of a BPF program), and a symbol's name 512 bytes.
_MOST_LINE = 1 << 16
_Frame = Annotated[str, msgspec.Meta(max_length=1024)]

# Some 700 bytes each, of a million of them.
_MOST_STACKS = 1 << 30


class CaptureError(PagedbgError):
    """A directory that is no capture, or one that cannot be read."""


class _Stack(msgspec.Struct):
    """A line of ``stacks.jsonl``."""

    handle: Handle
    stack: Annotated[list[_Frame], msgspec.Meta(max_length=256)]


_stack_of = msgspec.json.Decoder(_Stack).decode


class Capture:
    """
    A capture.

    ``meta`` is its ``meta.json``. ``clock`` says what its times are:
    ``"local"`` are ``local_clock()``'s, as page_owner's are, and ``"monotonic"`` are
    CLOCK_MONOTONIC's.
    """

    def __init__(self, path: Path | str) -> None:
        """:raises CaptureError: if there is no capture"""
        self.path = Path(path)
        self.meta = self._read_meta()
        self._contents: Contents | None = None
        self._events: NDArray[Any] | None = None
        self._clock: EventClock | None = None
        self._stacks_at: dict[int, tuple[int, int]] = {}
        self._stacks_end = 0

    def _folder(self) -> Folder:
        try:
            return Folder(self.path)
        except OSError as error:
            raise CaptureError(
                f"{self.path} is no capture of pagedbg: {error.strerror}."
            ) from None

    def _read_meta(self) -> Meta:
        with self._folder() as folder:
            try:
                return self._decoded(folder, META)
            except CaptureError:
                # After a power cut the newest may be empty, and the one before is
                # whole.
                for name in (META_SYNCED, META + ".new"):
                    with contextlib.suppress(CaptureError):
                        return self._decoded(folder, name)
                raise

    def _decoded(self, folder: Folder, name: str) -> Meta:
        try:
            return capture_meta.decode(folder.read(name, capture_meta.MOST_BYTES))
        except OSError as error:
            why = (
                error.strerror
                if isinstance(error, FileNotFoundError)
                else f"{name} {error.strerror}"
            )
            raise CaptureError(
                f"{self.path} is no capture of pagedbg: {why}."
            ) from None
        except capture_meta.MetaError as error:
            raise CaptureError(f"{self.path} {error}.") from None

    @property
    def page_owner(self) -> bool:
        """
        Whether events carry page_owner's records; else they come from tracepoints.
        """
        return self.meta.kernel.page_owner

    @property
    def clock(self) -> str:
        """What the times of the events are."""
        return "local" if self.page_owner else "monotonic"

    @property
    def recording(self) -> bool:
        """
        Whether its recorder is at work (or was killed at it: see :attr:`abandoned`).
        """
        return self.meta.ended is None

    @property
    def abandoned(self) -> bool:
        """
        Whether the recorder ended without a word: what it had not drained yet is not
        here.
        """
        if not self.recording:
            return False
        with contextlib.suppress(OSError):
            return (
                self.meta.kernel.boot_id != boot_id()
                or process_start(self.meta.recorder.pid) != self.meta.recorder.started
            )
        return True

    @property
    def at_work(self) -> bool:
        """Whether its recorder is there, and may write more."""
        return self.recording and not self.abandoned

    # ---- events ----

    @property
    def losses(self) -> list[Loss]:
        """
        What should be here and is not: by its own account, and by what is really in its
        file.
        """
        return losses_of(self.meta, self.contents, abandoned=self.abandoned)

    @property
    def contents(self) -> Contents:
        """What there is in the file of events, by CPU, and what is wrong with it."""
        if self._contents is None:
            self._read_events(keep=False)
        assert self._contents is not None
        return self._contents

    def events(self) -> NDArray[Any]:
        """
        All events, in the order of their times where these are known.

        Of one CPU they are in the order in which they happened, whatever their times
        say (a record's time is taken when page_owner begins).
        """
        if self._events is None:
            records = self._read_events(keep=True)
            # By what was measured: in_order() fills in what was not.
            self._clock = EventClock(records, self.meta.begun)
            self._events = self._in_order(records, self._clock)
        return self._events

    def reload(self) -> None:
        """Forget what was read: the recorder has written more."""
        self.meta = self._read_meta()
        self._events = self._contents = self._clock = None

    def _read_events(self, *, keep: bool) -> NDArray[Any]:
        """Read all of the file; what is not kept is only counted."""
        # Of a recorder that is at work nobody knows yet what it will say of the newest.
        live = self.at_work
        self._contents = (
            Contents()
            if live
            else Contents.of([cpu.next for cpu in self.meta.counts.cpus])
        )
        kept: list[NDArray[Any]] = []
        with self._opened(EVENTS) as descriptor:
            if keep and (lacking := lacking_room(os.fstat(descriptor))):
                raise CaptureError(f"{self.path / EVENTS} {lacking}")
            kept.extend(
                piece
                for piece in read_events(descriptor, 0, self._contents, whole=not live)
                if keep
            )
        return np.concatenate(kept) if kept else np.zeros(0, RECORD)

    def counted(self) -> Iterator[NDArray[Any]]:
        """
        Iterate over the events, in the order in which they were written; of one that is
        being recorded, those that :attr:`meta` counts.
        """
        live = self.at_work
        contents = Contents.of([cpu.next for cpu in self.meta.counts.cpus])
        with self._opened(EVENTS) as descriptor:
            for piece in read_events(descriptor, 0, contents, whole=not live):
                yield (
                    piece[piece["seq"] < contents.next[piece["cpu"]]] if live else piece
                )

    def size_now(self) -> int:
        """How many bytes of events there are by now."""
        with self._opened(EVENTS) as descriptor:
            return os.fstat(descriptor).st_size

    def read_from(self, at: int) -> tuple[NDArray[Any], int]:
        """
        Read the events that were written behind a place in the file, in the order in
        which they were written.

        :return: the events, and the place behind them
        """
        contents = Contents()
        with self._opened(EVENTS) as descriptor:
            kept = list(read_events(descriptor, at, contents, whole=not self.at_work))
        return (
            np.concatenate(kept) if kept else np.zeros(0, RECORD)
        ), at + contents.bytes

    @contextlib.contextmanager
    def _opened(self, name: str) -> Iterator[int]:
        with self._folder() as folder:
            try:
                with folder.opened(name) as descriptor:
                    yield descriptor
            except OSError as error:
                raise CaptureError(f"{self.path / name}: {error.strerror}.") from None

    def in_order(self, records: NDArray[Any]) -> NDArray[Any]:
        """
        Events in the order in which they happened, ``time_nsec`` of all of them in the
        clock of :attr:`clock` (0: not known).
        """
        return self._in_order(records, EventClock(records, self.meta.begun))

    def _in_order(self, records: NDArray[Any], clock: EventClock) -> NDArray[Any]:
        records = records[np.lexsort((records["seq"], records["cpu"]))]
        times = self._times(records, clock)
        records["time_nsec"] = np.maximum(times, 0)
        # No event of a CPU before one with a lower number: nested allocations are
        # recorded before the one that they belong to.
        for cpu in np.unique(records["cpu"]).tolist():
            of_cpu = slice(*np.searchsorted(records["cpu"], (cpu, cpu + 1)))
            times[of_cpu] = np.maximum.accumulate(times[of_cpu])
        return records[np.argsort(times, kind="stable")]

    def times(self, records: NDArray[Any]) -> NDArray[np.int64]:
        """
        When each event happened, in nanoseconds of :attr:`clock`; −1 if that is not
        known.
        """
        return self._times(records, EventClock(records, self.meta.begun))

    def _times(self, records: NDArray[Any], clock: EventClock) -> NDArray[np.int64]:
        if self.page_owner:
            return clock.times(records)
        times = records["time_nsec"].astype(np.int64)
        mono = records["mono_nsec"].astype(np.int64)
        return np.where(times > 0, times, np.where(mono > 0, mono, -1))

    def ended_at(self) -> int | None:
        """
        When the capture ended, in nanoseconds of :attr:`clock`; None if it has not.
        """
        ended = self.meta.ended
        if ended is None:
            return None
        if not self.page_owner:
            return ended.mono_ns
        if ended.local_ns:
            return ended.local_ns
        self.events()
        assert self._clock is not None
        return self._clock.latest(ended.mono_ns)

    # ---- names ----

    def stack(self, handle: int) -> list[str] | None:
        """
        The stack of a handle, innermost frame first; None if it was not saved.

        :raises CaptureError: if the file of stacks is larger than it can be
        """
        if handle not in self._stacks_at:
            self._find_stacks()
        if handle not in self._stacks_at:
            return None
        at, size = self._stacks_at[handle]
        with self._opened(STACKS) as descriptor:
            return _stack_of(os.pread(descriptor, size, at)).stack

    def stacks(self) -> Iterator[tuple[int, list[str]]]:
        """Iterate over the stacks that were saved, by handle."""
        self._find_stacks()
        for handle in self._stacks_at:
            yield handle, self.stack(handle) or []

    def _find_stacks(self) -> None:
        """Find out where the stacks are that were written since."""
        with self._opened(STACKS) as descriptor, open(os.dup(descriptor), "rb") as file:
            size = os.fstat(descriptor).st_size
            if size > _MOST_STACKS:
                raise CaptureError(
                    f"{self.path / STACKS} has {size} bytes, which is more than it can"
                    " need: --no-stack does without."
                )
            file.seek(self._stacks_end)
            while line := file.readline(_MOST_LINE):
                whole = line.endswith(b"\n")
                if not whole and len(line) < _MOST_LINE:
                    break
                if whole:
                    with contextlib.suppress(
                        msgspec.DecodeError, UnicodeDecodeError, RecursionError
                    ):
                        self._stacks_at[_stack_of(line).handle] = (
                            self._stacks_end,
                            len(line),
                        )
                self._stacks_end += len(line)

    @property
    def special_handles(self) -> dict[int, str]:
        """``dummy``, ``failure`` and ``early`` by handle."""
        return self.meta.names.special_handles

    @functools.cached_property
    def gfp_names(self) -> tuple[tuple[int, str], ...]:
        """Bits of gfp masks and their names, in the kernel's order."""
        return tuple(self.meta.names.gfp)

    @property
    def page_size(self) -> int:
        """Bytes in a page."""
        return self.meta.kernel.page_size

    def pages(self, record: np.dtype[Any]) -> NDArray[Any] | None:
        """
        The records of captured pages as they were when the capture was saved
        (``pages.npy``); None if they were not.

        :param record: what an element has to be
        :raises CaptureError: if the file is damaged
        """
        with self._folder() as folder:
            try:
                descriptor = folder.open(PAGES)
            except FileNotFoundError:
                return None
            except OSError as error:
                raise CaptureError(f"{self.path / PAGES} {error.strerror}.") from None
        with open(descriptor, "rb") as file:
            count = records_in(file, record)
            if count is None:
                raise CaptureError(f"{self.path / PAGES} is damaged")
            return np.fromfile(file, record, count)


def pieces(records: NDArray[Any], size: int = 1 << 14) -> Iterator[NDArray[Any]]:
    """Iterate over an array in parts."""
    for start in range(0, len(records), size):
        yield records[start : start + size]

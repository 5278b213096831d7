# SPDX-License-Identifier: GPL-2.0-or-later
"""
A capture on disk: written by the recorder, read by anybody, with or without a kernel behind it. ``contrib/capture-format.md`` says what is
in which file.
"""

from __future__ import annotations

import contextlib
import functools
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pagedbg.capture.layout import RECORD
from pagedbg.capture.rings import whole_records
from pagedbg.errors import PagedbgError

FORMAT, VERSION = "pagedbg capture", 2

META, EVENTS, STACKS, PAGES = "meta.json", "events.bin", "stacks.jsonl", "pages.npy"


# Of so many on each side, events that tell both clocks are compared.
_NEIGHBOURS = 32


class CaptureError(PagedbgError):
    """A directory that is no capture, or one that cannot be read."""


# ---- writing ----


class CaptureWriter:
    """Writes a capture, but for the stacks, which the resolver writes; what is there at any moment can be read."""

    def __init__(self, path: Path, meta: Mapping[str, Any]) -> None:
        """
        :param path: the directory, made if it is not there; must be empty
        :raises CaptureError: if there is something in it, or nothing can be written
        """
        self.path = path
        self.meta: dict[str, Any] = {"format": FORMAT, "version": VERSION, **meta}
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if any(path.iterdir()):
                raise CaptureError(f"{path} is not empty: a capture needs a directory of its own.")
            self._events = (path / EVENTS).open("xb", buffering=0)
            (path / STACKS).touch()
        except OSError as error:
            raise CaptureError(f"{path}: {error.strerror}.") from None
        self.size = 0
        self.write_meta()

    def append(self, records: NDArray[Any]) -> None:
        """Write records; all of them, or OSError says why not."""
        data = memoryview(np.ascontiguousarray(records).view(np.uint8).data)
        start = self.size
        while self.size - start < len(data):
            self.size += self._events.write(data[self.size - start :])

    def write_meta(self) -> None:
        """Put :attr:`meta` in the place of what was there."""
        new = self.path / (META + ".new")
        new.write_text(json.dumps(self.meta, indent=1) + "\n", encoding="utf-8")
        new.replace(self.path / META)

    def clear(self) -> None:
        """Drop all events."""
        self._events.truncate(0)
        self._events.seek(0)
        self.size = 0

    def close(self) -> None:
        """Write what is left."""
        self.write_meta()
        self._events.close()


# ---- reading ----


class Capture:
    """
    A capture.

    ``meta`` is its ``meta.json``. ``clock`` says what its times are: ``"local"`` are ``local_clock()``'s, as page_owner's are, and
    ``"monotonic"`` are CLOCK_MONOTONIC's. ``torn`` counts events in the file that are damaged: the last one of a recorder that was killed.
    """

    def __init__(self, path: Path | str) -> None:
        """:raises CaptureError: if there is no capture"""
        self.path = Path(path)
        try:
            self.meta: dict[str, Any] = json.loads((self.path / META).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else f"{META} is damaged"
            raise CaptureError(f"{path} is no capture of pagedbg: {why}.") from None
        if not isinstance(self.meta, dict) or self.meta.get("format") != FORMAT:
            raise CaptureError(f"{path} is no capture of pagedbg: {META} says nothing of one.")
        if self.meta.get("version") != VERSION or self.meta.get("record_size") != RECORD.itemsize:
            raise CaptureError(f"{path} has version {self.meta.get('version')} of the format, and this pagedbg reads {VERSION}.")
        self.torn = 0
        self._events: NDArray[Any] | None = None
        self._stacks: dict[int, list[str]] = {}
        self._stacks_at = 0

    @property
    def page_owner(self) -> bool:
        """Whether events carry page_owner's records; else they come from tracepoints."""
        return bool(self.meta["kernel"]["page_owner"])

    @property
    def clock(self) -> str:
        """What the times of the events are."""
        return "local" if self.page_owner else "monotonic"

    @property
    def lost(self) -> int:
        """How many events that should be here are not."""
        counts = self.meta["counts"]
        of_a_dump = int(counts.get("left_out", 0)) + int(counts.get("damaged", 0))
        return int(counts["lost"]) + int(counts["dropped"]) + int(counts["missed"]) + of_a_dump + self.torn

    @property
    def recording(self) -> bool:
        """Whether its recorder is at work (or was killed at it: see :attr:`abandoned`)."""
        return self.meta["ended"] is None

    @property
    def abandoned(self) -> bool:
        """Whether the recorder ended without a word: what it had not drained yet is not here."""
        if not self.recording:
            return False
        pid = int(self.meta["recorder"]["pid"])
        with contextlib.suppress(OSError):
            return self.meta["kernel"]["boot_id"] != boot_id() or not _is_process(pid, int(self.meta["recorder"]["started"]))
        return True

    def events(self) -> NDArray[Any]:
        """
        All events, in the order of their times where these are known.

        Of one CPU they are in the order in which they happened, whatever their times say (a record's time is taken when page_owner begins).
        """
        if self._events is None:
            self._events = self._load()
        return self._events

    def reload(self) -> None:
        """Forget what was read: the recorder has written more."""
        self.meta = Capture(self.path).meta
        self._events = None
        self.torn = 0

    def _load(self) -> NDArray[Any]:
        records, _ = self.read_from(0)
        return self.in_order(records)

    def size_now(self) -> int:
        """How many bytes of events there are by now."""
        return (self.path / EVENTS).stat().st_size

    def read_from(self, at: int) -> tuple[NDArray[Any], int]:
        """
        Read the events that were written behind a place in the file, in the order in which they were written.

        :return: the events, and the place behind them
        """
        try:
            data = np.fromfile(self.path / EVENTS, np.uint8, offset=at)
        except OSError as error:
            raise CaptureError(f"{self.path / EVENTS}: {error.strerror}.") from None
        # One that is being written is not damaged.
        rest = len(data) % RECORD.itemsize if self.recording and not self.abandoned else 0
        records, torn = whole_records(data[: len(data) - rest])
        self.torn += torn
        return records, at + len(data) - rest

    def in_order(self, records: NDArray[Any]) -> NDArray[Any]:
        """Events in the order in which they happened, ``time_nsec`` of all of them in the clock of :attr:`clock` (0: not known)."""
        records = records[np.lexsort((records["seq"], records["cpu"]))]
        times = self.times(records)
        records["time_nsec"] = np.maximum(times, 0)
        # No event of a CPU before one with a lower number: nested allocations are recorded before the one that they belong to.
        for cpu in np.unique(records["cpu"]):
            of_cpu = slice(*np.searchsorted(records["cpu"], (cpu, cpu + 1)))
            times[of_cpu] = np.maximum.accumulate(times[of_cpu])
        return records[np.argsort(times, kind="stable")]

    def times(self, records: NDArray[Any]) -> NDArray[np.int64]:
        """When each event happened, in nanoseconds of :attr:`clock`; −1 if that is not known."""
        times = records["time_nsec"].astype(np.int64)
        mono = records["mono_nsec"].astype(np.int64)
        if not self.page_owner:
            return np.where(times > 0, times, np.where(mono > 0, mono, -1))
        missing = (times == 0) & (mono > 0)
        if missing.any():
            at, offset = self._offsets(records)
            nearest = np.clip(np.searchsorted(at, mono[missing]) - 1, 0, len(at) - 1)
            # Nothing happens to an allocation before it is made, whatever the conversion is off by.
            times[missing] = np.maximum(mono[missing] + offset[nearest], records["ts_nsec"][missing].astype(np.int64))
        times[times == 0] = -1
        return times

    def ended_at(self) -> int | None:
        """When the capture ended, in nanoseconds of :attr:`clock`; None if it has not."""
        if self.meta["ended"] is None:
            return None
        mono = int(self.meta["ended"]["mono_ns"])
        if not self.page_owner:
            return mono
        if local := self.meta["ended"].get("local_ns"):
            return int(local)
        _, offset = self._offsets(self.events())
        return mono + int(offset[-1])

    def _offsets(self, records: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """How far local_clock() is ahead of CLOCK_MONOTONIC, at some times of the latter: where an event has both."""
        both = records[(records["time_nsec"] > 0) & (records["mono_nsec"] > 0)]
        if len(both):
            mono = both["mono_nsec"].astype(np.int64)
            offset = both["time_nsec"].astype(np.int64) - mono
            order = np.argsort(mono)
            # CLOCK_MONOTONIC was read a while after page_owner had taken its time: of neighbours the greatest is nearest to the truth.
            around = np.lib.stride_tricks.sliding_window_view(np.pad(offset[order], _NEIGHBOURS, mode="edge"), 2 * _NEIGHBOURS + 1)
            return mono[order], around.max(axis=1)
        begun = self.meta["begun"]
        return np.array([begun["mono_ns"]]), np.array([(begun.get("local_ns") or begun["mono_ns"]) - begun["mono_ns"]])

    # ---- names ----

    def stack(self, handle: int) -> list[str] | None:
        """The stack of a handle, innermost frame first; None if it was not saved."""
        if handle not in self._stacks:
            self._read_stacks()
        return self._stacks.get(handle)

    def _read_stacks(self) -> None:
        with contextlib.suppress(OSError), open(self.path / STACKS, "rb") as file:
            file.seek(self._stacks_at)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._stacks_at += len(line)
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    entry = json.loads(line)
                    self._stacks[int(entry["handle"])] = [str(frame) for frame in entry["stack"]]

    @functools.cached_property
    def special_handles(self) -> dict[int, str]:
        """``dummy``, ``failure`` and ``early`` by handle."""
        return {int(handle): str(name) for handle, name in self.meta["names"]["special_handles"].items()}

    @functools.cached_property
    def gfp_names(self) -> tuple[tuple[int, str], ...]:
        """Bits of gfp masks and their names, in the kernel's order."""
        return tuple((int(mask), str(name)) for mask, name in self.meta["names"]["gfp"])

    @property
    def page_size(self) -> int:
        """Bytes in a page."""
        return int(self.meta["kernel"]["page_size"])

    @property
    def pages(self) -> NDArray[Any] | None:
        """The records of captured pages as they were when the capture was saved (``pages.npy``); None if they were not."""
        try:
            return np.load(self.path / PAGES, allow_pickle=False)  # type: ignore[no-any-return]
        except (OSError, ValueError):
            return None


def boot_id() -> str:
    """What tells this boot from every other."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def process_start(pid: int) -> int:
    """When a process began, in clock ticks since boot (``/proc/PID/stat``, field 22): with its pid, what tells it from others."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


def _is_process(pid: int, started: int) -> bool:
    return process_start(pid) == started


def now() -> dict[str, Any]:
    """What clocks say, for ``begun`` and ``ended``."""
    return {"mono_ns": time.monotonic_ns(), "wall": time.strftime("%Y-%m-%dT%H:%M:%S%z")}


def pieces(records: NDArray[Any], size: int = 1 << 14) -> Iterator[NDArray[Any]]:
    """Iterate over an array in parts."""
    for start in range(0, len(records), size):
        yield records[start : start + size]


__all__ = ("EVENTS", "META", "PAGES", "STACKS", "Capture", "CaptureError", "CaptureWriter", "boot_id", "now", "pieces", "process_start")

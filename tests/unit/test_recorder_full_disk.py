# SPDX-License-Identifier: GPL-2.0-or-later
"""
A full disk costs what found no room, which is counted, and its cause is told: on file
systems of every size, so that each write fails in turn.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pagedbg.capture import writer
from pagedbg.capture.backends.backend import Backend
from pagedbg.capture.directory import Capture
from pagedbg.capture.files import CaptureError
from pagedbg.capture.recording import recorder_process
from pagedbg.schema import event_record
from pagedbg.schema.loss import Loss, LossKind

CPUS, SLOTS, TURNS = 2, 256, 6
PAGE = 4096

# The smallest capture: a page for each of meta.json and its successor, with what is
# reserved in each.
SIZES = [*range(1, 16), *range(16, 120, 8)]


class Memory(Backend):
    """Rings that a test writes into."""

    name, attach = "bpf", "trampoline"

    def __init__(self) -> None:
        self.functions, self.failed = {"set": "__set_page_owner"}, {}
        self._header = np.zeros(1, event_record.HEADER)
        self._cpus = np.zeros(CPUS, event_record.CPU)
        self._slots = np.zeros(CPUS * SLOTS, event_record.RECORD)
        self._make_rings(self._slots, SLOTS)

    def record(self, count: int) -> None:
        """Have each CPU record some events."""
        for cpu in range(CPUS):
            first = int(self._cpus["head"][cpu]) + 1
            made = np.zeros(count, event_record.RECORD)
            made["seq"] = np.arange(first, first + count)
            made["cpu"], made["event"], made["time_nsec"] = (
                cpu,
                event_record.SET,
                made["seq"],
            )
            made["check"] = event_record.check_of(made)
            self._slots[cpu * SLOTS + (made["seq"].astype(np.int64) - 1) % SLOTS] = made
            self._cpus["head"][cpu] += count
            self._cpus["recorded"][cpu, event_record.SET, 0] += count

    def set_filter(self, filter_: NDArray[Any]) -> None:
        """There is none."""

    def missed(self) -> int:
        return 0

    def stack(self, number: int) -> list[int]:
        return []

    def detach(self) -> None:
        """There is nothing to detach."""

    def close(self) -> None:
        self.rings = []


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A small file system, whose size is still to be set."""
    where = tmp_path_factory.mktemp("disk")
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={PAGE}", "small", where], check=True
    )
    yield where
    subprocess.run(["umount", where], check=True)


@pytest.fixture
def rings(monkeypatch: pytest.MonkeyPatch) -> list[Memory]:
    """The back ends that recorders have attached."""
    made: list[Memory] = []

    def attach(asked: dict[str, Any], filter_: NDArray[Any]) -> Backend:
        made.append(Memory())
        return made[-1]

    monkeypatch.setattr(recorder_process, "attach", attach)
    return made


def asked(directory: Path, **more: Any) -> dict[str, Any]:
    """What a prompt asks of a recorder."""
    return {
        "directory": str(directory),
        "filter": {},
        "own": [],
        "size": 0,
        "duration": 0,
        "ring": False,
        "held": False,
        "adopt": False,
        "begun": None,
        "local_ns": None,
        "kernel": {
            "release": "6.12.0",
            "build_id": "",
            "boot_id": "",
            "page_size": 4096,
            "page_owner": True,
        },
        "names": {},
        **more,
    }


def stopped(recording: recorder_process.Recorder, directory: Path) -> Capture:
    """The capture of a recorder that was told to stop."""
    recording.ended_by = "stop"
    recording.finish()
    return Capture(directory)


@pytest.mark.parametrize("pages", SIZES)
def test_a_full_disk_costs_what_found_no_room_and_says_so(
    disk: Path, rings: list[Memory], pages: int
) -> None:
    subprocess.run(["mount", "-o", f"remount,size={pages * PAGE}", disk], check=True)
    directory = disk / f"capture-{pages}"
    try:
        recording = recorder_process.Recorder(asked(directory))
    except CaptureError as error:
        # Not even the beginning fits: nothing was recorded, and nothing is left.
        assert "No space left on device" in str(error)
        assert list(disk.iterdir()) == []
        return
    made = 0
    for _ in range(TURNS):
        rings[-1].record(200)
        made += 200 * CPUS
        recording.tick()
        recording.update_meta()
        recording._writer.sync()
    ended_by = recording.ended_by
    recording.ended_by = ended_by or "stop"
    recording.finish()

    capture = Capture(directory)
    here = len(capture.events())
    assert capture.meta.ended is not None
    assert here == capture.meta.counts.kept
    lost = {loss.kind: loss.count for loss in capture.losses}
    if here < made:
        assert capture.meta.ended.by == f"{directory}: No space left on device"
        assert lost == {LossKind.NO_ROOM: made - here}
    else:
        assert (capture.meta.ended.by, lost) == ("stop", {})
    for path in directory.iterdir():
        path.unlink()
    directory.rmdir()


def test_there_are_sizes_at_which_each_of_these_happens(disk: Path) -> None:
    """The least and the greatest of the sizes above are what they are meant to be."""
    assert SIZES[0] * PAGE < 2 * (16 << 10) < SIZES[-1] * PAGE
    assert SIZES[-1] * PAGE > CPUS * TURNS * 200 * event_record.RECORD.itemsize + 3 * (
        24 << 10
    )


def test_a_limit_ends_it_as_well(tmp_path: Path, rings: list[Memory]) -> None:
    recording = recorder_process.Recorder(
        asked(tmp_path / "capture", size=100 * event_record.RECORD.itemsize)
    )
    rings[-1].record(200)
    recording.tick()
    assert recording.ended_by == "size"
    recording.finish()
    capture = Capture(tmp_path / "capture")
    assert (len(capture.events()), capture.losses) == (
        100,
        [Loss(LossKind.NO_ROOM, 300)],
    )


def test_what_was_cleared_is_not_missing(tmp_path: Path, rings: list[Memory]) -> None:
    recording = recorder_process.Recorder(asked(tmp_path / "capture"))
    rings[-1].record(50)
    recording.clear()
    rings[-1].record(30)
    capture = stopped(recording, tmp_path / "capture")
    assert (len(capture.events()), capture.losses) == (60, [])
    assert capture.meta.counts.cleared == 100


def test_what_was_cleared_does_not_come_back_out_of_the_rings(
    tmp_path: Path, rings: list[Memory]
) -> None:
    recording = recorder_process.Recorder(asked(tmp_path / "capture", ring=True))
    rings[-1].record(50)
    recording.flush()
    assert recording._writer.written.sum() == 100
    recording.clear()
    rings[-1].record(30)
    capture = stopped(recording, tmp_path / "capture")
    assert (len(capture.events()), capture.losses) == (60, [])


def test_full_segments_are_sealed_while_it_goes_on(
    tmp_path: Path, rings: list[Memory], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "FULL", 300)
    path = tmp_path / "capture"
    recording = recorder_process.Recorder(asked(path))
    for _ in range(6):
        rings[-1].record(100)
        recording.tick()
    assert sorted(path.glob("events*.parquet")) != [] or recording._sealing.running
    # Whoever clears does not wait for what is being sealed.
    recording.clear()
    assert len(Capture(path).events()) == 0
    for _ in range(5):
        rings[-1].record(100)
        recording.tick()
        recording.update_meta()
        # It is of no boot, so that this is all that is known of its recorder.
        assert Capture(path).losses == [Loss(LossKind.KILLED, None)]
    capture = stopped(recording, path)
    until = time.monotonic() + 300
    while recording._sealing.running and time.monotonic() < until:
        time.sleep(0.1)
    for opened in (capture, Capture(path)):
        assert (len(opened.events()), opened.losses) == (1000, [])
        assert opened.meta.counts.cleared == 1200
    # The last one is not full: it stays as it is.
    assert len(list(path.glob("events*.parquet"))) == 3
    assert len(list(path.glob("events*.bin"))) == 1


def test_what_a_ring_has_overwritten_is_counted(
    tmp_path: Path, rings: list[Memory]
) -> None:
    recording = recorder_process.Recorder(asked(tmp_path / "capture"))
    rings[-1].record(200)
    rings[-1].record(200)
    recording.tick()
    capture = stopped(recording, tmp_path / "capture")
    assert capture.losses == [
        Loss(LossKind.OVERWRITTEN, CPUS * 400 - len(capture.events()))
    ]
    assert len(capture.events()) == CPUS * SLOTS


def test_a_capture_is_for_its_owner_alone(tmp_path: Path, rings: list[Memory]) -> None:
    kept = os.umask(0)
    try:
        recording = recorder_process.Recorder(asked(tmp_path / "capture"))
        recording.ended_by = "stop"
        recording.finish()
    finally:
        os.umask(kept)
    assert {
        path.stat().st_mode & 0o777 for path in (tmp_path / "capture").iterdir()
    } == {0o600}
    assert (tmp_path / "capture").stat().st_mode & 0o777 == 0o700

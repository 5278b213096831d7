# SPDX-License-Identifier: GPL-2.0-or-later
"""
A loss is counted, or said to be unknown: what is cut, emptied, doubled or punched out
of a capture shows, to the last event.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_meta import meta

from pagedbg.capture.directory import Capture
from pagedbg.capture.files import EVENTS, META, META_SYNCED, CaptureError
from pagedbg.capture.segments import FULL
from pagedbg.capture.writer import CaptureWriter
from pagedbg.schema import event_record
from pagedbg.schema.capture_meta import Counts, Cpu, Ended, Process
from pagedbg.schema.event_record import RECORD, SET
from pagedbg.schema.loss import Loss, LossKind

CPUS, PIECE, ROUNDS = 3, 70, 8
EACH = PIECE * ROUNDS
ALL = CPUS * EACH


def piece(cpu: int, first: int, count: int) -> Any:
    """Records of a CPU, numbered from ``first``."""
    made = np.zeros(count, RECORD)
    made["seq"] = np.arange(first, first + count)
    made["cpu"], made["event"], made["pfn"] = cpu, SET, made["seq"]
    made["time_nsec"] = made["ts_nsec"] = made["seq"] * 10 + cpu
    made["check"] = event_record.check_of(made)
    return made


def count(writer: CaptureWriter, written: int) -> None:
    """
    Write down what was counted up to now, as a recorder does: of each CPU as much.
    """
    writer.meta.counts = Counts(
        recorded=CPUS * written,
        read=CPUS * written,
        cpus=[Cpu(written + 1, 0, int(writer.written[cpu])) for cpu in range(CPUS)],
    )
    writer.write_meta()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A capture of three CPUs that has ended."""
    path = tmp_path_factory.mktemp("losses") / "whole"
    writer = CaptureWriter(path)
    writer.begin(meta())
    for turn in range(ROUNDS):
        for cpu in range(CPUS):
            assert writer.append(piece(cpu, 1 + turn * PIECE, PIECE)) == PIECE
    count(writer, EACH)
    writer.meta.ended = Ended(2000, "", "stop")
    writer.close()
    return path


@pytest.fixture
def capture(whole: Path, tmp_path: Path) -> Path:
    """A copy, to be damaged."""
    return Path(shutil.copytree(whole, tmp_path / "capture"))


def losses(path: Path) -> list[Loss]:
    """
    What a capture has lost; the same is said before its events are looked at and after
    it.
    """
    fresh = Capture(path)
    told = fresh.losses
    events = fresh.events()
    assert fresh.losses == told
    # Each event once.
    assert (
        len(np.unique(events[["cpu", "seq"]])) == len(events) == fresh.contents.records
    )
    return told


def change(path: Path, how: Callable[[bytearray], bytes | bytearray]) -> None:
    data = bytearray((path / EVENTS).read_bytes())
    (path / EVENTS).write_bytes(how(data))


def test_a_whole_capture_has_lost_nothing(capture: Path) -> None:
    assert losses(capture) == []
    assert len(Capture(capture).events()) == ALL


@given(keep=st.integers(0, ALL * RECORD.itemsize - 1))
def test_what_is_cut_off_is_counted(
    whole: Path, tmp_path_factory: pytest.TempPathFactory, keep: int
) -> None:
    path = Path(shutil.copytree(whole, tmp_path_factory.mktemp("cut") / "capture"))
    os.truncate(path / EVENTS, keep)
    kept, rest = divmod(keep, RECORD.itemsize)
    torn = int(rest > 0)
    told = {loss.kind: loss.count for loss in losses(path)}
    assert told == {
        kind: n
        for kind, n in {
            LossKind.DAMAGED: torn,
            LossKind.GONE: ALL - kept - torn,
        }.items()
        if n
    }
    shutil.rmtree(path.parent)


def test_what_is_behind_a_hole_is_read(capture: Path) -> None:
    hole = 3 * FULL
    data = (capture / EVENTS).read_bytes()
    half = ALL // 2 * RECORD.itemsize
    with open(capture / EVENTS, "wb") as events:
        events.write(data[:half])
        events.seek(half + hole * RECORD.itemsize)
        events.write(data[half:])
    assert losses(capture) == [Loss(LossKind.DAMAGED, hole)]
    assert len(Capture(capture).events()) == ALL


def test_an_empty_file_has_lost_all(capture: Path) -> None:
    change(capture, lambda data: b"")
    assert losses(capture) == [Loss(LossKind.GONE, ALL)]


def test_a_file_that_is_gone_is_no_capture_without_events(capture: Path) -> None:
    (capture / EVENTS).unlink()
    with pytest.raises(CaptureError, match=r"events\.bin: No such file"):
        losses(capture)


def test_events_that_are_there_twice_are_taken_once(capture: Path) -> None:
    change(capture, lambda data: data + data)
    assert losses(capture) == [Loss(LossKind.REPEATED, ALL)]
    assert len(Capture(capture).events()) == ALL


@given(first=st.integers(0, ALL - 1), number=st.integers(1, ALL))
def test_events_that_are_cut_out_of_the_middle_are_counted(
    whole: Path, tmp_path_factory: pytest.TempPathFactory, first: int, number: int
) -> None:
    path = Path(shutil.copytree(whole, tmp_path_factory.mktemp("middle") / "capture"))
    number = min(number, ALL - first)

    def cut(data: bytearray) -> bytearray:
        del data[first * RECORD.itemsize : (first + number) * RECORD.itemsize]
        return data

    change(path, cut)
    assert losses(path) == [Loss(LossKind.GONE, number)]
    shutil.rmtree(path.parent)


@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize(
    ("first", "number"), [(0, 64), (10, 1), (ALL - 64, 64), (64, 640), (0, ALL)]
)
def test_holes_are_counted(
    capture: Path, first: int, number: int, sparse: bool
) -> None:
    with open(capture / EVENTS, "r+b") as file:
        if sparse:
            data = file.read()
            file.truncate(0)
            for at in (*range(first), *range(first + number, ALL)):
                file.seek(at * RECORD.itemsize)
                file.write(data[at * RECORD.itemsize : (at + 1) * RECORD.itemsize])
            file.truncate(ALL * RECORD.itemsize)
        else:
            file.seek(first * RECORD.itemsize)
            file.write(bytes(number * RECORD.itemsize))
    assert losses(capture) == [Loss(LossKind.DAMAGED, number)]


def test_a_hole_of_a_terabyte_is_counted_and_not_read(capture: Path) -> None:
    os.truncate(capture / EVENTS, 1 << 40)
    assert losses(capture) == [
        Loss(LossKind.DAMAGED, (1 << 40) // RECORD.itemsize - ALL)
    ]


@given(
    st.lists(
        st.integers(0, ALL * RECORD.itemsize - 1),
        min_size=1,
        max_size=5,
        unique_by=lambda at: at // RECORD.itemsize,
    )
)
def test_a_bit_that_turns_costs_its_event_which_is_counted(
    whole: Path, tmp_path_factory: pytest.TempPathFactory, places: list[int]
) -> None:
    path = Path(shutil.copytree(whole, tmp_path_factory.mktemp("bit") / "capture"))

    def turn(data: bytearray) -> bytearray:
        for at in places:
            data[at] ^= 1 << at % 8
        return data

    change(path, turn)
    assert losses(path) == [Loss(LossKind.DAMAGED, len(places))]
    shutil.rmtree(path.parent)


def test_events_that_nobody_counted_are_said(capture: Path) -> None:
    change(
        capture,
        lambda data: (
            data + piece(1, EACH + 1, 5).tobytes() + piece(CPUS + 4, 1, 2).tobytes()
        ),
    )
    assert losses(capture) == [Loss(LossKind.UNCOUNTED, 7)]


def test_counts_that_contradict_each_other_are_not_believed(capture: Path) -> None:
    text = (capture / META).read_text()
    (capture / META).write_text(text.replace(f'"read": {ALL}', f'"read": {ALL + 3}'))
    assert losses(capture) == [Loss(LossKind.CONTRADICTED, None)]


def test_a_capture_that_does_not_count_by_cpu_is_checked_as_a_whole(
    capture: Path,
) -> None:
    before = Capture(capture).meta
    before.counts.cpus = []
    from pagedbg.schema.capture_meta import encode

    (capture / META).write_bytes(encode(before))
    assert losses(capture) == []
    os.truncate(capture / EVENTS, (ALL - 100) * RECORD.itemsize)
    assert losses(capture) == [Loss(LossKind.GONE, 100)]


# ---- a recorder that was killed ----------


def killed(path: Path, *after: Any) -> Path:
    """
    A capture whose recorder counted some events, and was killed when it had written
    more.
    """
    writer = CaptureWriter(path)
    writer.begin(meta(recorder=Process(os.getpid(), 1)))
    for cpu in range(CPUS):
        writer.append(piece(cpu, 1, PIECE))
    count(writer, PIECE)
    for records in after:
        writer.append(records)
    return path


def test_of_a_killed_recorder_what_it_wrote_last_is_there(tmp_path: Path) -> None:
    path = killed(tmp_path / "capture", piece(0, PIECE + 1, 10))
    assert losses(path) == [Loss(LossKind.KILLED, None)]
    assert len(Capture(path).events()) == CPUS * PIECE + 10


def test_what_was_overwritten_after_its_last_count_shows_by_the_numbers(
    tmp_path: Path,
) -> None:
    path = killed(
        tmp_path / "capture", piece(0, PIECE + 21, 10), piece(2, PIECE + 8, 1)
    )
    assert losses(path) == [Loss(LossKind.OVERWRITTEN, 27), Loss(LossKind.KILLED, None)]


def test_what_it_had_counted_and_a_disk_has_lost_is_counted(tmp_path: Path) -> None:
    path = killed(tmp_path / "capture")
    os.truncate(path / EVENTS, 2 * PIECE * RECORD.itemsize)
    assert losses(path) == [Loss(LossKind.GONE, PIECE), Loss(LossKind.KILLED, None)]


# ---- a power cut ----------


def synced(path: Path) -> Path:
    """A capture that was brought to the disk once, and went on."""
    writer = CaptureWriter(path)
    writer.begin(meta(recorder=Process(os.getpid(), 1)))
    for turn in range(2):
        for cpu in range(CPUS):
            writer.append(piece(cpu, 1 + turn * PIECE, PIECE))
        count(writer, (turn + 1) * PIECE)
        if turn == 0:
            writer.sync()
            assert writer._syncing is not None
            writer._syncing.join()
    return path


@pytest.mark.parametrize("left", [b"", b'{"format": "pagedbg cap', None])
def test_without_its_newest_account_the_one_that_was_on_the_disk_counts(
    tmp_path: Path, left: bytes | None
) -> None:
    path = synced(tmp_path / "capture")
    if left is None:
        (path / META).unlink()
    else:
        (path / META).write_bytes(left)
    os.truncate(path / EVENTS, CPUS * PIECE * RECORD.itemsize)
    assert losses(path) == [Loss(LossKind.KILLED, None)]
    assert len(Capture(path).events()) == CPUS * PIECE


def test_events_that_its_newest_account_counts_and_the_disk_had_not_are_counted(
    tmp_path: Path,
) -> None:
    path = synced(tmp_path / "capture")
    os.truncate(path / EVENTS, (CPUS + 1) * PIECE * RECORD.itemsize)
    assert losses(path) == [Loss(LossKind.GONE, 2 * PIECE), Loss(LossKind.KILLED, None)]


def test_a_capture_that_has_ended_has_one_account(tmp_path: Path) -> None:
    path = tmp_path / "capture"
    writer = CaptureWriter(path)
    writer.begin(meta())
    writer.sync()
    writer.meta.ended = Ended(2000, "", "stop")
    writer.close()
    assert not (path / META_SYNCED).exists()
    assert losses(path) == []

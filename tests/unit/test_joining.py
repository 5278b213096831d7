# SPDX-License-Identifier: GPL-2.0-or-later
"""
What a killed recorder had written, joined with what was in its rings: each event once,
in its order, and what is in neither is counted to the last one.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from made_meta import meta
from numpy.typing import NDArray

from pagedbg.capture.directory import Capture
from pagedbg.capture.files import EVENTS
from pagedbg.capture.recovery.joining import join
from pagedbg.capture.saving import copy_capture
from pagedbg.capture.segments import in_sequence
from pagedbg.capture.writer import CaptureWriter
from pagedbg.schema import event_record
from pagedbg.schema.capture_meta import Counts, Cpu, Ended, Recovered
from pagedbg.schema.event_record import RECORD, joined

SLOTS = 16


def records(cpu: int, first: int, end: int) -> NDArray[Any]:
    """Those of a CPU with these numbers, as its ring has them."""
    made = np.zeros(max(end - first, 0), RECORD)
    made["seq"] = np.arange(first, max(end, first))
    made["cpu"], made["event"] = cpu, event_record.SET
    made["pfn"] = made["seq"] * 8 + cpu
    made["ts_nsec"] = made["time_nsec"] = made["seq"] * 1000 + cpu
    made["check"] = event_record.check_of(made)
    return made


class Ring:
    """
    Of one CPU: ``newest`` records were made. The recorder had read up to ``counted``
    when it counted last, and then up to ``drained``; after ``missed`` of the first it
    was too late. ``left`` says from which on the dump has them.
    """

    def __init__(self, cpu: int, numbers: list[int], missed: int, left: int) -> None:
        self.cpu = cpu
        self.counted, self.drained, self.newest = sorted(numbers)
        self.missed = min(missed, self.counted)
        self.left = max(self.newest - SLOTS, 0) + left

    @property
    def before(self) -> NDArray[Any]:
        return records(self.cpu, self.missed + 1, self.counted + 1)

    @property
    def after(self) -> NDArray[Any]:
        return records(self.cpu, self.counted + 1, self.drained + 1)

    @property
    def in_ring(self) -> NDArray[Any]:
        return records(self.cpu, self.left + 1, self.newest + 1)


rings = st.lists(
    st.tuples(
        st.lists(st.integers(0, 60), min_size=3, max_size=3),
        st.integers(0, 5),
        st.integers(0, 3),
    ),
    min_size=1,
    max_size=3,
).map(lambda drawn: [Ring(cpu, *each) for cpu, each in enumerate(drawn)])


def drained(path: Path, of: list[Ring], cut: int) -> Capture:
    """What the recorder had written, of which the last bytes never reached the disk."""
    writer = CaptureWriter(path)
    writer.begin(meta())
    for ring in of:
        writer.append(ring.before)
    writer.meta.counts = Counts(
        recorded=sum(ring.counted for ring in of),
        read=sum(len(ring.before) for ring in of),
        lost=sum(ring.missed for ring in of),
        cpus=[Cpu(ring.counted + 1, ring.missed, len(ring.before)) for ring in of],
    )
    writer.write_meta()
    for ring in of:
        writer.append(ring.after)
    size = (path / EVENTS).stat().st_size
    os.truncate(path / EVENTS, max(size - cut, 0))
    return Capture(path)


def recovered(path: Path, of: list[Ring]) -> Capture:
    """What was in the rings."""
    writer = CaptureWriter(path)
    kept = [len(ring.in_ring) for ring in of]
    overwritten = [max(ring.newest - SLOTS, 0) for ring in of]
    newest = sum(ring.newest for ring in of)
    said = Counts(
        recorded=newest,
        read=sum(kept),
        lost=sum(overwritten),
        left_out=newest - sum(kept) - sum(overwritten),
        cpus=[
            Cpu(ring.newest + 1, lost, count)
            for ring, lost, count in zip(of, overwritten, kept, strict=True)
        ],
    )
    writer.begin(
        meta(
            counts=said,
            ended=Ended(10**9, "", "with vmcore"),
            recovered=Recovered("vmcore", True, True),
        )
    )
    for ring in of:
        writer.append(ring.in_ring)
    writer.close()
    return Capture(path)


@settings(deadline=None, max_examples=50)
@given(rings, st.integers(0, 40 * RECORD.itemsize))
def test_each_event_is_there_once_and_what_is_missing_is_counted(
    of: list[Ring], cut: int
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory)
        ours, theirs = drained(path / "a", of, cut), recovered(path / "b", of)
        on_disk = joined(list(ours.pieces()))
        found = join(ours, theirs, path / "c")
        events = in_sequence(joined(list(found.pieces())))
        last = {
            ring.cpu: int(on_disk["seq"][on_disk["cpu"] == ring.cpu].max(initial=0))
            for ring in of
        }
        behind = [ring.in_ring[ring.in_ring["seq"] > last[ring.cpu]] for ring in of]
        expected = in_sequence(joined([on_disk, *behind]))
        assert events.tobytes() == expected.tobytes()
        assert found.contents.records == len(expected)
        assert found.events().tobytes() == found.in_order(expected.copy()).tobytes()
        missing = sum(ring.newest for ring in of) - len(expected)
        assert sum(loss.count or 0 for loss in found.losses) == missing
        assert (found.recording, found.meta.counts.kept) == (
            False,
            sum(cpu.written for cpu in found.meta.counts.cpus),
        )


def test_what_was_forgotten_on_request_stays_so(tmp_path: Path) -> None:
    ring = Ring(0, [10, 10, 12], 0, 0)
    ours = drained(tmp_path / "a", [ring], 0)
    os.truncate(tmp_path / "a" / EVENTS, 0)
    counts = Counts(recorded=10, read=10, cleared=10, cpus=[Cpu(11, 0, 0)])
    ours.meta.counts = counts
    ours.forget()
    found = join(ours, recovered(tmp_path / "b", [ring]), tmp_path / "c")
    assert [int(record["seq"]) for record in found.events()] == [11, 12]
    assert found.losses == []


def test_it_says_the_same_when_it_was_saved(tmp_path: Path) -> None:
    of = [Ring(0, [10, 20, 50], 2, 1), Ring(1, [0, 30, 31], 0, 0)]
    ours, theirs = drained(tmp_path / "a", of, 100), recovered(tmp_path / "b", of)
    found = join(ours, theirs, tmp_path / "c")
    copy_capture(found, tmp_path / "d", None, [])
    saved = Capture(tmp_path / "d")
    assert found.losses == saved.losses != []
    assert found.events().tobytes() == saved.events().tobytes()

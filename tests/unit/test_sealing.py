# SPDX-License-Identifier: GPL-2.0-or-later
"""Sealed segments of a capture say what the raw ones said, whatever ends who seals."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_strategies
from made_meta import meta
from numpy.typing import NDArray
from own_process import in_child

from pagedbg.capture import sealed, sealing, segments, writer
from pagedbg.capture.directory import Capture
from pagedbg.capture.files import META, CaptureError, Folder
from pagedbg.capture.recording.sealing_feed import SealingFeed
from pagedbg.capture.saving import copy_capture
from pagedbg.capture.sealed import SealedReader, SealedWriter
from pagedbg.capture.sealing import Sealer
from pagedbg.capture.segments import in_sequence, raw_name, sealed_name
from pagedbg.capture.summary import Summary, summary_of
from pagedbg.capture.writer import CaptureWriter
from pagedbg.schema.capture_meta import Counts, Cpu, Ended
from pagedbg.schema.event_record import (
    EVENTS,
    MOST_ORDER,
    NO_PFN,
    RECORD,
    check_of,
    plausible,
)
from pagedbg.schema.loss import Loss, LossKind

CPUS, FULL, SEGMENTS = 3, 96, 5


@pytest.fixture(autouse=True)
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments that are full soon."""
    for module in (segments, writer):
        monkeypatch.setattr(module, "FULL", FULL)
    monkeypatch.setattr(segments, "_AT_ONCE", 2 * FULL * RECORD.itemsize)


def records(count: int, seed: int = 1) -> NDArray[Any]:
    """Events of a few CPUs, with anything in them that one can have."""
    dice = np.random.default_rng(seed)
    made = np.frombuffer(dice.bytes(count * RECORD.itemsize), RECORD).copy()
    made["event"] = dice.integers(1, EVENTS, count)
    for name in ("order", "record_order", "new_order"):
        made[name] = dice.integers(0, MOST_ORDER + 1, count)
    for name in ("pfn", "other_pfn"):
        made[name] >>= np.uint64(24)
        made[name][dice.random(count) < 0.1] = NO_PFN
    made["ts_nsec"] >>= np.uint64(2)
    made["mono_nsec"] = 10**9 + 1000 * np.arange(count)
    made["time_nsec"] = np.where(dice.random(count) < 0.2, made["mono_nsec"] + 77, 0)
    made["cpu"] = dice.integers(0, CPUS, count)
    for cpu in range(CPUS):
        which = np.flatnonzero(made["cpu"] == cpu)
        made["seq"][which] = 1 + np.arange(len(which))
    made["check"] = check_of(made)
    assert plausible(made).all()
    return made


def append(made: CaptureWriter, events: NDArray[Any]) -> None:
    """Write events as they are drained, a few at a time."""
    for start in range(0, len(events), 8):
        piece = events[start : start + 8]
        assert made.append(piece) == len(piece)


def begun(path: Path, events: NDArray[Any]) -> CaptureWriter:
    """A capture that a recorder has written so far."""
    made = CaptureWriter(path)
    made.begin(meta())
    append(made, events)
    last = [
        int(events["seq"][events["cpu"] == cpu].max(initial=0)) for cpu in range(CPUS)
    ]
    made.meta.counts = Counts(
        recorded=len(events),
        read=len(events),
        cpus=[Cpu(last[cpu] + 1, 0, int(made.written[cpu])) for cpu in range(CPUS)],
    )
    made.write_meta()
    return made


def ended(path: Path, events: NDArray[Any]) -> None:
    made = begun(path, events)
    made.meta.ended = Ended(2 * 10**9, "", "stop")
    made.close()


ALL = records(FULL * SEGMENTS + 30)


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    ended(tmp_path / "capture", ALL)
    return tmp_path / "capture"


def told(path: Path) -> tuple[bytes, list[Loss], dict[str, Any], bytes]:
    """All that a capture says of its events."""
    opened = Capture(path)
    losses = opened.losses
    last, places = opened.latest(20, lambda events: events["event"] != 2)
    summary = opened.summary
    return (
        opened.events().tobytes() + places.tobytes(),
        losses,
        {name: getattr(summary, name) for name in summary.__struct_fields__},
        last.tobytes(),
    )


def seal_all(path: Path, numbers: range = range(SEGMENTS)) -> None:
    sealer = Sealer(path)
    for number in numbers:
        sealer.seal(number)


@settings(max_examples=60, deadline=None)
@given(
    numpy_strategies.arrays(
        np.uint8, st.integers(0, 40).map(lambda count: count * RECORD.itemsize)
    ),
    st.integers(0, 2**32),
)
def test_every_member_of_every_record_comes_back(
    data: NDArray[np.uint8], seed: int
) -> None:
    made = records(len(data) // RECORD.itemsize, seed)
    # Whatever is in them that a record may have, as long as it is a whole one.
    anything = data.view(RECORD)
    for name in RECORD.names or ():
        before = made[name].copy()
        if name not in ("seq", "cpu", "check"):
            made[name] = anything[name]
            wrong = ~plausible(made)
            made[name][wrong] = before[wrong]
    made["check"] = check_of(made)
    if not len(made):
        return
    summary = summary_of(made)
    with tempfile.TemporaryFile() as file:
        descriptor = file.fileno()
        assert SealedWriter().write(descriptor, made) == summary
        reader = SealedReader()
        assert reader.summary(descriptor) == summary
        found = reader.records(descriptor)
        assert in_sequence(found).tobytes() == in_sequence(made).tobytes()
        few = reader.records(descriptor, kinds=(1, 3), members=("pfn", "event"))
        assert set(few["event"].tolist()) <= {1, 3}
        assert sorted(few["pfn"].tolist()) == sorted(
            made["pfn"][np.isin(made["event"], (1, 3))].tolist()
        )


def test_a_capture_is_the_same_sealed_and_half_sealed(capture: Path) -> None:
    before = told(capture)
    assert len(Capture(capture).events()) == len(ALL)
    for numbers in (range(2), range(2, SEGMENTS)):
        seal_all(capture, numbers)
        assert told(capture) == before
    assert sorted(os.listdir(capture)) == sorted(
        [META, "stacks.jsonl", raw_name(SEGMENTS)]
        + [sealed_name(number) for number in range(SEGMENTS)]
    )


def test_what_is_sealed_between_looking_and_reading_is_read_as_it_was(
    tmp_path: Path,
) -> None:
    made = begun(tmp_path / "capture", ALL[:230])
    opened = Capture(made.path)
    assert opened.contents.records == 230
    append(made, ALL[230:])
    seal_all(made.path, range(4))
    assert len(opened.events()) == 230
    found = np.concatenate(list(opened.pieces()))
    assert in_sequence(found).tobytes() == in_sequence(ALL[:230]).tobytes()
    kinds = np.concatenate(list(opened.pieces((1, 3))))
    assert len(kinds) == np.count_nonzero(np.isin(ALL["event"][:230], (1, 3)))


def test_what_is_saved_of_a_half_sealed_capture_is_the_same(
    capture: Path, tmp_path: Path
) -> None:
    before = told(capture)
    seal_all(capture, range(2))
    seal_all(capture, range(3, 4))
    copy_capture(Capture(capture), tmp_path / "saved", None, [])
    assert told(tmp_path / "saved") == before
    assert (tmp_path / "saved" / sealed_name(0)).read_bytes() == (
        capture / sealed_name(0)
    ).read_bytes()


def killed_before(step: int) -> Iterator[int]:
    """Have this process killed before it does so many of the steps of sealing."""
    left = [step]

    def counting(function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **more: Any) -> Any:
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            return function(*args, **more)

        return counted

    steps = [(Folder, name) for name in ("open", "remove", "rename", "sync")]
    for owner, name in (*steps, (SealedWriter, "write")):
        setattr(owner, name, counting(getattr(owner, name)))
    sealing.os = type("os", (), {**vars(os), "fsync": staticmethod(counting(os.fsync))})
    yield step


def seal_until_killed(at: int, path: Path) -> None:
    """Seal a segment, and be killed before one of the steps."""
    next(killed_before(at))
    seal_all(path, range(1, 2))


def test_whoever_is_killed_between_two_steps_of_sealing_changes_nothing(
    capture: Path, tmp_path: Path
) -> None:
    before = told(capture)
    steps = 0
    while True:
        copy = Path(shutil.copytree(capture, tmp_path / f"killed-{steps}"))

        how = in_child(seal_until_killed, steps, copy)
        assert how in (0, -signal.SIGKILL)
        assert told(copy) == before, steps
        # And whoever comes next goes on.
        with_raw = range(1 if (copy / raw_name(1)).exists() else 2, SEGMENTS)
        seal_all(copy, with_raw)
        assert told(copy) == before, steps
        assert (copy / sealed_name(1)).exists()
        assert not list(copy.glob(raw_name(1)))
        if how == 0:
            break
        steps += 1
    # open, remove, open, write, fsync, rename, sync, remove
    assert steps == 8


def test_what_is_forgotten_while_it_is_sealed_does_not_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = begun(tmp_path / "capture", ALL)
    write = SealedWriter.write

    def forgotten_meanwhile(*args: Any) -> Summary:
        summary = write(*args)
        made.forget()
        made.write_meta()
        made.clear()
        return summary

    monkeypatch.setattr(SealedWriter, "write", forgotten_meanwhile)
    Sealer(made.path).seal(1)
    assert len(Capture(made.path).events()) == 0
    more = records(10)
    more["seq"] += 1000
    more["check"] = check_of(more)
    made.append(more)
    assert len(Capture(made.path).events()) == 10


def test_reading_goes_on_where_it_was_though_it_is_sealed(tmp_path: Path) -> None:
    made = begun(tmp_path / "capture", ALL[:50])
    read = Capture(made.path).tail()
    append(made, ALL[50:200])
    seal_all(made.path, range(1))
    first = read()
    append(made, ALL[200:])
    seal_all(made.path, range(1, 4))
    found = np.concatenate((first, read()))
    assert in_sequence(found).tobytes() == in_sequence(ALL[50:]).tobytes()
    assert not len(read())


def test_the_process_of_the_recorder_seals(tmp_path: Path) -> None:
    made = begun(tmp_path / "capture", ALL)
    before = told(made.path)
    feed = SealingFeed(made.path)
    # One that is not there is passed over.
    feed.feed([*made.take_full(), 99])
    feed.close()
    # It has time, and goes on when nobody waits any more.
    until = time.monotonic() + 300
    while feed.running and time.monotonic() < until:
        time.sleep(0.1)
    assert told(made.path) == before
    assert len(list(made.path.glob("*.parquet"))) == SEGMENTS


def test_damaged_records_are_counted_as_they_were(tmp_path: Path) -> None:
    ended(tmp_path / "capture", ALL)
    path = tmp_path / "capture" / raw_name(1)
    data = bytearray(path.read_bytes())
    data[5 * RECORD.itemsize + 20] ^= 1
    data[9 * RECORD.itemsize : 10 * RECORD.itemsize] = data[: RECORD.itemsize]
    path.write_bytes(data)
    before = told(tmp_path / "capture")
    assert {loss.kind for loss in before[1]} == {
        LossKind.DAMAGED,
        LossKind.GONE,
        LossKind.REPEATED,
    }
    seal_all(tmp_path / "capture")
    assert told(tmp_path / "capture") == before


def test_a_sealed_segment_that_is_cut_or_missing_is_gone_and_counted(
    capture: Path,
) -> None:
    seal_all(capture)
    os.truncate(capture / sealed_name(2), 1000)
    assert Capture(capture).losses == [Loss(LossKind.GONE, FULL)]
    assert len(Capture(capture).events()) == len(ALL) - FULL
    (capture / sealed_name(2)).unlink()
    assert Capture(capture).losses == [Loss(LossKind.GONE, FULL)]


@pytest.mark.parametrize("together", [1, 2, 64])
def test_segments_say_together_what_each_says_alone(
    capture: Path, monkeypatch: pytest.MonkeyPatch, together: int
) -> None:
    before = told(capture)
    seal_all(capture)
    monkeypatch.setattr(segments, "_ASKED", together)
    assert told(capture) == before
    reader = SealedReader()
    with contextlib.ExitStack() as opened:
        pieces = [
            opened.enter_context(open(capture / sealed_name(number), "rb")).fileno()
            for number in reversed(range(SEGMENTS))
        ]
        alone = [reader.summary(piece) for piece in pieces]
        assert reader.summaries(pieces) == alone
    assert len({repr(summary) for summary in alone}) == SEGMENTS


def damage_sealed(capture: Path) -> None:
    """Look at a capture again and again, with a sealed segment that is damaged."""
    whole = (capture / sealed_name(1)).read_bytes()
    dice = random.Random(1)
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(dice.randrange(1, 4)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        (capture / sealed_name(1)).write_bytes(data)
        opened = Capture(capture)
        try:
            assert plausible(opened.events()).all()
            assert isinstance(opened.losses, list)
        except CaptureError as error:
            assert sealed_name(1) in str(error)


def test_a_damaged_sealed_segment_ends_in_an_answer_or_a_sentence(
    capture: Path,
) -> None:
    seal_all(capture)
    assert in_child(damage_sealed, capture) == 0


def test_a_sealed_segment_may_not_say_that_it_has_more_than_any(
    capture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = records(50)
    summary = summary_of(made)
    summary.records += 1
    monkeypatch.setattr(sealed, "summary_of", lambda *_: summary)
    with open(capture / sealed_name(1), "w+b") as file:
        SealedWriter().write(file.fileno(), made)
    (capture / raw_name(1)).unlink()
    assert Capture(capture).losses[0].kind == LossKind.GONE


def test_what_a_link_leads_to_is_not_read(capture: Path, tmp_path: Path) -> None:
    seal_all(capture)
    os.rename(capture / sealed_name(1), tmp_path / "elsewhere")
    (capture / sealed_name(1)).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CaptureError, match="is not a regular file"):
        Capture(capture).events()


def test_meta_says_nothing_of_segments(capture: Path) -> None:
    before = json.loads((capture / META).read_text())
    seal_all(capture)
    assert json.loads((capture / META).read_text()) == before
    assert sealed.MOST >= segments.FULL

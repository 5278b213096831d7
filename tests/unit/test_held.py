# SPDX-License-Identifier: GPL-2.0-or-later
"""
A recording that keeps only what is still held tells what the whole recording tells.
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_meta import meta
from numpy.typing import NDArray
from own_process import in_child
from test_correlation import MOVABLE, History, Kernel, histories, kernel_of
from test_correlation_pieces import in_one_order, told
from test_recorder_full_disk import SLOTS, Memory, asked, stopped

from pagedbg.analysis.correlation import Pages
from pagedbg.analysis.correlation_pieces import PiecewiseCorrelation
from pagedbg.analysis.evidence import Evidence
from pagedbg.analysis.holding import Holding
from pagedbg.capture import memory_room, segments, writer
from pagedbg.capture.directory import Capture
from pagedbg.capture.files import Folder
from pagedbg.capture.freed_sums import FreedSums, class_of
from pagedbg.capture.held_file import HEAD
from pagedbg.capture.recording import recorder_process
from pagedbg.capture.recording.sealing_feed import Rounds
from pagedbg.capture.saving import copy_capture
from pagedbg.capture.sealed import SealedWriter
from pagedbg.capture.writer import CaptureWriter
from pagedbg.errors import PagedbgError
from pagedbg.schema.allocation import FREED, LIVE, UNKNOWN
from pagedbg.schema.capture_meta import Counts, Cpu, Ended
from pagedbg.schema.capture_meta import Kernel as MetaKernel
from pagedbg.schema.event_record import COPY, DUMP, RECORD, RESET, SET, SPLIT, check_of
from pagedbg.schema.loss import Loss
from pagedbg.schema.recorded_names import RecordedNames

CPUS, FULL = 3, 24


@pytest.fixture(autouse=True)
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments that are full soon."""
    for module in (segments, writer):
        monkeypatch.setattr(module, "FULL", FULL)


def drained(
    events: NDArray[Any], dice: random.Random, rounds: int
) -> Iterator[list[NDArray[Any]]]:
    """
    Events as a recorder drains them: in rounds, a CPU after the other, while others go
    on.
    """
    events = events.copy()
    events["cpu"] = [dice.randrange(CPUS) for _ in events]
    for cpu in range(CPUS):
        which = np.flatnonzero(events["cpu"] == cpu)
        events["seq"][which] = np.arange(1, len(which) + 1)
    events["check"] = check_of(events)
    # When each CPU is looked at, in one round after the other.
    looks = sorted(dice.randrange(len(events) + 1) for _ in range(rounds * CPUS))
    looks += [len(events)] * CPUS
    done = [0] * CPUS
    for turn in range(rounds + 1):
        pieces = []
        for cpu in range(CPUS):
            upto = looks[turn * CPUS + cpu]
            part = np.arange(done[cpu], upto)
            pieces.append(events[part[events["cpu"][part] == cpu]])
            done[cpu] = upto
        yield pieces


def record(
    path: Path, rounds: list[list[NDArray[Any]]], kernel: Kernel
) -> list[tuple[int, int]]:
    """Write a capture; return what would be said of segments that may be folded."""
    made = CaptureWriter(path)
    made.begin(
        meta(
            kernel=MetaKernel("", "", "", 4096, True, kernel.copies_all),
            names=RecordedNames(gfp=[(MOVABLE, "__GFP_MOVABLE")]),
            held=True,
        )
    )
    said, turns, last = [], Rounds(), [0] * CPUS
    for pieces in rounds:
        for piece in pieces:
            made.append(piece)
            for cpu in np.unique(piece["cpu"]).tolist():
                last[cpu] = int(piece["seq"][piece["cpu"] == cpu][-1])
        if (may := turns.end(made.number)) is not None:
            said.append(may)
    count = int(made.written.sum())
    made.meta.counts = Counts(
        recorded=count,
        read=count,
        cpus=[Cpu(last[cpu] + 1, 0, int(made.written[cpu])) for cpu in range(CPUS)],
    )
    made.meta.ended = Ended(kernel.now + 1, "", "stop", kernel.now + 1)
    made.close()
    return said


def record_and_fold(
    path: Path, rounds: list[list[NDArray[Any]]], kernel: Kernel
) -> None:
    """Write a capture of which all is folded that may be."""
    said = record(path, rounds, kernel)
    holding = Holding(path)
    for line in said:
        holding.fold(*line)


def sums(
    rows: NDArray[Any], found: PiecewiseCorrelation
) -> tuple[Counter[Any], dict[Any, tuple[int, int]]]:
    """
    What was freed, by stack, order, flags, state and class of lifetimes; the shortest
    and the longest of each.
    """
    counts: Counter[Any] = Counter()
    spans: dict[Any, tuple[int, int]] = {}

    def add(row: Any, kind: int, count: int, shortest: int, longest: int) -> None:
        key = (
            *(int(row[name]) for name in ("handle", "order", "gfp_mask", "state")),
            kind,
        )
        counts[key] += count
        before = spans.get(key, (shortest, longest))
        spans[key] = min(shortest, before[0]), max(longest, before[1])

    over = rows[np.isin(rows["state"], (FREED, UNKNOWN)) & (rows["freed_ns"] >= 0)]
    lasted = over["freed_ns"] - over["ts_nsec"].astype(np.int64)
    for row, kind, one in zip(
        over, class_of(lasted).tolist(), lasted.tolist(), strict=True
    ):
        add(row, kind, 1, one, one)
    if found.summed is not None:
        names = ("class", "count", "shortest", "longest")
        columns = (found.summed.columns[name].tolist() for name in names)
        for row, *more in zip(found.summed.rows, *columns, strict=True):
            if row["state"] == FREED:
                add(row, *more)
    return counts, spans


class Told(NamedTuple):
    """What a capture tells."""

    alive: list[str]
    states: list[int]
    targets: int
    sums: tuple[Counter[Any], dict[Any, tuple[int, int]]]
    records: int
    losses: list[Loss]


def told_by(capture: Capture, pages: Pages | None, evidence: Evidence) -> Told:
    found = PiecewiseCorrelation(capture, pages, evidence)
    rows = in_one_order(np.concatenate(list(found.rows())))
    return Told(
        told(rows[~np.isin(rows["state"], (FREED, UNKNOWN))]),
        found.states.tolist(),
        found.targets,
        sums(rows, found),
        capture.contents.records,
        capture.losses,
    )


def both(
    kernel: Kernel,
    events: NDArray[Any],
    dice: random.Random,
    rounds: int,
    pages: Pages | None,
    evidence: Evidence,
) -> tuple[Told, Told]:
    """What all events tell, and what is held of them."""
    with tempfile.TemporaryDirectory() as directory:
        whole, held = Path(directory, "whole"), Path(directory, "held")
        said = record(whole, list(drained(events, dice, rounds)), kernel)
        shutil.copytree(whole, held)
        holding = Holding(held)
        for upto, known in said:
            holding.fold(upto, known)
            if dice.random() < 0.3:
                # Whoever comes next goes on.
                holding = Holding(held)
        return (
            told_by(Capture(whole), pages, evidence),
            told_by(Capture(held), pages, evidence),
        )


@settings(max_examples=300, deadline=None)
@given(histories, st.integers(2, 60), st.booleans())
def test_what_is_held_tells_what_all_tells(
    history: History, rounds: int, compare: bool
) -> None:
    kernel, dice = kernel_of(history)
    pages = kernel.pages if compare else None
    whole, held = both(
        kernel, kernel.captured(), dice, rounds, pages, kernel.evidence()
    )
    assert held == whole


@settings(max_examples=300, deadline=None)
@given(
    histories,
    st.integers(2, 60),
    st.floats(0, 1),
    st.booleans(),
    st.sets(st.sampled_from((SET, RESET, COPY, SPLIT)), min_size=1),
)
def test_where_events_were_lost_it_tells_the_same_or_that_it_is_not_known(
    history: History, rounds: int, share: float, compare: bool, kinds: set[int]
) -> None:
    kernel, dice = kernel_of(history)
    events = kernel.captured()
    events = events[
        [int(one["event"]) not in kinds or dice.random() >= share for one in events]
    ]
    if not len(events):
        return
    pages = kernel.pages if compare else None
    whole, held = both(kernel, events, dice, rounds, pages, kernel.evidence(kinds))
    if COPY not in kinds:
        assert held == whole
        return
    # A free may be that of a page that was left behind, which the kernel's record of it
    # tells: what was freed is not looked at again.
    assert not set(held.alive) - set(whole.alive)
    assert sum(held.states) + held.targets == sum(whole.states) + whole.targets
    for state, (some, all_) in enumerate(zip(held.states, whole.states, strict=True)):
        assert some >= all_ if state == UNKNOWN else some <= all_


@pytest.mark.parametrize("of", [(True, False), (False, False)])
def test_what_is_kept_does_not_grow_with_what_has_happened(
    tmp_path: Path, of: tuple[bool, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "FULL", 8 * FULL)
    kernel, dice = Kernel(*of), random.Random(3)
    for _ in range(20):
        kernel.live(150, dice)
        for piece in list(kernel.pieces):
            kernel.now += 1
            kernel.free_piece(piece, dice)
    rounds = list(drained(kernel.captured(), dice, 100))
    record_and_fold(tmp_path / "capture", rounds, kernel)
    held = Capture(tmp_path / "capture").held
    assert held is not None
    assert held.head.summary.records > 2500
    # Of 256 pages, each of which may have been moved, split and freed on its own.
    assert sum(each.records for each in held.summaries()) < 300


@pytest.fixture
def told_of() -> tuple[Kernel, list[list[NDArray[Any]]]]:
    kernel, dice = kernel_of((7, 200, (True, False)))
    return kernel, list(drained(kernel.captured(), dice, 30))


def everything(path: Path, kernel: Kernel) -> Told:
    return told_by(Capture(path), kernel.pages, kernel.evidence())


def fold_until_killed(at: int, path: Path, line: tuple[int, int]) -> None:
    """Fold what a line says, and be killed before one of the steps."""
    killed_before(at)
    Holding(path).fold(*line)


def test_whoever_is_killed_between_two_steps_changes_nothing(
    told_of: tuple[Kernel, list[list[NDArray[Any]]]], tmp_path: Path
) -> None:
    kernel, rounds = told_of
    said = record(tmp_path / "whole", rounds, kernel)
    expected = everything(tmp_path / "whole", kernel)
    half = len(said) // 2
    started = Path(shutil.copytree(tmp_path / "whole", tmp_path / "started"))
    holding = Holding(started)
    for line in said[:half]:
        holding.fold(*line)
    assert (started / HEAD).exists()
    assert everything(started, kernel) == expected
    step, how = 0, -signal.SIGKILL
    while how:
        path = Path(shutil.copytree(started, tmp_path / f"killed-{step}"))

        how = in_child(fold_until_killed, step, path, said[half])
        assert how in (0, -signal.SIGKILL)
        assert everything(path, kernel) == expected, step
        holding = Holding(path)
        for line in said[half:]:
            holding.fold(*line)
        assert everything(path, kernel) == expected, step
        assert not list(path.glob("*.new"))
        step += 1
    assert step > 10


def killed_before(step: int) -> None:
    """Have this process killed before it does so many of the steps of folding."""
    left = [step]

    def counting(function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **more: Any) -> Any:
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            return function(*args, **more)

        return counted

    steps: list[tuple[Any, str]] = [
        (Folder, name) for name in ("open", "remove", "rename", "sync")
    ]
    for owner, name in (*steps, (SealedWriter, "write"), (FreedSums, "write")):
        setattr(owner, name, counting(getattr(owner, name)))


def test_a_copy_tells_the_same(
    told_of: tuple[Kernel, list[list[NDArray[Any]]]], tmp_path: Path
) -> None:
    kernel, rounds = told_of
    record_and_fold(tmp_path / "held", rounds, kernel)
    copy_capture(Capture(tmp_path / "held"), tmp_path / "copy", None, [])
    assert Capture(tmp_path / "copy").held is not None
    assert everything(tmp_path / "copy", kernel) == everything(
        tmp_path / "held", kernel
    )


def test_memory_is_asked_for_what_is_kept_and_not_for_what_a_file_may_have(
    told_of: tuple[Kernel, list[list[NDArray[Any]]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kernel, rounds = told_of
    record_and_fold(tmp_path / "held", rounds, kernel)
    held = Capture(tmp_path / "held").held
    assert held is not None
    size = len(held.kept().records) * RECORD.itemsize
    assert size
    monkeypatch.setattr(memory_room, "_available", lambda: 3 * size)
    assert len(held.kept().records) * RECORD.itemsize == size
    monkeypatch.setattr(memory_room, "_available", lambda: 3 * size - 1)
    with pytest.raises(PagedbgError, match="take 0 MiB of memory, and 0 MiB are free"):
        held.kept()


def test_a_reader_goes_on_while_the_recorder_does(
    told_of: tuple[Kernel, list[list[NDArray[Any]]]], tmp_path: Path
) -> None:
    kernel, rounds = told_of
    said = record(tmp_path / "held", rounds, kernel)
    expected = everything(tmp_path / "held", kernel)
    holding = Holding(tmp_path / "held")
    for line in said[:3]:
        holding.fold(*line)
    opened = Capture(tmp_path / "held")
    assert opened.held is not None
    for line in said[3:]:
        holding.fold(*line)
    assert Capture(tmp_path / "held").held.head != opened.held.head  # type: ignore[union-attr]
    assert told_by(opened, kernel.pages, kernel.evidence()) == expected


def test_what_is_forgotten_does_not_come_back(
    told_of: tuple[Kernel, list[list[NDArray[Any]]]], tmp_path: Path
) -> None:
    _, rounds = told_of
    made = CaptureWriter(tmp_path / "held")
    made.begin(meta(held=True))
    turns, holding = Rounds(), Holding(tmp_path / "held")
    for number, pieces in enumerate(rounds):
        for piece in pieces:
            made.append(piece)
        may = turns.end(made.number)
        if may and number < 20:
            holding.fold(*may)
        if number == 20:
            made.forget()
            made.write_meta()
            made.clear()
            # What it does not know yet it finds out.
            with contextlib.suppress(FileNotFoundError):
                holding.fold(made.number, made.number)
            assert not (tmp_path / "held" / HEAD).exists()
            holding = Holding(tmp_path / "held")
        elif number > 20 and may:
            holding.fold(*may)
    after = np.concatenate([piece for pieces in rounds[21:] for piece in pieces])
    assert Capture(tmp_path / "held").held is not None
    assert Capture(tmp_path / "held").contents.records == len(after)


def damage_held(held: Path, kernel: Kernel) -> None:
    """Look again and again at what is held, with a file that is damaged."""
    dice = random.Random(11)
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
    for name in (HEAD, *Capture(held).held.head.files):  # type: ignore[union-attr]
        whole = (held / name).read_bytes()
        for _ in range(30):
            data = bytearray(whole)
            for _ in range(dice.randrange(1, 6)):
                data[dice.randrange(len(data))] = dice.randrange(256)
            (held / name).write_bytes(
                data[: dice.choice((len(data), dice.randrange(len(data))))]
            )
            with contextlib.suppress(PagedbgError):
                everything(held, kernel)
        (held / name).write_bytes(whole)


def test_damaged_files_end_in_an_answer_or_a_sentence(
    told_of: tuple[Kernel, list[list[NDArray[Any]]]], tmp_path: Path
) -> None:
    kernel, rounds = told_of
    record_and_fold(tmp_path / "held", rounds, kernel)
    assert in_child(damage_held, tmp_path / "held", kernel) == 0


class Pairs(Memory):
    """Rings of a machine that frees all but one in ten of its allocations."""

    left_out: Sequence[int] = ()

    def leave_out(self, own: Sequence[int]) -> None:
        self.left_out = own

    def record(self, count: int) -> None:
        for cpu in range(len(self.rings)):
            first = int(self._cpus["head"][cpu]) + 1
            made = np.zeros(2 * count, RECORD)
            made["seq"] = np.arange(first, first + 2 * count)
            made["event"] = np.tile((SET, RESET), count)
            made["ts_nsec"] = np.repeat(made["seq"][::2] * np.uint64(10), 2)
            made["pfn"] = made["ts_nsec"] + np.uint64(cpu)
            made["time_nsec"] = made["ts_nsec"] + made["event"]
            made["cpu"] = cpu
            made["event"][1::20] = DUMP
            made["check"] = check_of(made)
            slots = made["seq"].astype(np.int64) - 1
            self._slots[cpu * SLOTS + slots % SLOTS] = made
            self._cpus["head"][cpu] += 2 * count


@pytest.mark.parametrize("killed", (False, True))
def test_a_recorder_keeps_what_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed: bool
) -> None:
    """
    The recorder, and the process that folds, with rings that are no kernel's; somebody
    may kill that process.
    """
    rings = Pairs()
    monkeypatch.setattr(recorder_process, "attach", lambda *_: rings)
    monkeypatch.setattr(recorder_process, "FULL_HELD", 1000)
    recording = recorder_process.Recorder(asked(tmp_path / "capture", held=True))
    turns, each = 60, 100
    for turn in range(turns):
        if killed and turn == turns // 2:
            recording._sealing.abandon()
        rings.record(each)
        recording.flush()
        recording.update_meta()
    stopped(recording, tmp_path / "capture")
    # It gives way to all else.
    while recording._sealing.running:
        time.sleep(0.1)
    if killed:
        assert recording._sealing.pid in rings.left_out
    capture = Capture(tmp_path / "capture")
    assert capture.losses == []
    assert capture.held is not None
    folded = capture.held.head.summary.records
    assert folded > 2 * 2 * each * turns - 5 * 1000
    assert sum(part.records for part in capture.summaries()) < folded / 10 + 5 * 1000
    found = PiecewiseCorrelation(capture)
    live = np.concatenate(list(found.rows(freed=False)))
    # Those of both CPUs have the same times.
    assert found.states[LIVE] == np.count_nonzero(live["state"] == LIVE)
    assert found.states[LIVE] == 2 * each * turns / 10
    assert found.states[FREED] == 2 * each * turns * 9 / 10

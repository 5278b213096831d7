# SPDX-License-Identifier: GPL-2.0-or-later
"""
The flight recorder in the bundled dump: what is in its rings, and what is said of rings
that are damaged or not all there.
"""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drgn import FaultError
from drgn.helpers.linux.mm import follow_phys
from drgn.helpers.linux.module import find_module
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from known import ORDINARY, SAMPLE, Run, check, look_at
from make_elf import PAGE, ElfCore

from pagedbg.capture.recovery.recover import find_recorders
from pagedbg.capture.recovery.recovered_rings import RecoveredRecorder
from pagedbg.mm.bulk_read import read_array
from pagedbg.schema import event_record, freezing
from pagedbg.schema.event_filter import EventFilter, OrderShare, describe
from pagedbg.schema.event_record import FROZEN, HEADER, KINDS_BY_WORD, RECORD
from pagedbg.schema.filter_record import FILTER, FILTERS
from pagedbg.schema.freezing import Frozen
from pagedbg.target.opening import open_target
from pagedbg.target.symbols import module_symbols
from pagedbg.target.target import Target

COMMANDS = (
    "status",
    "trace recover",
    "trace status",
    "trace show --no-stack --format jsonl",
    "correlate --by state",
    "trace show --format classic",
)


@pytest.fixture(scope="module")
def target() -> Target:
    return open_target(str(SAMPLE))


@pytest.fixture(scope="module")
def recorder(target: Target) -> RecoveredRecorder:
    (found,), said = find_recorders(target)
    assert said == []
    return found


def base_of(recorder: RecoveredRecorder) -> int:
    """Where its memory begins."""
    return recorder._address(RECORD)[0] - int(recorder.header["slots_at"])


def events_of(recorder: RecoveredRecorder) -> np.ndarray[Any, Any]:
    return np.concatenate([ring.records for _, ring in recorder.rings()])


# ---- as it is ----------


def test_the_flight_recorder_is_found_and_described(
    recorder: RecoveredRecorder,
) -> None:
    # When it was made, the module had nothing but kprobes.
    assert (recorder.backend, recorder.attach, recorder.filters) == (
        "kmod",
        "kprobe",
        [EventFilter((OrderShare(4, 4),), tuple(KINDS_BY_WORD))],
    )
    assert {"set", "reset", "split"} <= recorder.functions.keys()
    assert recorder.recorded == sum(ring.newest for _, ring in recorder.rings())
    assert all(
        (ring.left_out, ring.damaged, ring.head_damaged) == (0, 0, False)
        for _, ring in recorder.rings()
    )


def test_of_each_order_no_more_is_recorded_than_was_seen(
    recorder: RecoveredRecorder,
) -> None:
    counters, known = recorder.counters
    assert known.all()
    assert (counters["recorded"] <= counters["seen"]).all()
    events = events_of(recorder)
    for event in event_record.EVENT_NAMES:
        assert (
            np.count_nonzero(events["event"] == event)
            <= counters["recorded"][:, event].sum()
        )


def test_status_says_that_it_was_recorded(pagedbg: Run) -> None:
    said = pagedbg("-c", SAMPLE, "status").stdout
    found = re.search(
        r"^recording: +the kernel module, --orders 4 --events all: ([\d,]+)", said, re.M
    )
    assert found is not None
    (row,) = pagedbg.json("status", core=SAMPLE)
    assert row["recording"] == pagedbg.json("trace recover", core=SAMPLE)
    assert [each["backend"] for each in row["recording"]] == ["kmod"]
    assert row["recorded"] == int(found[1].replace(",", ""))


def test_the_status_of_a_trace_has_as_values_what_text_says(pagedbg: Run) -> None:
    said = pagedbg("-c", SAMPLE, "trace", "status").stdout
    (row,) = pagedbg.json("trace status", core=SAMPLE)
    assert f"Recovered from {SAMPLE.name} ({row['release']}), {row['filter']}:" in said
    assert f"{row['kept']:,} events ({row['size'] / 1024:,.0f} KiB)" in said
    first, last = row["first_ns"] / 1e9, row["last_ns"] / 1e9
    assert f"are from {first:.9f} s to {last:.9f} s" in said
    for function in row["functions"]:
        assert function.partition(": ")[2] in said
    table = re.findall(r"^ +(\d+) +(\d+) +(\d+) +(\d+) +[\d.]+%$", said, re.M)
    assert [
        tuple(str(each[name]) for name in ("order", "seen", "recorded", "own"))
        for each in row["orders"]
    ] == table
    assert (row["state"], row["losses"]) == ("recovered", [])
    events = pagedbg.json("trace show", "--no-stack", core=SAMPLE)
    times = [each["time_ns"] for each in events if each["time_ns"]]
    assert (len(events), min(times), max(times)) == (
        row["kept"],
        row["first_ns"],
        row["last_ns"],
    )


def test_what_was_recovered_can_be_saved_and_opened_without_the_dump(
    pagedbg: Run, tmp_path: Path
) -> None:
    saved, here = tmp_path / "saved", tmp_path / "here"
    done = pagedbg(
        "--sample",
        "-e",
        f"trace save {saved}",
        "-e",
        f"correlate --format jsonl -o {here}",
    )
    assert done.returncode == 0, done.stderr
    there = pagedbg("--capture", saved, "correlate", "--format", "jsonl")
    rows = [json.loads(line) for line in here.read_text().splitlines()]
    assert len(rows) > 100
    assert [json.loads(line) for line in there.stdout.splitlines()] == rows


def test_stacks_of_a_capture_alone_are_those_of_its_dump(
    pagedbg: Run, tmp_path: Path
) -> None:
    saved = tmp_path / "saved"
    assert pagedbg("--sample", "-e", f"trace save {saved}").returncode == 0

    def stacks(*options: str | Path) -> list[dict[str, Any]]:
        done = pagedbg(*options, "--format", "json")
        assert (done.returncode, done.stderr) == (0, "")
        return json.loads(done.stdout)  # type: ignore[no-any-return]

    rows = stacks("--capture", saved, "stacks")
    handles = [str(row["handle"]) for row in rows]
    assert rows == stacks("-c", SAMPLE, "stacks", *handles) != []
    events = stacks("--capture", saved, "trace", "show")
    assert {row["stack_id"] for row in events} <= {row["stack_id"] for row in rows}
    (lost,) = stacks("--capture", saved, "stacks", "0x1234")
    assert "was not saved" in lost["stack"][0]
    assert (lost["stack_id"], lost["stack_shape"]) == (None, None)


def test_status_says_what_a_capture_is_that_is_open_alone(
    pagedbg: Run, tmp_path: Path
) -> None:
    saved = tmp_path / "saved"
    assert pagedbg("--sample", "-e", f"trace save {saved}").returncode == 0
    said = pagedbg("--capture", saved, "status").stdout.splitlines()
    assert said[0].startswith(f"capture:    {saved}: 15,930 events")
    assert any("by the kernel module, --orders 4" in line for line in said)
    asked = pagedbg("--capture", saved, "status", "--format", "json")
    (row,) = json.loads(asked.stdout)
    (kernel,) = json.loads(pagedbg("--sample", "status", "--format", "json").stdout)
    same = ("release", "build_id", "boot_id", "page_size", "page_owner", "recorded")
    assert {name: row[name] for name in same} == {name: kernel[name] for name in same}
    assert (row["format"], row["path"]) == ("capture", str(saved))


def test_what_was_recovered_is_of_no_other_dump(pagedbg: Run, tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    assert pagedbg("--sample", "-e", f"trace save {saved}").returncode == 0
    other = (
        "-c",
        Path(__file__).parent / "data" / "ordinary.vmcore",
        "--capture",
        saved,
    )
    assert "of another boot" in pagedbg(*other, "inspect", "pfn", "0xef0").stdout
    done = pagedbg(*other, "correlate")
    assert (done.returncode, done.stdout) == (1, "")
    assert "of another boot" in done.stderr


def test_a_full_disk_is_said_in_a_sentence(pagedbg: Run, tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    # Python would leave modules that it compiles cut short, too, for everybody.
    env = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    done = pagedbg(
        "--sample",
        "trace",
        "status",
        starting=True,
        preexec_fn=limit,
        env=env,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"cannot be written to {tmp_path}" in done.stderr
    done = pagedbg(
        "--sample",
        "inspect",
        "pfn",
        "0xef0",
        starting=True,
        preexec_fn=limit,
        env=env,
    )
    assert done.returncode == 0
    assert "leaky_rx_refill" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.once
def test_whoever_ends_it_finds_no_files_left(
    number: signal.Signals, tmp_path: Path
) -> None:
    command = [
        sys.executable,
        "-m",
        "pagedbg",
        "--sample",
        "-e",
        "trace status",
        "-e",
        "!sleep 100",
    ]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, env={**os.environ, "TMPDIR": str(tmp_path)}
    ) as process:
        while not any(
            path.name.startswith("pagedbg-") and (path / "stacks.jsonl").exists()
            for path in tmp_path.iterdir()
        ):
            assert process.poll() is None
            time.sleep(0.05)
        time.sleep(1)
        process.send_signal(number)
        assert process.wait(20) == 128 + number
    assert list(tmp_path.iterdir()) == []


def test_a_dump_with_no_recorder_in_it_says_so(pagedbg: Run) -> None:
    done = pagedbg("-c", ORDINARY, "trace", "show")
    assert done.returncode == 1
    assert "Nothing was recording in ordinary.vmcore" in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Nothing was recording" in pagedbg("-c", ORDINARY, "trace", "recover").stdout


# ---- damaged in memory ----------


class Overlay:
    """A recorder's memory, as tests change it: bytes, and pages that are not there."""

    def __init__(self, target: Target, recorder: RecoveredRecorder) -> None:
        self._base, self.size = base_of(recorder), int(recorder.header["size"])
        found, known = read_array(
            target.prog, self._base, self.size, np.dtype(np.uint8)
        )
        self._whole, self._absent = found.copy(), ~known
        self.restore()
        target.prog.add_memory_segment(self._base, self.size, self._read, False)

    def restore(self) -> None:
        self.memory, self.missing = self._whole.copy(), self._absent.copy()

    def _read(self, address: int, count: int, offset: int, physical: bool) -> bytes:
        if self.missing[offset : offset + count].any():
            raise FaultError("not in the dump", address)
        return bytes(self.memory[offset : offset + count])


@pytest.fixture(scope="module")
def damaged() -> tuple[Target, Overlay, np.ndarray[Any, Any]]:
    target = open_target(str(SAMPLE))
    (recorder,), _ = find_recorders(target)
    events = events_of(recorder)
    return target, Overlay(target, recorder), events


FUZZ = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
Damaged = tuple[Target, Overlay, Any]


def recovered(
    target: Target,
) -> tuple[list[RecoveredRecorder], list[str], set[bytes], int]:
    """What is found, what is said, the events, and how many are said to be missing."""
    recorders, said = find_recorders(target)
    events, missing = set(), 0
    for recorder in recorders:
        for _, ring in recorder.rings():
            events |= {record.tobytes() for record in ring.records}
            missing += ring.left_out + ring.damaged
        assert all(map(describe, recorder.filters))
    return recorders, said, events, missing


@FUZZ
@given(st.floats(0, 1), st.binary(min_size=1, max_size=5000))
def test_noise_in_the_rings_makes_no_event(
    damaged: Damaged, where: float, noise: bytes
) -> None:
    target, overlay, events = damaged
    overlay.restore()
    at = int(where * (overlay.size - len(noise)))
    overlay.memory[at : at + len(noise)] = np.frombuffer(noise, np.uint8)
    recorders, said, found, missing = recovered(target)
    assert found <= {record.tobytes() for record in events}
    # What is not there is counted, or it is said that there is nothing to count.
    counted = (
        missing
        or said
        or any(ring.head_damaged for each in recorders for _, ring in each.rings())
    )
    assert len(found) == len(events) or counted


@FUZZ
@given(st.integers(0, HEADER.itemsize - 1), st.integers(0, 255))
def test_a_header_with_another_byte_is_refused_or_does_no_harm(
    damaged: Damaged, at: int, byte: int
) -> None:
    target, overlay, events = damaged
    overlay.restore()
    overlay.memory[at] = byte
    recorders, said, found, _ = recovered(target)
    assert len(recorders) + len(said) == 1
    assert found <= {record.tobytes() for record in events}


@FUZZ
@given(st.sets(st.floats(0, 1, exclude_max=True), min_size=1, max_size=20))
def test_pages_that_the_dump_left_out_are_counted(
    damaged: Damaged, pages: set[float]
) -> None:
    target, overlay, events = damaged
    overlay.restore()
    for page in {int(page * overlay.size) // PAGE for page in pages}:
        overlay.missing[page * PAGE : (page + 1) * PAGE] = True
    recorders, said, found, missing = recovered(target)
    if not recorders:
        assert said == [
            "The kernel module pagedbg was recording, but the header of its rings is"
            " not in the dump."
        ]
        return
    whole = {record.tobytes() for record in events}
    assert found <= whole
    if not any(ring.head_damaged for _, ring in recorders[0].rings()):
        assert len(found) + missing == len(whole)


@pytest.mark.parametrize("off", [3000, -3000, 1 << 40])
def test_a_wrong_number_of_the_newest_loses_no_record(
    damaged: Damaged, off: int
) -> None:
    target, overlay, events = damaged
    overlay.restore()
    (recorder,), _ = find_recorders(target)
    head = overlay.memory[int(recorder.header["cpus_at"]) :][:8].view("<u8")
    head[0] = int(head[0]) + off
    (recorder,), said, found, missing = recovered(target)
    assert (said, len(found), missing) == ([], len(events), 0)
    assert recorder.recorded is None
    assert [ring.head_damaged for _, ring in recorder.rings()] == [True, False]


def test_a_filter_that_was_changed_is_told_with_the_one_before(
    damaged: Damaged,
) -> None:
    target, overlay, _ = damaged
    overlay.restore()
    (recorder,), _ = find_recorders(target)
    filters = overlay.memory[int(recorder.header["filters_at"]) :][
        : 2 * FILTER.itemsize
    ].view(FILTER)
    active = int(recorder.header["active"])
    filters[1 - active] = filters[active]
    filters["events"][1 - active] = 1 << event_record.SET
    assert list(map(describe, find_recorders(target)[0][0].filters)) == [
        "--orders 4 --events set",
        "--orders 4 --events all",
    ]


@pytest.mark.parametrize("reason", [freezing.FAILURE, 0, 77])
def test_frozen_rings_say_what_has_stopped_them(damaged: Damaged, reason: int) -> None:
    target, overlay, events = damaged
    overlay.restore()
    (recorder,), _ = find_recorders(target)
    assert recorder.frozen is None
    filters = overlay.memory[int(recorder.header["filters_at"]) :]
    freeze = filters[: FILTERS.itemsize].view(FILTERS)["freeze"]
    freeze["reason"], freeze["order"], freeze["time_nsec"] = reason, 4, 64815904000
    overlay.memory[: HEADER.itemsize].view(HEADER)["active"] |= FROZEN
    (recorder,), said, found, missing = recovered(target)
    # Where nobody had written down why, or what cannot be, nothing is made up.
    expected = Frozen(reason, 64815904000, order=4) if reason == 1 else Frozen(0)
    assert recorder.frozen is not None
    assert recorder.frozen.reason == expected.reason
    assert reason != 1 or recorder.frozen == expected
    assert (said, len(found), missing) == ([], len(events), 0)
    assert list(map(describe, recorder.filters)) == ["--orders 4 --events all"]


@pytest.mark.parametrize(
    ("member", "value"),
    [("slots", 4096), ("slots", 64), ("slots", 1 << 20), ("cpus", 1), ("cpus", 4096)],
)
def test_a_header_of_other_rings_is_refused(
    damaged: Damaged, member: str, value: int
) -> None:
    target, overlay, _ = damaged
    overlay.restore()
    overlay.memory[: HEADER.itemsize].view(HEADER)[member] = value
    assert find_recorders(target) == (
        [],
        [
            "The kernel module pagedbg was recording, but the header of its rings is"
            " damaged."
        ],
    )


def test_a_ring_that_was_never_used_is_empty(damaged: Damaged) -> None:
    target, overlay, _ = damaged
    overlay.restore()
    (recorder,), _ = find_recorders(target)
    start = int(recorder.header["cpus_at"])
    overlay.memory[start:] = 0
    _, said, found, missing = recovered(target)
    assert (said, found, missing) == ([], set(), 0)


# ---- damaged in the file ----------


@pytest.fixture(scope="module")
def elf(target: Target, tmp_path_factory: pytest.TempPathFactory) -> ElfCore:
    """The bundled dump as an uncompressed ELF core."""
    return ElfCore(target.prog, tmp_path_factory.mktemp("elf") / "vmcore")


@pytest.fixture
def restored(elf: ElfCore) -> Iterator[list[Any]]:
    """What was there before is put back from this list."""
    undo: list[Any] = []
    yield undo
    for before in reversed(undo):
        elf.restore(before)


def test_without_the_list_of_modules_the_rings_are_found_by_how_they_begin(
    target: Target, recorder: RecoveredRecorder, elf: ElfCore, restored: list[Any]
) -> None:
    restored.append(
        elf.write(
            target.prog.symbol("modules").address,
            struct.pack("<QQ", 0xDEAD_0000_0000_0000, 0xDEAD_0000_0000_0000),
        )
    )
    (again,), said = find_recorders(open_target(str(elf.path)))
    assert said == []
    assert events_of(again).tobytes() == events_of(recorder).tobytes()
    # Whose the probes are is not known then.
    assert again.missed is None


def test_a_list_that_goes_round_in_circles_is_no_trap(
    target: Target, recorder: RecoveredRecorder, elf: ElfCore, restored: list[Any]
) -> None:
    first = target.prog.read_u64(target.prog.symbol("modules").address)
    restored.append(elf.write(first, struct.pack("<Q", first)))
    results = look_at(elf.path, *COMMANDS)
    for result in results:
        check(result)
    assert f"{recorder.recorded:,} events" in results[0][1]


def test_a_log_that_goes_round_in_circles_is_refused(
    target: Target, elf: ElfCore, restored: list[Any]
) -> None:
    restored.append(
        elf.write(
            target.prog["prb"].desc_ring.head_id.counter.address_,
            struct.pack("<Q", 0x1234),
        )
    )
    ((status, _, said),) = look_at(elf.path, "log --last 1")
    assert (status, said.count("\n")) == (1, 1)
    assert "the kernel's log is damaged" in said


def test_a_pointer_that_is_damaged_is_not_all_there_is(
    target: Target, recorder: RecoveredRecorder, elf: ElfCore, restored: list[Any]
) -> None:
    symbols = {
        symbol.name: symbol.address
        for symbol in module_symbols(find_module(target.prog, b"pagedbg"))
    }
    restored.append(
        elf.write(symbols["pagedbg_rings"], struct.pack("<Q", 0x4141_4141_4141_4141))
    )
    (again,), said = find_recorders(open_target(str(elf.path)))
    assert (said, events_of(again).tobytes()) == ([], events_of(recorder).tobytes())


@pytest.mark.parametrize("seed", range(4))
def test_noise_all_over_memory(elf: ElfCore, restored: list[Any], seed: int) -> None:
    restored.append(elf.noise(seed, 1000))
    for result in look_at(elf.path, *COMMANDS, "log", "inspect pfn 0xef0"):
        check(result)


def test_an_overwritten_header_is_said_and_the_rest_still_answers(
    recorder: RecoveredRecorder, elf: ElfCore, restored: list[Any]
) -> None:
    restored.append(elf.write(base_of(recorder), bytes(64)))
    results = look_at(elf.path, *COMMANDS, "owners --by order")
    for result in results:
        check(result)
    status, _, _, show, *_, owners = results
    assert status[0] == owners[0] == 0
    assert (
        "The kernel module pagedbg was recording, but the header of its rings is"
        " damaged." in status[1]
    )
    assert show[0] == 1
    assert "the header of its rings is damaged" in show[2]


def test_overwritten_records_are_counted_and_left_out(
    recorder: RecoveredRecorder, elf: ElfCore, restored: list[Any]
) -> None:
    _, ring = max(recorder.rings(), key=lambda each: len(each[1].records))
    cpu = int(ring.records["cpu"][0])
    start = recorder._address(RECORD)[0] + cpu * recorder.slots * RECORD.itemsize
    # The pfn in one, and all of another.
    first, second = (
        int(number - 1) % recorder.slots for number in ring.records["seq"][:2]
    )
    restored.append(elf.write(start + first * RECORD.itemsize + 8, b"\x55" * 8))
    restored.append(
        elf.write(start + second * RECORD.itemsize, b"\xaa" * RECORD.itemsize)
    )
    whole, less = (
        look_at(path, "trace show --no-stack --format jsonl", "trace status")
        for path in (SAMPLE, elf.path)
    )
    assert len(less[0][1].splitlines()) == len(whole[0][1].splitlines()) - 2
    assert "2 events in the rings are damaged" in less[1][1]


def test_counters_that_are_not_in_the_dump_are_not_taken_for_none(
    target: Target, recorder: RecoveredRecorder, tmp_path: Path
) -> None:
    address = base_of(recorder) + int(recorder.header["cpus_at"])
    gone = follow_phys(target.prog["init_mm"].address_of_(), address).value_() // PAGE
    core = ElfCore(target.prog, tmp_path / "vmcore", {gone}.__contains__)
    status, *_ = results = look_at(core.path, "trace status", *COMMANDS)
    for result in results:
        check(result)
    assert status[0] == 0
    assert "how many events are missing is not known" in status[1]


def test_probes_that_cannot_be_counted_are_said(
    target: Target, elf: ElfCore, restored: list[Any]
) -> None:
    restored.append(
        elf.write(target.prog.symbol("kprobe_table").address, b"\x11" * 512)
    )
    show, *_ = results = look_at(elf.path, "trace status", *COMMANDS)
    for result in results:
        check(result)
    assert "How many events the kernel missed could not be read." in show[1]


def test_a_module_that_is_not_ours_by_its_memory_is_left_alone(
    target: Target, elf: ElfCore, restored: list[Any]
) -> None:
    module = find_module(target.prog, b"pagedbg")
    restored.append(elf.write(module.name.address_, b"another\0"))
    recorders, said = find_recorders(open_target(str(elf.path)))
    assert (recorders, said) == ([], [])

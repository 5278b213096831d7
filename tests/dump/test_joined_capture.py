# SPDX-License-Identifier: GPL-2.0-or-later
"""
The capture of a recorder that died with the machine of the bundled dump, opened with
that dump: all that it had not come to write is in the rings.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from known import SAMPLE, Run
from numpy.typing import NDArray

from pagedbg.capture.directory import Capture
from pagedbg.capture.recovery.recover import find_recorders, recover
from pagedbg.capture.writer import CaptureWriter
from pagedbg.schema import event_record
from pagedbg.schema.capture_meta import Begun, Counts, Cpu, Meta
from pagedbg.target.opening import open_target

# So many of each CPU's events had not been written.
UNWRITTEN = 1000

Make = Callable[..., Path]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    """What is in the rings."""
    target = open_target(str(SAMPLE))
    (recorder,), _ = find_recorders(target)
    path = tmp_path_factory.mktemp("whole") / "capture"
    recover(target, recorder, [], path)
    return Capture(path)


def write(
    whole: Capture, path: Path, change: Callable[[Meta, NDArray[Any]], None]
) -> Path:
    """What its recorder would have written, up to its death and for a change."""
    records = np.concatenate(list(whole.pieces()))
    cpus = [
        int(records["seq"][records["cpu"] == cpu].max()) - UNWRITTEN
        for cpu in range(len(whole.meta.counts.cpus))
    ]
    records = records[records["seq"] <= np.array(cpus)[records["cpu"]]]
    meta = msgspec.structs.replace(
        whole.meta, begun=Begun(1, "then"), ended=None, recovered=None
    )
    meta.counts = Counts(
        recorded=sum(cpus), read=sum(cpus), cpus=[Cpu(n + 1, 0, n) for n in cpus]
    )
    meta.kernel = msgspec.structs.replace(meta.kernel)
    change(meta, records)
    records["check"] = event_record.check_of(records)
    writer = CaptureWriter(path)
    writer.begin(meta)
    writer.append(records)
    return path


def rows(pagedbg: Run, *words: str | Path) -> list[dict[str, Any]]:
    done = pagedbg("-c", SAMPLE, *words, "--format", "jsonl")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def drained(whole: Capture, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(
        whole,
        tmp_path_factory.mktemp("drained") / "capture",
        lambda meta, records: None,
    )


@pytest.mark.parametrize(
    "command",
    [
        ("trace", "show", "--no-stack"),
        ("correlate", "--leaked"),
        ("inspect", "pfn", "0xef0"),
    ],
    ids=" ".join,
)
def test_every_command_has_the_events_of_both(
    pagedbg: Run, drained: Path, command: tuple[str, ...]
) -> None:
    expected = rows(pagedbg, *command)
    assert expected
    assert rows(pagedbg, "--capture", drained, *command) == expected


def test_both_are_said_to_be_one_and_to_be_whole(
    pagedbg: Run, whole: Capture, drained: Path, tmp_path: Path
) -> None:
    (status,) = rows(pagedbg, "--capture", drained, "trace", "status")
    assert status["kept"] == status["recorded"] == whole.contents.records
    assert (status["losses"], status["directory"]) == ([], str(drained))
    done = pagedbg("-c", SAMPLE, "--capture", drained, "trace", "status")
    assert f"Joined, {drained} and the rings in sample.vmcore" in done.stdout
    saved = tmp_path / "saved"
    done = pagedbg("-c", SAMPLE, "--capture", drained, "trace", "save", saved)
    assert (done.returncode, done.stderr) == (0, "")
    assert Capture(saved).contents.records == whole.contents.records
    # What was drained stays as it was.
    assert Capture(drained).abandoned


def test_a_capture_of_another_boot_is_refused(
    pagedbg: Run, whole: Capture, tmp_path: Path
) -> None:
    def change(meta: Meta, records: NDArray[Any]) -> None:
        meta.kernel.boot_id = "0f1e2d3c-0000-4000-8000-000000000000"

    path = write(whole, tmp_path / "capture", change)
    done = pagedbg("-c", SAMPLE, "--capture", path, "trace", "show")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "is of another boot than sample.vmcore" in done.stderr


def test_rings_of_another_recorder_are_left_out(
    pagedbg: Run, whole: Capture, tmp_path: Path
) -> None:
    def change(meta: Meta, records: NDArray[Any]) -> None:
        records["pfn"][-1] += 1

    path = write(whole, tmp_path / "capture", change)
    done = pagedbg("-c", SAMPLE, "--capture", path, "trace", "status")
    assert "cannot be told to be of this recorder: it is left out" in done.stdout
    (status,) = rows(pagedbg, "--capture", path, "trace", "status")
    assert status["state"] == "abandoned"
    assert status["kept"] == Capture(path).contents.records

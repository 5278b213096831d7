# SPDX-License-Identifier: GPL-2.0-or-later
"""
Captures on disk: what was written is read, whatever state its recorder left it in.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_meta import meta

from pagedbg.capture.directory import Capture
from pagedbg.capture.files import EVENTS, META, STACKS, CaptureError, Folder
from pagedbg.capture.this_boot import boot_id
from pagedbg.capture.writer import CaptureWriter
from pagedbg.schema import event_record
from pagedbg.schema.capture_meta import Ended, Kernel, Process, Since, decode, encode
from pagedbg.schema.event_filter import EventFilter, OrderShare
from pagedbg.schema.event_record import COPY, RECORD, RESET, SET
from pagedbg.schema.former_rings import FORMER, expected_check
from pagedbg.schema.loss import Loss, LossKind
from pagedbg.sources import capture_names
from pagedbg.sources.capture_names import CaptureNames

LARGE = (OrderShare(3, event_record.MOST_ORDER),)


def begun(path: Path, **more: Any) -> CaptureWriter:
    """A capture that is being written."""
    writer = CaptureWriter(path)
    writer.begin(meta(**more))
    return writer


def records(*events: dict[str, int]) -> Any:
    """Whole records."""
    found = np.zeros(len(events), RECORD)
    for number, event in enumerate(events):
        for name, value in {"seq": number + 1, "event": SET, **event}.items():
            found[number][name] = value
    found["check"] = event_record.check_of(found)
    return found


@pytest.fixture
def writer(tmp_path: Path) -> CaptureWriter:
    return begun(tmp_path / "capture")


def test_what_was_written_is_read_in_the_order_of_its_times(
    writer: CaptureWriter,
) -> None:
    writer.append(
        records(
            {"cpu": 0, "time_nsec": 30, "pfn": 3, "event": SET},
            {"cpu": 0, "time_nsec": 40, "pfn": 4, "event": SET},
        )
    )
    writer.append(
        records(
            {"cpu": 1, "time_nsec": 10, "pfn": 1, "event": SET},
            {"cpu": 1, "time_nsec": 35, "pfn": 2, "event": SET},
        )
    )
    assert Capture(writer.path).events()["pfn"].tolist() == [1, 3, 2, 4]


def test_of_one_cpu_events_keep_their_order_whatever_their_times(
    writer: CaptureWriter,
) -> None:
    writer.append(
        records(
            {"time_nsec": 50, "pfn": 1},
            {"time_nsec": 40, "pfn": 2},
            {"time_nsec": 60, "pfn": 3},
        )
    )
    assert Capture(writer.path).events()["pfn"].tolist() == [1, 2, 3]


def test_the_greatest_number_that_a_cpu_may_have_is_one_like_others(
    writer: CaptureWriter,
) -> None:
    last = np.iinfo(RECORD["cpu"]).max
    writer.append(
        records(
            {"cpu": last, "time_nsec": 50, "pfn": 1},
            {"cpu": last, "time_nsec": 40, "pfn": 2},
            {"cpu": 0, "time_nsec": 45, "pfn": 3},
        )
    )
    assert Capture(writer.path).events()["pfn"].tolist() == [3, 1, 2]


def test_a_time_of_the_other_clock_is_converted_by_the_events_that_have_both(
    writer: CaptureWriter,
) -> None:
    # Of the first, CLOCK_MONOTONIC was read 20 ns late.
    writer.append(
        records(
            {"time_nsec": 100, "mono_nsec": 1120, "event": SET},
            {"mono_nsec": 1150, "event": RESET},
            {"time_nsec": 200, "mono_nsec": 1200, "event": SET},
            {"mono_nsec": 1300, "event": COPY},
        )
    )
    assert Capture(writer.path).events()["time_nsec"].tolist() == [100, 150, 200, 300]


def test_no_free_is_before_its_allocation(writer: CaptureWriter) -> None:
    writer.append(
        records(
            {"time_nsec": 100, "ts_nsec": 100, "mono_nsec": 1120, "event": SET},
            {"mono_nsec": 1110, "ts_nsec": 100, "event": RESET},
        )
    )
    assert Capture(writer.path).events()["time_nsec"].tolist() == [100, 100]


def test_without_such_an_event_it_is_converted_by_when_the_capture_began(
    writer: CaptureWriter,
) -> None:
    writer.append(records({"mono_nsec": 1150, "event": RESET}))
    assert Capture(writer.path).events()["time_nsec"].tolist() == [1050]


def test_a_record_that_is_being_written_is_not_there_yet_and_not_damaged(
    writer: CaptureWriter,
) -> None:
    writer.append(records({"time_nsec": 1}))
    with open(writer.path / EVENTS, "ab") as file:
        file.write(b"half")
    capture = Capture(writer.path)
    assert (len(capture.events()), capture.losses) == (1, [])


def test_of_a_recorder_that_is_gone_it_is_damaged(tmp_path: Path) -> None:
    writer = begun(tmp_path / "capture", recorder=Process(os.getpid(), 1))
    writer.append(records({"time_nsec": 1}))
    with open(writer.path / EVENTS, "ab") as file:
        file.write(b"half")
    capture = Capture(writer.path)
    assert capture.abandoned
    assert (len(capture.events()), capture.losses) == (
        1,
        [Loss(LossKind.DAMAGED, 1), Loss(LossKind.KILLED, None)],
    )


def test_reading_goes_on_where_it_was(writer: CaptureWriter) -> None:
    read = Capture(writer.path).tail()
    writer.append(records({"pfn": 1}))
    first = read()
    writer.append(records({"seq": 2, "pfn": 2}))
    second = read()
    assert (first["pfn"].tolist(), second["pfn"].tolist()) == ([1], [2])


def test_stacks_are_read_as_they_come_and_damaged_lines_passed_over(
    writer: CaptureWriter,
) -> None:
    capture = Capture(writer.path)
    with open(writer.path / STACKS, "a") as file:
        file.write(
            '{"handle": 1, "stack": ["a+0x1/0x2"]}\nnonsense\n{"handle": 2, "sta'
        )
    assert (capture.stack(1), capture.stack(2)) == (["a+0x1/0x2"], None)
    with open(writer.path / STACKS, "a") as file:
        file.write('ck": ["b"]}\n')
    assert capture.stack(2) == ["b"]


def test_clearing_leaves_nothing(writer: CaptureWriter) -> None:
    writer.append(records({"pfn": 1}))
    assert writer.forget() == 1
    writer.clear()
    writer.append(records({"pfn": 2}))
    assert Capture(writer.path).events()["pfn"].tolist() == [2]


def test_a_directory_with_something_in_it_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    with pytest.raises(CaptureError, match="is not empty"):
        CaptureWriter(tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "is no capture of pagedbg: No such file"),
        ("{", "meta.json is damaged"),
        ("[]", "meta.json says nothing of one"),
        (
            json.dumps(
                {"format": "pagedbg capture", "version": 99, "record_size": 128}
            ),
            "has version 99 of the format, and this pagedbg reads 2 to 4",
        ),
    ],
)
def test_what_is_no_capture_is_refused(
    tmp_path: Path, content: str | None, said: str
) -> None:
    if content is not None:
        (tmp_path / META).write_text(content)
    with pytest.raises(CaptureError, match=said):
        Capture(tmp_path)


@pytest.mark.parametrize(
    ("line", "filter_"),
    [
        ("everything", EventFilter()),
        ("--orders '>=3' --comm sh", EventFilter(orders=LARGE, comm=("sh",))),
        ("--gfp GFP_KERNEL", EventFilter(gfp=("GFP_KERNEL",))),
        ("--zone 'DMA*' --node 0", EventFilter(zone=("DMA",), node=((0, 0),))),
        # What a version wrote that found a filter in a dump.
        ("--orders 0-20", EventFilter()),
        ("--pfns 0x1-0x1f,0x100-0x1ff", None),
        ("(the filter could not be read)", None),
        ("what nobody has noted", None),
        ("--orders", None),
        ("--stack x", None),
        ("--orders '4", None),
        ("", None),
    ],
)
def test_a_capture_of_the_former_version_has_its_filters_in_lines(
    writer: CaptureWriter, line: str, filter_: EventFilter | None
) -> None:
    path = writer.path / META
    said = json.loads(path.read_bytes())
    said["version"] = 2
    said["names"]["gfp"] = [[0xCC0, "GFP_KERNEL"]]
    said["names"]["special_handles"] = {"7": "early"}
    said["names"]["zones"] = [{"node": 0, "zone": "DMA", "start_pfn": 1, "end_pfn": 9}]
    said["filters"] = [{"since_ns": 1000, "filter": line}]
    path.write_text(json.dumps(said))
    capture = Capture(writer.path)
    assert capture.meta.filters == [Since(1000, filter_)]
    assert capture.special_handles == {7: "early"}
    # It is written as it is now.
    assert decode(encode(capture.meta)) == capture.meta


@pytest.mark.parametrize("version", [2, 3])
def test_records_of_the_former_version_are_read(
    writer: CaptureWriter, version: int
) -> None:
    found = records({"pfn": 5, "event": SET}, {"pfn": 5, "event": RESET})
    found["check"] = expected_check(found, FORMER)
    writer.append(found)
    path = writer.path / META
    said = json.loads(path.read_bytes())
    if version == 2:
        said["filters"] = [{"since_ns": 1000, "filter": "everything"}]
    path.write_text(json.dumps({**said, "version": version}))
    capture = Capture(writer.path)
    assert capture.events()["pfn"].tolist() == [5, 5]
    assert capture.contents.damaged == 0
    # Each is whole by the check of its version alone.
    path.write_text(json.dumps({**json.loads(encode(capture.meta)), "version": 4}))
    assert len(Capture(writer.path).events()) == 0


@pytest.mark.parametrize("filters", [None, [], {}, [1], [{"filter": 1}], "everything"])
def test_a_damaged_one_is_refused(writer: CaptureWriter, filters: Any) -> None:
    path = writer.path / META
    said = json.loads(path.read_bytes())
    path.write_text(json.dumps({**said, "version": 2, "filters": filters}))
    with pytest.raises(CaptureError, match=r"meta\.json is damaged"):
        Capture(writer.path)


def test_of_tracepoints_the_clock_is_the_other_one(tmp_path: Path) -> None:
    writer = begun(
        tmp_path / "capture", kernel=Kernel("6.12.0", "", boot_id(), 4096, False)
    )
    writer.append(
        records({"time_nsec": 5, "event": SET}, {"mono_nsec": 9, "event": RESET})
    )
    capture = Capture(writer.path)
    assert capture.clock == "monotonic"
    assert capture.events()["time_nsec"].tolist() == [5, 9]


def test_a_directory_that_nobody_has_any_more_is_closed(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    folder = Folder(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before + 1
    del folder
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_stack_that_the_recorder_may_still_save_is_not_said_to_be_lost(
    writer: CaptureWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capture_names, "_PATIENCE", 0)

    def said() -> list[str]:
        return CaptureNames(Capture(writer.path), None).stack(0x1234)

    assert said() == ["(the stack 0x1234 is not saved yet)"]
    writer.meta.ended = Ended(2000, "", "stop")
    writer.write_meta()
    assert said() == ["(the stack 0x1234 was not saved)"]

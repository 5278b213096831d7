# SPDX-License-Identifier: GPL-2.0-or-later
"""
What the recorder of the bundled dump has left, as a trace for Perfetto: against what
``trace show`` and ``correlate`` say.
"""

from __future__ import annotations

import collections
import json
from pathlib import Path
from typing import Any

import pytest
from known import ORDINARY, SAMPLE, Run
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def packets(pagedbg: Run, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """The packets with an event, and the name of the track that each is on."""
    path = tmp_path_factory.mktemp("trace") / "a.perfetto-trace"
    done = pagedbg("--sample", "-e", f"trace save -o {path}")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"15930 events in {path}.\n")
    trace = Trace()
    trace.ParseFromString(path.read_bytes())
    tracks = {
        packet.track_descriptor.uuid: packet.track_descriptor.name
        for packet in trace.packet
        if packet.HasField("track_descriptor")
    }
    return [
        (tracks[packet.track_event.track_uuid], packet)
        for packet in trace.packet
        if packet.HasField("track_event")
    ]


def test_every_event_is_on_the_track_of_its_cpu(
    packets: list[Any], pagedbg: Run
) -> None:
    rows = pagedbg.json("trace", "show", "--no-stack", core=SAMPLE)
    found = [
        (packet.timestamp, track, packet.track_event.name)
        for track, packet in packets
        if track.startswith("CPU")
    ]
    assert found == [
        (row["time_ns"], f"CPU {row['cpu']}", f"{row['event']}, order {row['order']}")
        for row in rows
    ]


def test_live_bytes_end_with_what_was_not_freed(
    packets: list[Any], pagedbg: Run
) -> None:
    left: collections.Counter[str] = collections.Counter()
    done = pagedbg("-c", SAMPLE, "--format", "json", "correlate", "--no-stack")
    for row in json.loads(done.stdout):
        if row["state"] != "freed":
            size = 4096 << row["order"]
            left["live, all orders"] += size
            left[f"live, order {row['order']}"] += size
    counters = collections.defaultdict(list)
    for track, packet in packets:
        if track.startswith("live"):
            counters[track].append(packet.track_event.counter_value)
    assert {track: values[-1] for track, values in counters.items()} == left
    assert all(value >= 0 for values in counters.values() for value in values)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "give a directory, or -o FILE.perfetto-trace"),
        ("a -o b.perfetto-trace", "give a directory, or -o FILE.perfetto-trace"),
        ("-o b.json", "the name of such a file ends in .perfetto-trace"),
        ("-o /no/a.perfetto-trace", "/no/a.perfetto-trace: No such file or directory"),
    ],
)
def test_what_cannot_be_written_is_said(
    pagedbg: Run, words: str, said: str, tmp_path: Path
) -> None:
    done = pagedbg("-c", SAMPLE, "-e", f"trace save {words}", cwd=tmp_path)
    assert done.returncode != 0
    assert said in done.stderr and done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_without_a_capture_there_is_no_file(pagedbg: Run, tmp_path: Path) -> None:
    path = tmp_path / "a.perfetto-trace"
    done = pagedbg("-c", ORDINARY, "-e", f"trace save -o {path}")
    assert done.returncode == 1
    assert not path.exists()

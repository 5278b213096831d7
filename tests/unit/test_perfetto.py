# SPDX-License-Identifier: GPL-2.0-or-later
"""Traces for Perfetto, read back by its own schema; and what they count."""

from __future__ import annotations

import collections
from collections.abc import Sequence

import duckdb
import numpy as np
import pytest
from google.protobuf.unknown_fields import UnknownFieldSet
from hypothesis import given, settings
from hypothesis import strategies as st
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import (
    CounterDescriptor,
    Trace,
    TrackEvent,
)

from pagedbg.analysis.live_bytes import LiveBytes, Moment
from pagedbg.output.perfetto import perfetto_trace
from pagedbg.schema.allocation import ALLOCATION, FREED, LIVE
from pagedbg.sources.event_instants import Instant

# Perfetto's schema is not in the root file systems of other releases.
pytestmark = pytest.mark.once

INSTANTS = (
    Instant(31_392_126_713, 0, "set, order 4", {"pfn": 0xEF0, "comm": "traffic"}),
    Instant(0, 3, "reset", {"pid": -1, "seq": (1 << 63) + 5}),
    Instant((1 << 63) - 1, 0, "a\x1b\u2028\ud800", {"comm": "\x07"}),
)
MOMENTS = (Moment(5, 4, 65536), Moment(7, 4, 0), Moment(5, None, 1 << 40))


def read(instants: Sequence[Instant], moments: Sequence[Moment]) -> Trace:
    trace = Trace()
    trace.ParseFromString(b"".join(perfetto_trace(instants, moments)))
    return trace


def test_perfetto_reads_what_was_written() -> None:
    trace = read(INSTANTS, MOMENTS)
    tracks = {
        packet.track_descriptor.uuid: packet.track_descriptor
        for packet in trace.packet
        if packet.HasField("track_descriptor")
    }
    assert [each.name for each in tracks.values()] == [
        *("CPU 0", "CPU 3", "live, order 4", "live, all orders"),
    ]
    units = [each.counter.unit for each in tracks.values() if each.HasField("counter")]
    assert units == [CounterDescriptor.UNIT_SIZE_BYTES] * 2
    events = [packet for packet in trace.packet if packet.HasField("track_event")]
    # Whatever a reader does not know of it would be kept as that.
    assert not any(len(UnknownFieldSet(packet)) for packet in trace.packet)
    assert {packet.trusted_packet_sequence_id for packet in trace.packet} == {1}
    found = [
        (
            packet.timestamp,
            tracks[packet.track_event.track_uuid].name,
            packet.track_event,
        )
        for packet in events
    ]
    assert [(when, track) for when, track, _ in found] == [
        *((31_392_126_713, "CPU 0"), (0, "CPU 3"), ((1 << 63) - 1, "CPU 0")),
        *((5, "live, order 4"), (7, "live, order 4"), (5, "live, all orders")),
    ]
    assert [event.type for _, _, event in found] == (
        [TrackEvent.TYPE_INSTANT] * 3 + [TrackEvent.TYPE_COUNTER] * 3
    )
    first, second, third = (event for _, _, event in found[:3])
    said = {each.name: each for each in first.debug_annotations}
    assert (said["pfn"].int_value, said["comm"].string_value) == (0xEF0, "traffic")
    assert second.debug_annotations[0].int_value == -1
    assert third.name == "a\\x1b\\u2028\\ud800"
    assert third.debug_annotations[0].string_value == "\\x07"
    assert [event.counter_value for _, _, event in found[3:]] == [65536, 0, 1 << 40]


def test_of_nothing_there_is_an_empty_trace() -> None:
    assert len(read((), ()).packet) == 0


ALLOCATIONS = st.lists(
    st.tuples(st.integers(0, 50), st.integers(-1, 60), st.integers(0, 3)), max_size=40
)


@settings(max_examples=30)
@given(ALLOCATIONS, ALLOCATIONS)
def test_live_bytes_are_those_of_blocks_not_freed_yet(
    first: list[tuple[int, int, int]], second: list[tuple[int, int, int]]
) -> None:
    with duckdb.connect() as db:
        live = LiveBytes(db, 4096)
        for part in (first, second):
            rows = np.zeros(len(part), ALLOCATION)
            for row, (begun, freed, order) in zip(rows, part, strict=True):
                row["ts_nsec"], row["freed_ns"], row["order"] = begun, freed, order
                row["state"] = LIVE if freed % 7 == 3 else FREED
            live.add(rows)
        moments = list(live.moments())
        live.close()
    curves: dict[int | None, dict[int, int]] = collections.defaultdict(dict)
    for when, order, size in moments:
        assert when not in curves[order]
        assert not curves[order] or when > max(curves[order])
        curves[order][when] = size
    for which, curve in curves.items():
        for when, size in curve.items():
            expected = 0
            for begun, freed, order in first + second:
                if which in (None, order):
                    expected += (begun <= when) * 4096 << order
                    if freed % 7 != 3:
                        expected -= (0 <= freed <= when) * 4096 << order
            assert size == expected
    times = {begun for begun, _, _ in first + second}
    times |= {freed for _, freed, _ in first + second if freed >= 0 and freed % 7 != 3}
    assert set(curves[None]) == times

# SPDX-License-Identifier: GPL-2.0-or-later
"""
Events as a trace for https://ui.perfetto.dev: a track for each CPU, and as counters how
much is allocated, in all and in blocks of each order.

The numbers of fields are those of ``protos/perfetto/trace`` of Perfetto:
``trace_packet.proto``, ``track_event/track_descriptor.proto``,
``track_event/counter_descriptor.proto``, ``track_event/track_event.proto`` and
``track_event/debug_annotation.proto``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pagedbg.analysis.live_bytes import Moment
from pagedbg.output.printable import printable
from pagedbg.sources.event_instants import Instant

__all__ = ("perfetto_trace",)


# TrackEvent.Type
_INSTANT, _COUNTER = 3, 4
# CounterDescriptor.Unit
_SIZE_BYTES = 3

# Numbers of tracks: some for CPUs, and others for orders, the first for all.
_CPUS, _ORDERS = 1 << 20, 1 << 21

# One sequence of packets, all of which stand for themselves.
_SEQUENCE = 1

# Pieces that are written at once.
_BUFFER = 1 << 16


def perfetto_trace(
    instants: Iterable[Instant], moments: Iterable[Moment]
) -> Iterator[bytes]:
    """Return a trace, in pieces; its packets need no order."""
    piece = bytearray()
    for packet in _packets(instants, moments):
        # Trace.packet
        piece += _message(1, packet)
        if len(piece) > _BUFFER:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece)


def _packets(instants: Iterable[Instant], moments: Iterable[Moment]) -> Iterator[bytes]:
    known = set()
    for instant in instants:
        track = _CPUS + instant.cpu
        if track not in known:
            known.add(track)
            yield _track(track, f"CPU {instant.cpu}")
        event = (
            _number(9, _INSTANT)
            + _number(11, track)
            + _text(23, instant.name)
            + b"".join(
                _message(4, _annotation(name, value))
                for name, value in instant.said.items()
            )
        )
        yield _event(instant.time_ns, event)
    for moment in moments:
        track = _ORDERS + (0 if moment.order is None else 1 + moment.order)
        if track not in known:
            known.add(track)
            what = "all orders" if moment.order is None else f"order {moment.order}"
            yield _track(track, f"live, {what}", _message(8, _number(3, _SIZE_BYTES)))
        event = _number(9, _COUNTER) + _number(11, track) + _number(30, moment.live)
        yield _event(moment.time_ns, event)


def _track(number: int, name: str, more: bytes = b"") -> bytes:
    """A packet with a TrackDescriptor."""
    track = _number(1, number) + _text(2, name) + more
    return _number(10, _SEQUENCE) + _message(60, track)


def _event(time_ns: int, event: bytes) -> bytes:
    """A packet with a TrackEvent."""
    return _number(8, time_ns) + _number(10, _SEQUENCE) + _message(11, event)


def _annotation(name: str, value: Any) -> bytes:
    """A DebugAnnotation."""
    named = _text(10, name)
    return named + (
        _number(4, value) if isinstance(value, int) else _text(6, str(value))
    )


# ---- https://protobuf.dev/programming-guides/encoding ----


def _varint(number: int) -> bytes:
    # An int64 that is negative is written as its two's complement.
    number &= (1 << 64) - 1
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


def _number(field: int, number: int) -> bytes:
    return _varint(field << 3) + _varint(number)


def _message(field: int, data: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _text(field: int, text: str) -> bytes:
    return _message(field, printable(text).encode())

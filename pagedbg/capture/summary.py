# SPDX-License-Identifier: GPL-2.0-or-later
"""What there is to know of a piece of a capture's events without reading it again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pagedbg.schema.event_record import EVENTS, MOST_RECORDS, NO_RECORD, SET, TRACEPOINT

NEVER = 1 << 62
"""A time that is later than any."""

_Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 40)]
_Seq = Annotated[int, msgspec.Meta(ge=1, lt=MOST_RECORDS)]
_Time = Annotated[int, msgspec.Meta(ge=0, le=NEVER)]
_Kinds = Annotated[list[_Count], msgspec.Meta(min_length=EVENTS, max_length=EVENTS)]


class CpuSpan(msgspec.Struct, array_like=True):
    """The records of one CPU: the first and the last number, and how many."""

    cpu: Annotated[int, msgspec.Meta(ge=0, lt=1 << 16)]
    first: _Seq
    last: _Seq
    count: _Count


class Summary(msgspec.Struct):
    """
    Of the sound ``records`` of a piece, by ``cpus`` and by ``kinds`` (of event); and
    how many are ``damaged`` or ``repeated`` beside them.

    ``unread`` are the kinds of which some could not read the page's record. Times in
    ns: ``first_set`` is the least ``ts_nsec`` of a set, ``latest`` the greatest
    ``ts_nsec`` or ``time_nsec``. Of events that tell ``time_nsec`` it is from ``time``
    to ``time_to``, and of others ``mono_nsec`` from ``mono`` to ``mono_to``;
    ``timeless`` tell neither, and ``both`` tell both.
    """

    records: _Count = 0
    damaged: _Count = 0
    repeated: _Count = 0
    cpus: Annotated[list[CpuSpan], msgspec.Meta(max_length=1 << 16)] = []
    kinds: _Kinds = msgspec.field(default_factory=lambda: [0] * EVENTS)
    unread: Annotated[list[_Count], msgspec.Meta(max_length=EVENTS)] = []
    first_set: _Time = NEVER
    latest: _Time = 0
    time: _Time = NEVER
    time_to: _Time = 0
    mono: _Time = NEVER
    mono_to: _Time = 0
    timeless: _Count = 0
    both: _Count = 0

    def __add__(self, other: Summary) -> Summary:
        """What is to be said of both together, but for their ``cpus``."""
        return Summary(
            self.records + other.records,
            self.damaged + other.damaged,
            self.repeated + other.repeated,
            [],
            [a + b for a, b in zip(self.kinds, other.kinds, strict=True)],
            sorted({*self.unread, *other.unread}),
            min(self.first_set, other.first_set),
            max(self.latest, other.latest),
            min(self.time, other.time),
            max(self.time_to, other.time_to),
            min(self.mono, other.mono),
            max(self.mono_to, other.mono_to),
            self.timeless + other.timeless,
            self.both + other.both,
        )


def about_a_page(records: NDArray[Any] | Mapping[str, Any]) -> NDArray[np.bool_]:
    """Which events have read the record of their page, or need none."""
    told: NDArray[np.bool_] = (records["flags"] & (NO_RECORD | TRACEPOINT)) != NO_RECORD
    return told


def summary_of(
    records: NDArray[Any] | Mapping[str, Any], damaged: int = 0, repeated: int = 0
) -> Summary:
    """
    Sum up records.

    :param records: an array of :data:`pagedbg.schema.event_record.RECORD`, or its
        members
    """
    kind, ts = records["event"], records["ts_nsec"]
    if not len(kind):
        return Summary(damaged=damaged, repeated=repeated)
    time, mono = records["time_nsec"], records["mono_nsec"]
    told, other = time > 0, (time == 0) & (mono > 0)
    time_from, time_to = _span(time[told])
    mono_from, mono_to = _span(mono[other])
    return Summary(
        records=len(kind),
        damaged=damaged,
        repeated=repeated,
        cpus=_spans(records["cpu"], records["seq"]),
        kinds=np.bincount(kind, minlength=EVENTS).tolist(),
        unread=np.flatnonzero(np.bincount(kind[~about_a_page(records)])).tolist(),
        first_set=_span(ts[kind == SET])[0],
        latest=max(int(ts.max()), time_to),
        time=time_from,
        time_to=time_to,
        mono=mono_from,
        mono_to=mono_to,
        timeless=int(np.count_nonzero(~told & ~other)),
        both=int(np.count_nonzero(told & (mono > 0))),
    )


def _span(values: NDArray[Any]) -> tuple[int, int]:
    return (int(values.min()), int(values.max())) if len(values) else (NEVER, 0)


def _spans(cpu: NDArray[Any], seq: NDArray[Any]) -> list[CpuSpan]:
    by_cpu = np.argsort(cpu, kind="stable")
    cpus, start = np.unique(cpu[by_cpu], return_index=True)
    seq = seq[by_cpu]
    return [
        CpuSpan(*each)
        for each in zip(
            cpus.tolist(),
            np.minimum.reduceat(seq, start).tolist(),
            np.maximum.reduceat(seq, start).tolist(),
            np.diff(start, append=len(seq)).tolist(),
            strict=True,
        )
    ]

# SPDX-License-Identifier: GPL-2.0-or-later
"""A filter as the kernel is told it, ``struct pagedbg_filter``, and back again."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pagedbg.errors import UsageError
from pagedbg.schema.event_filter import (
    COMMS,
    MOST_NUMBER,
    PIDS,
    EventFilter,
    NumberSpan,
    OrderShare,
    flag_names,
    shares_of,
)
from pagedbg.schema.event_record import (
    EVENT_KINDS,
    FREEZE,
    KINDS_BY_WORD,
    MOST_ORDER,
    ORDERS,
    USUAL_WORDS,
)
from pagedbg.schema.filter_words import threshold
from pagedbg.schema.recorded_names import RecordedNames

RANGES, OWN = 16, 4

_RANGE = np.dtype([("start", "<u8"), ("end", "<u8")])
_NAME = np.dtype([("value", "<u8", 2), ("mask", "<u8", 2)])

FILTER: np.dtype[Any] = np.dtype(
    [
        ("threshold", "<u8", ORDERS),
        ("events", "<u4"),
        ("gfp_mask", "<u4"),
        ("migratetypes", "<u4"),
        ("ranges", "<u4"),
        ("pids", "<u4"),
        ("comms", "<u4"),
        ("own", "<u4", OWN),
        ("orders", "<u4"),
        ("more", "<u4"),
        ("range", _RANGE, RANGES),
        ("pid", _RANGE, PIDS),
        ("comm", _NAME, COMMS),
    ]
)
"""``struct pagedbg_filter``"""

FILTERS: np.dtype[Any] = np.dtype([("filter", FILTER, 4), ("freeze", FREEZE)])
"""``struct pagedbg_filters``"""

_MOST_PFN = (1 << 64) - 2
_MOST_PID = (1 << 63) - 1

# What a gfp mask can ask for.
_MIGRATETYPES = 4

_NO_RANGE = 1, 0


def pack(filter_: EventFilter, names: RecordedNames) -> NDArray[Any]:
    """
    Return a filter as an element of :data:`FILTER`.

    :param names: those that the filter was made with
    :raises UsageError: if zones, nodes and pages together are more than the kernel can
        be told
    """
    packed: NDArray[Any] = np.zeros((), FILTER)
    shares = (OrderShare(0, MOST_ORDER),) if filter_.orders is None else filter_.orders
    for share in shares:
        packed["threshold"][share.low : share.high + 1] = threshold(share.percent)
        packed["orders"] = share.high + 1
    words = USUAL_WORDS if filter_.events is None else filter_.events
    packed["events"] = sum(1 << KINDS_BY_WORD[word].number for word in words)
    packed["gfp_mask"] = functools.reduce(
        operator.or_, (_mask(names, flag) for flag in filter_.gfp or ()), 0
    )
    packed["migratetypes"] = sum(
        1 << names.migratetype.index(name) for name in set(filter_.migratetype or ())
    )
    if filter_.pid is not None:
        pids = [(low, _MOST_PID if high is None else high) for low, high in filter_.pid]
        _put(packed, "pids", "pid", pids)
    comms = filter_.comm or ()
    for index, pattern in enumerate(comms):
        packed["comm"][index] = _comm_words(pattern)
    packed["comms"] = len(comms)
    ranges = _page_ranges(filter_, names)
    if ranges is not None:
        if len(ranges) > RANGES:
            raise UsageError(
                f"{len(ranges)} pieces of memory are more than the"
                f" {RANGES} that the kernel can be told"
            )
        _put(packed, "ranges", "range", ranges)
    packed["more"] = any(
        packed[name] for name in ("gfp_mask", "migratetypes", "ranges", "pids", "comms")
    )
    return packed


def _put(
    packed: NDArray[Any], count: str, member: str, ranges: Sequence[tuple[int, int]]
) -> None:
    # The kernel takes none for all: instead of none it is told one that is empty.
    listed = ranges or [_NO_RANGE]
    for index, pair in enumerate(listed):
        packed[member][index] = pair
    packed[count] = len(listed)


def _mask(names: RecordedNames, flag: str) -> int:
    """The bits of a flag; what has no name is a number."""
    if flag.startswith("0x"):
        return int(flag, 16)
    return next(mask for mask, name in names.gfp if name == flag)


def _comm_words(pattern: str) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """The bytes of a name, and a mask of those that count."""
    start = pattern.removesuffix("*")
    text = start.encode()
    value = text.replace(b"?", b"\0")
    mask = bytes(0 if letter == ord("?") else 0xFF for letter in text)
    if start == pattern:
        value, mask = value + b"\0", mask + b"\xff"
    words = [np.frombuffer(part.ljust(16, b"\0"), "<u8") for part in (value, mask)]
    return words[0], words[1]


def _page_ranges(
    filter_: EventFilter, names: RecordedNames
) -> list[tuple[int, int]] | None:
    """
    The page frame numbers that ``pfns``, ``zone`` and ``node`` leave, as closed ranges;
    None if all.
    """
    if filter_.zone is None and filter_.node is None:
        return None if filter_.pfns is None else list(filter_.pfns)
    inside: list[tuple[int, int]] = []
    outside: list[tuple[int, int]] = []
    for span in names.zones:
        wanted = (filter_.zone is None or span.zone in filter_.zone) and (
            filter_.node is None or _in(span.node, filter_.node)
        )
        (inside if wanted else outside).append((span.start_pfn, span.end_pfn - 1))
    if any(
        start <= last and first <= end
        for start, end in inside
        for first, last in outside
    ):
        raise UsageError(
            "zones and nodes of this machine lie interleaved; filter by them when"
            " looking at the capture"
        )
    asked = [(0, _MOST_PFN)] if filter_.pfns is None else filter_.pfns
    return [
        (max(start, first), min(end, last))
        for start, end in inside
        for first, last in asked
        if max(start, first) <= min(end, last)
    ]


def _in(number: int, spans: Sequence[NumberSpan]) -> bool:
    return any(
        low <= number and (high is None or number <= high) for low, high in spans
    )


def unpack(packed: np.void | NDArray[Any], names: RecordedNames) -> EventFilter:
    """
    Return what the kernel was told; with zones and nodes as ranges of pages.

    :param packed: an element of :data:`FILTER`
    :param names: those of that kernel, as far as they are known
    :raises ValueError: if nobody can have told it that
    """
    thresholds = np.minimum(packed["threshold"][: MOST_ORDER + 1], threshold(100))
    words = tuple(
        kind.word for kind in EVENT_KINDS if int(packed["events"]) >> kind.number & 1
    )
    migratetypes = [
        names.migratetype[number] if number < len(names.migratetype) else str(number)
        for number in range(_MIGRATETYPES)
        if int(packed["migratetypes"]) >> number & 1
    ]
    pids = _spans(packed, "pids", "pid")
    value = {
        "orders": shares_of(thresholds.tolist()),
        "events": None if words == USUAL_WORDS else words,
        "gfp": flag_names(names, int(packed["gfp_mask"])),
        "migratetype": migratetypes or None,
        "pid": (
            None
            if pids is None
            else [(low, high if high <= MOST_NUMBER else None) for low, high in pids]
        ),
        "comm": [_pattern(name) for name in _used(packed, "comms", "comm")] or None,
        "pfns": _spans(packed, "ranges", "range"),
    }
    try:
        return msgspec.convert(value, EventFilter, from_attributes=True)
    except msgspec.ValidationError as error:
        raise ValueError(f"the filter is damaged: {error}") from None


def _used(packed: Any, count: str, member: str) -> Iterator[Any]:
    if packed[count] > len(packed[member]):
        raise ValueError(f"the filter is damaged: it has {packed[count]} {count}")
    yield from packed[member][: packed[count]]


def _spans(packed: Any, count: str, member: str) -> list[tuple[int, int]] | None:
    """The ranges in use that are not empty; None if none is in use, which is all."""
    used = [tuple(pair.tolist()) for pair in _used(packed, count, member)]
    return [(low, high) for low, high in used if low <= high] if used else None


def _pattern(name: np.void) -> str:
    """What :func:`_comm_words` has made these words of."""
    value, mask = (
        b"".join(int(word).to_bytes(8, "little") for word in name[member].tolist())
        for member in ("value", "mask")
    )
    text = bytes(
        letter if care else ord("?") for letter, care in zip(value, mask, strict=True)
    )
    whole = text.partition(b"\0")[0]
    return (whole if len(whole) < len(text) else text.rstrip(b"?") + b"*").decode(
        errors="backslashreplace"
    )

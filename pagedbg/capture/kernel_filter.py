# SPDX-License-Identifier: GPL-2.0-or-later
"""
The filters that are applied in the kernel, before anything else is done: made from the
same words as everywhere.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from drgn import Program
from numpy.typing import NDArray

from pagedbg.errors import UsageError
from pagedbg.mm.gfp import decode_gfp_mask, gfpflag_names, parse_gfp_flags
from pagedbg.mm.migrate import migratetype_names
from pagedbg.mm.mmzone import zone_names, zone_spans
from pagedbg.schema import event_record, filter_words

OPTIONS = (
    "orders",
    "events",
    "gfp",
    "migratetype",
    "zone",
    "node",
    "pid",
    "comm",
    "pfns",
)
"""What can be filtered in the kernel, by the names of the options."""

EVENT_WORDS = {
    name.replace("set migrate", "migrate"): event
    for event, name in event_record.EVENT_NAMES.items()
}
"""Events as they are typed."""

_ALL = 1 << 32
_MOST_PFN = (1 << 64) - 2
_MOST_PID = (1 << 63) - 1


def everything() -> NDArray[Any]:
    """A filter that lets everything pass."""
    filter_ = np.zeros((), event_record.FILTER)
    filter_["threshold"] = _ALL
    filter_["events"] = (1 << event_record.EVENTS) - 1
    filter_["orders"] = event_record.ORDERS
    return filter_


def build_filter(prog: Program, options: Mapping[str, str]) -> NDArray[Any]:
    """
    Return the filter for options as they were typed.

    :param options: values by name, of :data:`OPTIONS`
    :return: an element of :data:`~pagedbg.schema.event_record.FILTER`
    :raises UsageError: for what cannot be understood, or not be done in the kernel
    """
    filter_ = everything()
    for name, text in options.items():
        try:
            _PARTS[name](prog, filter_, text)
        except UsageError as error:
            raise UsageError(f"--{name}: {error}") from None
    ranges = _page_ranges(prog, options)
    if ranges is not None:
        _put(
            filter_, "ranges", "range", event_record.RANGES, ranges, "pieces of memory"
        )
    filter_["more"] = any(
        filter_[name]
        for name in ("gfp_mask", "migratetypes", "ranges", "pids", "comms")
    )
    return filter_


def _orders(prog: Program, filter_: NDArray[Any], text: str) -> None:
    threshold = np.zeros(event_record.ORDERS, np.uint64)
    for low, high, percent in filter_words.parse_orders(text).parts:
        if low >= event_record.ORDERS:
            raise UsageError(
                f"no allocation has an order of {low}; write 4, 4-9, '>=3' or"
                " 0:20,1:50,4 (order:percent)"
            )
        here = threshold[low : high + 1]
        np.maximum(here, np.uint64(int(_ALL * percent / 100)), out=here)
    filter_["threshold"] = threshold
    filter_["orders"] = int(np.flatnonzero(threshold)[-1]) + 1 if threshold.any() else 0


def parse_events(text: str) -> int:
    """
    Words of :data:`EVENT_WORDS` with commas, as a mask of ``1 << enum pagedbg_event``.
    """
    mask = 0
    for word in (part.strip() for part in text.split(",")):
        if word not in EVENT_WORDS:
            raise UsageError(
                f"there is no event {word!r}, only {', '.join(EVENT_WORDS)}"
            )
        mask |= 1 << EVENT_WORDS[word]
    return mask


def _events(prog: Program, filter_: NDArray[Any], text: str) -> None:
    filter_["events"] = parse_events(text)


def _gfp(prog: Program, filter_: NDArray[Any], text: str) -> None:
    filter_["gfp_mask"] = parse_gfp_flags(prog, text)


def _migratetype(prog: Program, filter_: NDArray[Any], text: str) -> None:
    # What a gfp mask can ask for has two bits of it.
    names = migratetype_names(prog)[:4]
    wanted = filter_words.parse_kinds(
        text, names, "migratetype that an allocation asks for"
    )
    masks = {name: mask for mask, name in gfpflag_names(prog)}
    if (masks.get("__GFP_MOVABLE"), masks.get("__GFP_RECLAIMABLE")) != (0x8, 0x10):
        raise UsageError(
            "this kernel keeps migratetypes elsewhere in a gfp mask; filter with"
            " --migratetype when looking at the capture"
        )
    filter_["migratetypes"] = sum(
        1 << index for index, name in enumerate(names) if wanted(name)
    )


def _pid(prog: Program, filter_: NDArray[Any], text: str) -> None:
    ranges = [
        (low, min(high, _MOST_PID))
        for low, high in filter_words.parse_numbers(text).ranges
    ]
    if any(low < 0 for low, _ in ranges):
        raise UsageError(f"{text!r} is no process: the kernel records those that run")
    if any(low > high for low, high in ranges):
        raise UsageError(f"{text!r} is more than any process can have for a number")
    _put(filter_, "pids", "pid", event_record.PIDS, ranges, "ranges")


def _comm(prog: Program, filter_: NDArray[Any], text: str) -> None:
    patterns = filter_words.parse_names(text).patterns
    if len(patterns) > event_record.COMMS:
        raise UsageError(
            f"{len(patterns)} names are more than the {event_record.COMMS} that the"
            " kernel can be told"
        )
    for index, pattern in enumerate(patterns):
        value, mask = _comm_words(pattern)
        filter_["comm"][index] = value, mask
    filter_["comms"] = len(patterns)


def _comm_words(pattern: str) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """
    A name, in which ``?`` stands for any letter and a ``*`` at the end for any rest, as
    bytes and a mask of those that count.
    """
    start = pattern.removesuffix("*")
    if "*" in start or "[" in start:
        raise UsageError(
            f"{pattern!r} cannot be matched in the kernel, which takes ? and one * at"
            " the end"
        )
    text = start.encode()
    value, mask = (
        text.replace(b"?", b"\0"),
        bytes(0 if letter == ord("?") else 0xFF for letter in text),
    )
    if start == pattern:
        value, mask = value + b"\0", mask + b"\xff"
    # TASK_COMM_LEN: a longer name is cut, and ends with a NUL whatever it was.
    if len(text) > 15:
        value, mask = value[:15] + b"\0", mask[:15] + b"\xff"
    words = [np.frombuffer(part.ljust(16, b"\0"), "<u8") for part in (value, mask)]
    return words[0], words[1]


def _page_ranges(
    prog: Program, options: Mapping[str, str]
) -> list[tuple[int, int]] | None:
    """
    The page frame numbers that --pfns, --zone and --node leave, as closed ranges; None
    if all.
    """
    ranges: list[tuple[int, int]] | None = None
    if "pfns" in options:
        start, end = filter_words.parse_pfns(options["pfns"])
        ranges = [(start, end - 1)]
    if "zone" in options or "node" in options:
        zone = (
            filter_words.parse_kinds(options["zone"], zone_names(prog), "zone")
            if "zone" in options
            else None
        )
        nodes = (
            filter_words.parse_numbers(options["node"]) if "node" in options else None
        )

        def wanted(name: str, nid: int) -> bool:
            return (zone is None or zone(name)) and (
                nodes is None or bool(nodes.mask(np.array([nid]))[0])
            )

        spans = zone_spans(prog)
        inside = [
            (span.start_pfn, span.end_pfn - 1)
            for span in spans
            if wanted(span.name, span.nid)
        ]
        outside = [
            (span.start_pfn, span.end_pfn - 1)
            for span in spans
            if not wanted(span.name, span.nid)
        ]
        if any(
            start <= last and first <= end
            for start, end in inside
            for first, last in outside
        ):
            raise UsageError(
                "zones and nodes of this machine lie interleaved; filter by them when"
                " looking at the capture"
            )
        ranges = [
            (max(start, first), min(end, last))
            for start, end in inside
            for first, last in (ranges if ranges is not None else [(0, _MOST_PFN)])
            if max(start, first) <= min(end, last)
        ]
    return ranges


def _put(
    filter_: NDArray[Any],
    count: str,
    member: str,
    most: int,
    ranges: Iterable[tuple[int, int]],
    what: str,
) -> None:
    listed: Sequence[tuple[int, int]] = list(ranges) or [(1, 0)]
    if len(listed) > most:
        raise UsageError(
            f"{len(listed)} {what} are more than the {most} that the kernel can be told"
        )
    for index, pair in enumerate(listed):
        filter_[member][index] = pair
    filter_[count] = len(listed)


def _nothing(prog: Program, filter_: NDArray[Any], text: str) -> None:
    """Together with others, in :func:`_page_ranges`."""


_PARTS: dict[str, Callable[[Program, NDArray[Any], str], None]] = {
    "orders": _orders,
    "events": _events,
    "gfp": _gfp,
    "migratetype": _migratetype,
    "zone": _nothing,
    "node": _nothing,
    "pid": _pid,
    "comm": _comm,
    "pfns": _nothing,
}


def describe(options: Mapping[str, str]) -> str:
    """The options as they would be typed."""
    return (
        " ".join(f"--{name} {_quoted(text)}" for name, text in options.items())
        or "everything"
    )


def describe_filter(prog: Program, filter_: np.void) -> str:
    """
    A filter, an element of :data:`~pagedbg.schema.event_record.FILTER`, as it would be
    typed; with zones and nodes as ranges of pages.
    """
    options: dict[str, str] = {}
    if (filter_["threshold"] < _ALL).any():
        options["orders"] = _order_words(filter_["threshold"].tolist()) or "none"
    events = [
        word
        for word, event in EVENT_WORDS.items()
        if int(filter_["events"]) >> event & 1
    ]
    if len(events) < len(EVENT_WORDS):
        options["events"] = ",".join(events) or "none"
    if filter_["gfp_mask"]:
        options["gfp"] = decode_gfp_mask(gfpflag_names(prog), int(filter_["gfp_mask"]))
    if filter_["migratetypes"]:
        names = migratetype_names(prog)[:4]
        options["migratetype"] = ",".join(
            name
            for index, name in enumerate(names)
            if int(filter_["migratetypes"]) >> index & 1
        )
    if filter_["pids"]:
        options["pid"] = ",".join(
            _span(*pair) for pair in filter_["pid"][: filter_["pids"]].tolist()
        )
    if filter_["comms"]:
        options["comm"] = ",".join(
            _pattern(each) for each in filter_["comm"][: filter_["comms"]]
        )
    if filter_["ranges"]:
        options["pfns"] = ",".join(
            f"{start:#x}-{end:#x}"
            for start, end in filter_["range"][: filter_["ranges"]].tolist()
        )
    return describe(options)


def _order_words(thresholds: Sequence[int]) -> str:
    """``0:20,4-9`` for the orders that take part."""
    parts = []
    for threshold, group in itertools.groupby(
        range(len(thresholds)), key=thresholds.__getitem__
    ):
        if threshold:
            run = list(group)
            span = (
                f">={run[0]}"
                if run[-1] == event_record.ORDERS - 1
                else _span(run[0], run[-1])
            )
            parts.append(
                span + ("" if threshold >= _ALL else f":{100 * threshold / _ALL:.4g}")
            )
    return ",".join(parts)


def _span(start: int, end: int) -> str:
    return str(start) if start == end else f"{start}-{end}"


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


def _quoted(text: str) -> str:
    return (
        text
        if re.fullmatch(r"[\w:,.+-]+", text)
        else "'" + text.replace("'", "'\\''") + "'"
    )

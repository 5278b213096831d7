# SPDX-License-Identifier: GPL-2.0-or-later
"""
What ``meta.json`` of a capture says. A capture may be from a stranger: all of it is
checked when it is read, against the types and bounds here.

``contrib/capture-format.md`` says what each key means.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec

from pagedbg.errors import PagedbgError, UsageError
from pagedbg.schema import event_record
from pagedbg.schema.event_filter import EventFilter, filter_of
from pagedbg.schema.event_record import (
    EVENT_NAMES,
    EVENTS,
    ORDERS,
    RECORD,
    TRACEPOINTS,
)
from pagedbg.schema.former_rings import FORMER
from pagedbg.schema.freezing import Frozen
from pagedbg.schema.recorded_names import Name, RecordedNames

FORMAT, VERSION = "pagedbg capture", 4

# Had filters as the options of trace set.
_VERSION_OF_LINES = 2

# Had records as former_rings describes them.
_FORMER_RECORDS = 3

MOST_BYTES = 16 << 20
"""More than ``meta.json`` of the largest machine can need."""

# How often the filter of a recording may have been changed.
_MOST_FILTERS = 1 << 12

_Number = Annotated[int, msgspec.Meta(ge=0, le=1 << 62)]
_Time = Annotated[int, msgspec.Meta(ge=-(1 << 62), le=1 << 62)]
_Text = Annotated[str, msgspec.Meta(max_length=1 << 16)]
_ByOrder = Annotated[list[_Number], msgspec.Meta(min_length=ORDERS, max_length=ORDERS)]
_ByEvent = Annotated[list[_ByOrder], msgspec.Meta(min_length=EVENTS, max_length=EVENTS)]

Event = Annotated[str, msgspec.Meta(pattern=rf"\A({'|'.join(EVENT_NAMES.values())})\Z")]
"""An event as ``functions`` and ``failed`` name it."""

Backend = Literal["bpf", "kmod"]
Attach = Literal["combined", "trampoline", "kprobe", "tracepoint", "module"]

# Their names, for who has no use for the back end itself.
BPF: Final = "bpf"
KMOD: Final = "kmod"
MODULE: Final = "module"


def module_attach(functions: Mapping[str, str]) -> Attach:
    """
    How the kernel module is attached.

    :param functions: the function or tracepoint that it hears of each event from
    """
    if functions.get("set") == TRACEPOINTS["set"]:
        return "tracepoint"
    return "module" if functions.get("reset") == TRACEPOINTS["reset"] else "kprobe"


class Kernel(msgspec.Struct):
    """Which kernel it was, and what of it matters to whoever reads events."""

    release: Name
    build_id: Name
    boot_id: Name
    page_size: Annotated[int, msgspec.Meta(ge=4096, le=1 << 20)]
    page_owner: bool
    swaps_handles: bool = False


class Since(msgspec.Struct):
    """
    A filter, None if it is not known, and since when it was in force (nanoseconds of
    CLOCK_MONOTONIC).
    """

    since_ns: _Time
    filter: EventFilter | None


class Begun(msgspec.Struct):
    """When it began."""

    mono_ns: _Time
    wall: Name
    local_ns: _Time | None = None


class Ended(msgspec.Struct):
    """When it ended, and why."""

    mono_ns: _Time
    wall: Name
    by: _Text
    local_ns: _Time | None = None


class Cpu(msgspec.Struct, array_like=True):
    """
    Of one CPU: ``next``, the number of the first record that was not read from its ring
    yet; ``lost``, how many were overwritten before that; ``written``, how many are in
    the capture.
    """

    next: _Number
    lost: _Number
    written: _Number


class Counts(msgspec.Struct):
    """How many events there were, and what became of them."""

    recorded: _Number = 0
    read: _Number = 0
    lost: _Number = 0
    dropped: _Number = 0
    cleared: _Number = 0
    missed: _Number = 0
    forgotten: _Number = 0
    seen: _ByEvent = msgspec.field(
        default_factory=lambda: [[0] * ORDERS for _ in range(EVENTS)]
    )
    recorded_by: _ByEvent = msgspec.field(
        default_factory=lambda: [[0] * ORDERS for _ in range(EVENTS)]
    )
    left_out: _Number = 0
    damaged: _Number = 0
    cpus: Annotated[list[Cpu], msgspec.Meta(max_length=1 << 16)] = []

    @property
    def kept(self) -> int:
        """How many events should be in the file."""
        return max(self.read - self.dropped - self.cleared, 0)


class Recovered(msgspec.Struct):
    """
    Of what was found in the rings of a dump; ``joined`` is the path of the capture that
    its recorder had written, where both are one.
    """

    from_: _Text = msgspec.field(name="from")
    counters: bool
    missed: bool
    said: list[_Text] = []
    joined: _Text | None = None


class Process(msgspec.Struct):
    """A process: its pid, and when it was started in clock ticks since boot."""

    pid: Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)]
    started: _Number


class Attached(msgspec.Struct):
    """
    What records, and on what: which functions by event, and why others are not among
    them.
    """

    backend: Backend
    attach: Attach
    functions: dict[Event, Name]
    failed: dict[Event, _Text]


class Meta(msgspec.Struct, kw_only=True):
    """All of it."""

    format: Literal["pagedbg capture"] = "pagedbg capture"
    version: Literal[3, 4] = 4
    record_size: Literal[128] = 128
    kernel: Kernel
    backend: Backend
    attach: Attach
    functions: dict[Event, Name]
    failed: dict[Event, _Text]
    slots: _Number
    ring: bool
    held: bool = False
    filters: Annotated[
        list[Since], msgspec.Meta(min_length=1, max_length=_MOST_FILTERS)
    ]
    begun: Begun
    ended: Ended | None = None
    recovered: Recovered | None = None
    frozen: Frozen | None = None
    counts: Counts = msgspec.field(default_factory=Counts)
    silenced: _Text | None = None
    names: RecordedNames
    recorder: Process

    @property
    def rings(self) -> int:
        """The version of ``bpf/ring.h`` that the records are of."""
        return event_record.VERSION if self.version == VERSION else FORMER

    @property
    def attached(self) -> Attached:
        """What recorded."""
        return Attached(self.backend, self.attach, self.functions, self.failed)


class _Head(msgspec.Struct):
    format: Any = None
    version: Any = None
    record_size: Any = None


class MetaError(PagedbgError):
    """
    It is none, or damaged; the text goes on after "is no capture of pagedbg: " or the
    like.
    """


def decode(data: bytes) -> Meta:
    """
    Return what ``meta.json`` says.

    :raises MetaError: if it says nothing of a capture, is of another version, or is
        damaged, in words that go on a sentence
    """
    try:
        head = msgspec.json.decode(data, type=_Head)
    except msgspec.ValidationError:
        raise MetaError(
            "is no capture of pagedbg: meta.json says nothing of one"
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise MetaError("is no capture of pagedbg: meta.json is damaged") from None
    if head.format != FORMAT:
        raise MetaError("is no capture of pagedbg: meta.json says nothing of one")
    if (
        head.version not in (VERSION, _FORMER_RECORDS, _VERSION_OF_LINES)
        or head.record_size != RECORD.itemsize
    ):
        version = head.version if type(head.version) is int else "(unreadable)"
        raise MetaError(
            f"has version {version} of the format, and this pagedbg reads"
            f" {_VERSION_OF_LINES} to {VERSION}"
        )
    try:
        if head.version == _VERSION_OF_LINES:
            return _with_lines(data)
        return msgspec.json.decode(data, type=Meta)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MetaError(
            f"is no capture of pagedbg: meta.json is damaged ({error})"
        ) from None


class _Line(msgspec.Struct):
    since_ns: _Time
    filter: _Text


# What is longer nobody has typed; to take it apart may take long.
_LONGEST_LINE = 1024


class _Lines(msgspec.Struct):
    names: RecordedNames
    filters: Annotated[list[_Line], msgspec.Meta(max_length=_MOST_FILTERS)]


def _with_lines(data: bytes) -> Meta:
    """What one of the former version says."""
    told = msgspec.json.decode(data, type=_Lines)
    known = {
        line: _filter_of(line, told.names)
        for line in {each.filter for each in told.filters}
    }
    filters = [
        {"since_ns": each.since_ns, "filter": known[each.filter]}
        for each in told.filters
    ]
    meta = msgspec.json.decode(data)
    return msgspec.convert(
        {**meta, "version": _FORMER_RECORDS, "filters": msgspec.to_builtins(filters)},
        Meta,
        str_keys=True,
    )


def _filter_of(line: str, names: RecordedNames) -> EventFilter | None:
    """The filter that such a line stands for; None if that cannot be made out."""
    if line == "everything":
        return EventFilter()
    if len(line) > _LONGEST_LINE:
        return None
    try:
        parts = shlex.split(line)
        options = zip(parts[::2], parts[1::2], strict=True)
        typed = {option.removeprefix("--"): text for option, text in options}
        return filter_of(typed, names) if typed else None
    except (ValueError, UsageError):
        return None


def encode(meta: Meta) -> bytes:
    """Return ``meta.json``, a line a key."""
    return msgspec.json.format(msgspec.json.encode(meta), indent=1)


def storable(text: str) -> str:
    """Text as JSON can hold it: what was typed may be bytes that are no text."""
    return text.encode(errors="backslashreplace").decode()

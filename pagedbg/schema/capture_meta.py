# SPDX-License-Identifier: GPL-2.0-or-later
"""
What ``meta.json`` of a capture says. A capture may be from a stranger: all of it is
checked when it is read, against the types and bounds here.

``contrib/capture-format.md`` says what each key means.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from pagedbg.errors import PagedbgError
from pagedbg.schema.event_record import EVENTS, ORDERS, RECORD

FORMAT, VERSION = "pagedbg capture", 2

MOST_BYTES = 16 << 20
"""More than ``meta.json`` of the largest machine can need."""

_Number = Annotated[int, msgspec.Meta(ge=0, le=1 << 62)]
_Time = Annotated[int, msgspec.Meta(ge=-(1 << 62), le=1 << 62)]
_Name = Annotated[str, msgspec.Meta(max_length=256)]
_Text = Annotated[str, msgspec.Meta(max_length=1 << 16)]
Mask = Annotated[int, msgspec.Meta(ge=0, lt=1 << 32)]
_Pfn = Annotated[int, msgspec.Meta(ge=0, le=1 << 52)]
_ByOrder = Annotated[list[_Number], msgspec.Meta(min_length=ORDERS, max_length=ORDERS)]
_ByEvent = Annotated[list[_ByOrder], msgspec.Meta(min_length=EVENTS, max_length=EVENTS)]

Event = Literal["set", "reset", "split", "copy", "set migrate", "dump", "read"]
"""An event as ``functions`` and ``failed`` name it."""


Backend = Literal["bpf", "kmod"]
Attach = Literal["trampoline", "kprobe", "tracepoint", "module"]


class Kernel(msgspec.Struct):
    """Which kernel it was, and what of it matters to whoever reads events."""

    release: _Name
    build_id: _Name
    boot_id: _Name
    page_size: Annotated[int, msgspec.Meta(ge=4096, le=1 << 20)]
    page_owner: bool
    swaps_handles: bool = False


class Zone(msgspec.Struct):
    """The span of a zone: ``start_pfn`` to ``end_pfn``, which is behind it."""

    node: Annotated[int, msgspec.Meta(ge=0, lt=1 << 16)]
    zone: _Name
    start_pfn: _Pfn
    end_pfn: _Pfn


class Names(msgspec.Struct):
    """What numbers in events stand for."""

    gfp: list[tuple[Mask, _Name]] = []
    migratetype: list[_Name] = []
    migrate_reason: list[_Name] = []
    special_handles: dict[Mask, _Name] = {}
    zones: list[Zone] = []


class Since(msgspec.Struct):
    """
    A filter, as ``trace set`` would be told it, and since when it was in force
    (nanoseconds of CLOCK_MONOTONIC).
    """

    since_ns: _Time
    filter: _Text


class Begun(msgspec.Struct):
    """When it began."""

    mono_ns: _Time
    wall: _Name
    local_ns: _Time | None = None


class Ended(msgspec.Struct):
    """When it ended, and why."""

    mono_ns: _Time
    wall: _Name
    by: _Text
    local_ns: _Time | None = None


class Cpu(msgspec.Struct, array_like=True):
    """
    Of one CPU: ``next``, the number of the first record that was not read from its ring
    yet; ``lost``, how many were overwritten before that; ``written``, how many are in
    ``events.bin``.
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
    """Of what was found in the rings of a dump."""

    from_: _Text = msgspec.field(name="from")
    counters: bool
    missed: bool
    said: list[_Text] = []


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
    functions: dict[Event, _Name]
    failed: dict[Event, _Text]


class Meta(msgspec.Struct, kw_only=True):
    """All of it."""

    format: Literal["pagedbg capture"] = "pagedbg capture"
    version: Literal[2] = 2
    record_size: Literal[128] = 128
    kernel: Kernel
    backend: Backend
    attach: Attach
    functions: dict[Event, _Name]
    failed: dict[Event, _Text]
    slots: _Number
    ring: bool
    filters: Annotated[list[Since], msgspec.Meta(min_length=1)]
    begun: Begun
    ended: Ended | None = None
    recovered: Recovered | None = None
    counts: Counts = msgspec.field(default_factory=Counts)
    silenced: _Text | None = None
    names: Names
    recorder: Process

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
    if (head.version, head.record_size) != (VERSION, RECORD.itemsize):
        version = head.version if type(head.version) is int else "(unreadable)"
        raise MetaError(
            f"has version {version} of the format, and this pagedbg reads {VERSION}"
        )
    try:
        return msgspec.json.decode(data, type=Meta)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MetaError(
            f"is no capture of pagedbg: meta.json is damaged ({error})"
        ) from None


def encode(meta: Meta) -> bytes:
    """Return ``meta.json``, a line a key."""
    return msgspec.json.format(msgspec.json.encode(meta), indent=1)


def storable(text: str) -> str:
    """Text as JSON can hold it: what was typed may be bytes that are no text."""
    return text.encode(errors="backslashreplace").decode()

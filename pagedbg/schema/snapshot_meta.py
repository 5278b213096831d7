# SPDX-License-Identifier: GPL-2.0-or-later
"""
What ``meta.json`` of a snapshot says. A snapshot may be from a stranger: all of it is
checked when it is read, against the types and bounds here.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from pagedbg.errors import PagedbgError
from pagedbg.schema.recorded_names import Name
from pagedbg.schema.relations import SCHEMA_VERSION

FORMAT, VERSION = "pagedbg snapshot", 1

MOST_BYTES = 1 << 20
"""More than ``meta.json`` of a snapshot can need."""

_Number = Annotated[int, msgspec.Meta(ge=0, le=1 << 62)]
_Text = Annotated[str, msgspec.Meta(max_length=1 << 12)]
_Flags = Annotated[int, msgspec.Meta(ge=1, lt=1 << 32)]


class SnapshotKernel(msgspec.Struct):
    """
    Which kernel it was, on which host; ``pages`` is all of its memory, ``up_ns`` how
    long it had run, ``host_id`` what tells the host from another of its name. What is
    not known is None.
    """

    release: Name
    build_id: Name | None
    boot_id: Name | None
    machine: Name | None
    host: Name | None
    page_size: Annotated[int, msgspec.Meta(ge=4096, le=1 << 20)]
    pages: _Number
    up_ns: _Number | None
    host_id: Name | None = None


class SnapshotMeta(msgspec.Struct, kw_only=True):
    """
    All of it. ``taken`` is when the kernel was as the snapshot says, in ISO 8601, and
    ``source`` what was looked at: the running kernel, or a dump by the name of its
    file. ``relations`` has how many rows each has, ``missing`` why others are not
    there, and ``notes`` what could not be read of those that are.
    """

    format: Literal["pagedbg snapshot"] = "pagedbg snapshot"
    version: Literal[1] = 1
    schema: _Number
    taken: Name | None
    source: _Text
    kernel: SnapshotKernel
    gfp: Annotated[list[tuple[_Flags, Name]], msgspec.Meta(max_length=256)] = []
    relations: Annotated[dict[Name, _Number], msgspec.Meta(max_length=64)]
    missing: Annotated[dict[Name, _Text], msgspec.Meta(max_length=64)] = {}
    notes: Annotated[list[_Text], msgspec.Meta(max_length=1 << 10)] = []


class _Head(msgspec.Struct):
    format: Any = None
    version: Any = None
    schema: Any = None


class SnapshotMetaError(PagedbgError):
    """
    It is none, or damaged; the text goes on after the name of the directory. ``of`` is
    what it says that it is of.
    """

    def __init__(
        self, said: str, of: Literal["snapshot", "capture", "other"] = "snapshot"
    ) -> None:
        super().__init__(said)
        self.of = of


def decode_snapshot_meta(data: bytes) -> SnapshotMeta:
    """
    Return what ``meta.json`` says.

    :raises SnapshotMetaError: if it says nothing of a snapshot, is of another version,
        or is damaged, in words that go on a sentence
    """
    try:
        head = msgspec.json.decode(data, type=_Head)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise SnapshotMetaError("is no snapshot: its meta.json is damaged") from None
    if head.format != FORMAT:
        is_capture = head.format == "pagedbg capture"
        raise SnapshotMetaError(
            "is a capture, and no snapshot: pagedbg --capture opens it"
            if is_capture
            else "is no snapshot: its meta.json says nothing of one",
            "capture" if is_capture else "other",
        )
    if head.version != VERSION:
        version = head.version if type(head.version) is int else "(unreadable)"
        raise SnapshotMetaError(
            f"has version {version} of the format, and this pagedbg reads {VERSION}"
        )
    if type(head.schema) is int and head.schema > SCHEMA_VERSION:
        raise SnapshotMetaError(
            f"has columns of version {head.schema}, and this pagedbg reads those up to"
            f" {SCHEMA_VERSION}"
        )
    try:
        return msgspec.json.decode(data, type=SnapshotMeta)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SnapshotMetaError(
            f"is no snapshot: its meta.json is damaged ({error})"
        ) from None


def encode_snapshot_meta(meta: SnapshotMeta) -> bytes:
    """Return ``meta.json``, a line a key."""
    return msgspec.json.format(msgspec.json.encode(meta), indent=1)

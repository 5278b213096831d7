# SPDX-License-Identifier: GPL-2.0-or-later
"""
What the numbers in events and filters stand for, as a capture keeps it: nothing of it
needs a kernel.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

Handle = Annotated[int, msgspec.Meta(ge=0, lt=1 << 32)]
_Flags = Annotated[int, msgspec.Meta(ge=1, lt=1 << 32)]
Name = Annotated[str, msgspec.Meta(max_length=256)]
Pfn = Annotated[int, msgspec.Meta(ge=0, le=1 << 52)]


# MAX_NUMNODES is 1,024 at most, and a node has up to five zones.
_MOST_ZONES = 8192


class Zone(msgspec.Struct):
    """The span of a zone: ``start_pfn`` to ``end_pfn``, which is behind it."""

    node: Annotated[int, msgspec.Meta(ge=0, lt=1 << 16)]
    zone: Name
    start_pfn: Pfn
    end_pfn: Pfn


class RecordedNames(msgspec.Struct):
    """
    ``gfp`` in the kernel's order, ``migratetype`` and ``migrate_reason`` by number,
    handles of the stack depot that stand for no stack, and the populated zones.
    """

    gfp: Annotated[list[tuple[_Flags, Name]], msgspec.Meta(max_length=256)] = []
    migratetype: Annotated[list[Name], msgspec.Meta(max_length=64)] = []
    migrate_reason: Annotated[list[Name], msgspec.Meta(max_length=64)] = []
    special_handles: Annotated[dict[Handle, Name], msgspec.Meta(max_length=64)] = {}
    zones: Annotated[list[Zone], msgspec.Meta(max_length=_MOST_ZONES)] = []

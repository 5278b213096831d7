# SPDX-License-Identifier: GPL-2.0-or-later
"""
What the numbers in events and filters stand for, as a capture keeps it: nothing of it
needs a kernel.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

Mask = Annotated[int, msgspec.Meta(ge=0, lt=1 << 32)]
Name = Annotated[str, msgspec.Meta(max_length=256)]
Pfn = Annotated[int, msgspec.Meta(ge=0, le=1 << 52)]


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

    gfp: list[tuple[Mask, Name]] = []
    migratetype: list[Name] = []
    migrate_reason: list[Name] = []
    special_handles: dict[Mask, Name] = {}
    zones: list[Zone] = []

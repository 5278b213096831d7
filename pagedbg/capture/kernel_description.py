# SPDX-License-Identifier: GPL-2.0-or-later
"""
What a capture says of the kernel that it is of: ``kernel`` and ``names`` in its
``meta.json``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
from drgn import Program

from pagedbg.mm.gfp import gfpflag_names
from pagedbg.mm.migrate import migrate_reason_names, migratetype_names
from pagedbg.mm.mmzone import zone_spans
from pagedbg.mm.page_owner import page_owner_inited, special_handles
from pagedbg.schema.recorded_names import RecordedNames
from pagedbg.target.links import UNREADABLE

if TYPE_CHECKING:
    from pagedbg.target.target import Target


def kernel_of(target: Target) -> dict[str, Any]:
    """Which kernel it is, and what of it matters to whoever reads events."""
    return {
        "release": target.release,
        "build_id": target.vmcoreinfo.get("BUILD-ID", ""),
        "boot_id": target.boot_id,
        "page_size": target.prog["PAGE_SIZE"].value_(),
        "page_owner": page_owner_inited(target.prog),
        # "mm,page_owner: fix accounting of pages when migrating" goes with the list of
        # stacks that it counts in (both in v6.9).
        "swaps_handles": target.has_symbol("stack_list"),
    }


def names_of(prog: Program, unreadable: list[str] | None = None) -> RecordedNames:
    """
    What the numbers in events and filters stand for.

    :param unreadable: of a dump, takes the names of what it does not hold, or holds so
        that it cannot be right; that is empty then
    """
    names = RecordedNames()
    for name, read in _NAMES.items():
        try:
            fit = msgspec.convert({name: read(prog)}, RecordedNames)
        except (*UNREADABLE, msgspec.ValidationError):
            if unreadable is None:
                raise
            unreadable.append(name)
        else:
            setattr(names, name, getattr(fit, name))
    return names


def _zones(prog: Program) -> list[dict[str, Any]]:
    return [
        {
            "node": span.nid,
            "zone": span.name,
            "start_pfn": span.start_pfn,
            "end_pfn": span.end_pfn,
        }
        for span in zone_spans(prog)
    ]


_NAMES: dict[str, Callable[[Program], Any]] = {
    "gfp": gfpflag_names,
    "migratetype": migratetype_names,
    "migrate_reason": migrate_reason_names,
    "special_handles": (
        lambda prog: special_handles(prog) if page_owner_inited(prog) else {}
    ),
    "zones": _zones,
}

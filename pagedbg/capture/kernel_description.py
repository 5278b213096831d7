# SPDX-License-Identifier: GPL-2.0-or-later
"""
What a capture says of the kernel that it is of: ``kernel`` and ``names`` in its
``meta.json``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from drgn import FaultError, Program

from pagedbg.mm.gfp import gfpflag_names
from pagedbg.mm.migrate import migrate_reason_names, migratetype_names
from pagedbg.mm.mmzone import zone_spans
from pagedbg.mm.page_owner import page_owner_inited, special_handles

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


def names_of(prog: Program, unreadable: list[str] | None = None) -> dict[str, Any]:
    """
    What the numbers in events stand for.

    :param unreadable: of a dump, takes the names of what it does not hold, which is
        empty then
    """
    names: dict[str, Any] = {}
    for name, (read, empty) in _NAMES.items():
        try:
            names[name] = read(prog)
        except (FaultError, LookupError, ValueError):
            if unreadable is None:
                raise
            unreadable.append(name)
            names[name] = empty
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


_NAMES: dict[str, tuple[Callable[[Program], Any], Any]] = {
    "gfp": (lambda prog: [list(pair) for pair in gfpflag_names(prog)], []),
    "migratetype": (lambda prog: list(migratetype_names(prog)), []),
    "migrate_reason": (lambda prog: list(migrate_reason_names(prog)), []),
    "special_handles": (
        lambda prog: special_handles(prog) if page_owner_inited(prog) else {},
        {},
    ),
    "zones": (_zones, []),
}

# SPDX-License-Identifier: GPL-2.0-or-later
"""How often the kernel has reclaimed, compacted and killed."""

from __future__ import annotations

from drgn import Program

from pagedbg.mm.vmstat import vm_events
from pagedbg.schema.table import Row

__all__ = ("event_rows",)

# What the names of events begin with that tell of want of memory.
_TELLING = (
    *("ALLOCSTALL", "PAGEOUTRUN", "PGSCAN", "PGSTEAL", "KSWAPD", "PSWP", "DROP", "OOM"),
    *("COMPACT", "KCOMPACTD", "PGMIGRATE", "THP_FAULT", "THP_COLLAPSE", "THP_SPLIT"),
    *("HTLB", "CMA_ALLOC"),
)


def event_rows(prog: Program, notes: list[str]) -> list[Row]:
    """
    Return the rows of :data:`pagedbg.schema.memory_columns.MEMORY_EVENTS`, what has
    happened most often first.

    :param notes: where to say that this kernel does not count
    """
    try:
        counts = vm_events(prog)
    except LookupError:
        notes.append("This kernel is built without CONFIG_VM_EVENT_COUNTERS.")
        return []
    return sorted(
        (
            (name, count)
            for name, count in counts.items()
            if count and name.startswith(_TELLING)
        ),
        key=lambda row: (-row[1], row[0]),
    )

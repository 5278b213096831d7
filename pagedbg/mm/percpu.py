# SPDX-License-Identifier: GPL-2.0-or-later
"""
Per-CPU memory
--------------

Helpers for ``mm/percpu-internal.h``: the chunks that per-CPU memory is made of.
"""

from __future__ import annotations

from collections.abc import Iterator

from drgn import Object, Program
from drgn.helpers.common.prog import takes_program_or_default
from drgn.helpers.linux.list import list_for_each_entry

from pagedbg.mm.bulk_read import number
from pagedbg.target.links import bounded

__all__ = ("for_each_pcpu_chunk",)

# __pcpu_size_to_slot() of a unit of a GiB gives half as many.
_MOST_SLOTS = 64


@takes_program_or_default
def for_each_pcpu_chunk(prog: Program) -> Iterator[Object]:
    """
    Iterate over the chunks on the allocator's lists, the first one with the kernel's
    own variables (``immutable``) among them.

    :return: Iterator of ``struct pcpu_chunk *`` objects.
    :raises Damaged: if a list has no end
    """
    lists = prog["pcpu_chunk_lists"]
    for slot in range(number(prog, "pcpu_nr_slots", _MOST_SLOTS)):
        head = lists[slot].address_of_()
        yield from bounded(list_for_each_entry("struct pcpu_chunk", head, "list"))

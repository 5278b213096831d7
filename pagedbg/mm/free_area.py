# SPDX-License-Identifier: GPL-2.0-or-later
"""
Free areas
----------

Helpers for ``struct free_area`` of ``include/linux/mmzone.h``: how many blocks the
buddy allocator has free, by order and by migratetype.
"""

from __future__ import annotations

import contextlib
import struct

from drgn import FaultError, Object, ProgramFlags, sizeof

from pagedbg.mm.bulk_read import array_length, byte_order
from pagedbg.schema.owner_record import GREATEST_ORDER
from pagedbg.target.links import Damaged

__all__ = ("free_areas", "free_list_blocks", "nr_free")

# MIGRATE_TYPES is 6 with all that can be configured.
_MOST_LISTS = 16

# Some seconds' worth, and 8 GiB in single pages. The kernel itself stops at 100,000,
# since it holds the zone's lock meanwhile: Linux kernel commit 93b3a674485f
# ("mm,vmstat: reduce zone->lock holding time by /proc/pagetypeinfo") (in v5.4).
_MOST_BLOCKS = 1 << 21

# A list of a running kernel that changed where it was being read is read again.
_ATTEMPTS = 5


def free_areas(zone: Object) -> list[Object]:
    """
    Return the free areas of a zone by order, each a ``struct free_area``.

    :param zone: ``struct zone *``
    :raises Damaged: if there are more, or more lists in one, than a kernel has
    """
    areas = zone.free_area
    count = array_length(areas.type_)
    lists = array_length(areas.type_.type.member("free_list").type) if count else 0
    if not 0 < count <= GREATEST_ORDER + 1 or not 0 < lists <= _MOST_LISTS:
        raise Damaged(
            f"the types of this kernel are damaged: a zone would have {count} free"
            f" areas of {lists} lists"
        )
    return list(areas)


def nr_free(zone: Object) -> list[int]:
    """
    Return how many free blocks a zone has of each order, as ``/proc/buddyinfo`` does,
    from ``free_area::nr_free``.

    :param zone: ``struct zone *``
    :raises Damaged: as :func:`free_areas`
    """
    return [int(area.nr_free.value_()) for area in free_areas(zone)]


def free_list_blocks(free_list: Object) -> int | None:
    """
    Count the free blocks on a list, as ``/proc/pagetypeinfo`` does.

    Each block has to link back to the one before it, so a list that is damaged, or that
    changes where it is being read, is not counted wrong. No lock is held: what comes
    and goes elsewhere on the list of a running kernel meanwhile may be counted or not.

    >>> free_list_blocks(zone.free_area[0].free_list[prog["MIGRATE_MOVABLE"]])
    12

    :param free_list: ``struct list_head``, one of ``free_area::free_list[]``
    :return: ``None`` if the list cannot be followed to its end, or if there are more
        blocks than some seconds can count
    """
    live = free_list.prog_.flags & ProgramFlags.IS_LIVE
    for _ in range(_ATTEMPTS if live else 1):
        with contextlib.suppress(FaultError, _BrokenLink):
            return _count(free_list)
    return None


class _BrokenLink(Exception):
    """A node does not link back to the one before it."""


def _count(free_list: Object) -> int | None:
    read, head = free_list.prog_.read, free_list.address_
    assert head is not None
    # struct list_head { struct list_head *next, *prev; }
    word = "Q" if sizeof(free_list.next) == 8 else "I"
    links = struct.Struct(f"{byte_order(free_list.prog_)}2{word}")
    before, (node, _) = head, links.unpack(read(head, links.size))
    for count in range(_MOST_BLOCKS):
        if node == head:
            return count
        after, back = links.unpack(read(node, links.size))
        if back != before:
            raise _BrokenLink
        before, node = node, after
    return None

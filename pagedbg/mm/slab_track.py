# SPDX-License-Identifier: GPL-2.0-or-later
"""
Slab tracks
-----------

Helpers for ``mm/slub.c``: who allocated the objects of caches that the kernel was told
to write it down for (``slub_debug=U``).
"""

from __future__ import annotations

from typing import NamedTuple

from drgn import Object, Program, cast, sizeof
from drgn.helpers.linux.slab import for_each_slab_cache

from pagedbg.mm.bulk_read import number
from pagedbg.mm.stackdepot import stack_depot_fetch
from pagedbg.target.links import UNREADABLE, bounded

__all__ = (
    "SlabTrack",
    "slab_alloc_track",
    "stores_user",
    "track_offset",
    "tracked_caches",
)

# Before Linux kernel commit cc61eb851461 ("mm, slab: use an enum to define SLAB_ cache
# creation flags") (in v6.9).
_STORE_USER = 0x10000


class SlabTrack(NamedTuple):
    """Who allocated an object (``struct track``)."""

    pid: int
    pcs: tuple[int, ...]
    """The call path, innermost first; as much of it as the kernel keeps."""


def slab_alloc_track(cache: Object, address: int) -> SlabTrack | None:
    """
    Return who allocated an object; None if its cache does not write it down.

    :param cache: ``struct kmem_cache *``
    :param address: where the object is
    """
    prog = cache.prog_
    if not stores_user(cache):
        return None
    at = address + track_offset(cache)
    track = cast("struct track *", Object(prog, "unsigned long", at))
    kind = track.type_.type
    if kind.has_member("handle") and track.handle:
        # Since Linux kernel commit 5cf909c553e9 ("mm/slub: use stackdepot to save stack
        # trace in objects") (in v5.18).
        pcs = stack_depot_fetch(prog, track.handle.value_())
    elif track.addr:
        pcs = (track.addr.value_(),)
    else:
        # Allocated before the cache wrote it down, or free.
        return None
    return SlabTrack(track.pid.value_(), pcs)


def tracked_caches(prog: Program) -> list[str]:
    """Return the names of the caches whose objects have a track."""
    return [
        cache.name.string_().decode("utf-8", "backslashreplace")
        for cache in bounded(for_each_slab_cache(prog))
        if stores_user(cache)
    ]


def track_offset(cache: Object) -> int:
    """
    Return how far behind an object's beginning it is written down who allocated it.

    :param cache: ``struct kmem_cache *``
    """
    # get_info_end(): the free pointer may lie behind the object.
    inside: int = cache.inuse.value_()
    pointer = sizeof(cache.prog_.type("void *"))
    return inside + (pointer if cache.offset.value_() >= inside else 0)


def stores_user(cache: Object) -> bool:
    """
    Return whether a cache writes down who allocates its objects.

    :param cache: ``struct kmem_cache *``
    """
    prog = cache.prog_
    try:
        mask = 1 << number(prog, "_SLAB_STORE_USER", 31)
    except UNREADABLE:
        mask = _STORE_USER
    return bool(cache.flags.value_() & mask)

# SPDX-License-Identifier: GPL-2.0-or-later
"""
Slab objects in bulk
--------------------

Helpers for ``mm/slab.h``: who allocated the objects of slabs, by allocation tags
(``CONFIG_SLAB_OBJ_EXT``) or by what caches were told to write down
(``slub_debug=U``).
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from drgn import Object, Program, sizeof
from drgn.helpers.linux.mm import pfn_to_virt
from numpy.typing import NDArray

from pagedbg.mm._page_layout import page_layout, read_pages
from pagedbg.mm.bulk_read import (
    byte_order,
    offset_of,
    read_array,
    read_words,
    record_dtype,
)
from pagedbg.mm.page_array import Pages
from pagedbg.mm.slab_track import stores_user, track_offset
from pagedbg.target.links import UNREADABLE

__all__ = ("ObjectSums", "SlabTags", "SlabTracks")

# The low bits of slab->obj_exts are flags.
_EXTS_FLAGS = 0x7

# CODETAG_EMPTY: known to have no tag.
_EMPTY = 1

# slab->counters: inuse has 16 bits, objects 15, and frozen one; then, since v7.1, that
# what belongs to objects lies in themselves, and that a memory cgroup comes first.
_INUSE_BITS, _OBJECTS = 16, (1 << 15) - 1
_IN_OBJECTS, _HAS_MEMCG = 32, 33

# How many objects' tags are read at once, and more.
_AT_ONCE = 1 << 18

# KMALLOC_MAX_SIZE is less, and no object is larger.
_LARGEST = 1 << 22


class ObjectSums(NamedTuple):
    """What was allocated in one way; every array has an element for each such way."""

    caches: NDArray[np.uint64]
    """The ``struct kmem_cache *`` of the objects."""
    keys: NDArray[np.uint64]
    """What says who allocated them."""
    objects: NDArray[np.int64]


class _Slabs(NamedTuple):
    """The slabs among neighbouring pages."""

    pfns: NDArray[np.int64]
    caches: NDArray[np.uint64]
    objects: NDArray[np.int64]
    freelists: NDArray[np.uint64]
    extensions: NDArray[np.uint64]
    in_objects: NDArray[np.bool_]
    has_memcg: NDArray[np.bool_]


class _SlabReader:
    """Reads what ``struct slab`` says beside a page's words."""

    def __init__(self, prog: Program) -> None:
        self._prog = prog
        slab = prog.type("struct slab")
        word = f"{byte_order(prog)}u8"
        names = [
            name
            for name in ("freelist", "counters", "obj_exts")
            if slab.has_member(name)
        ]
        self._dtype = record_dtype(
            {name: (word, offset_of(slab, name)) for name in names},
            page_layout(prog).size,
        )
        self._in_objects = slab.has_member("obj_exts_in_object")
        self._has_memcg = slab.has_member("obj_exts_needs_objcg")

    def of(self, pages: Pages) -> _Slabs:
        """The slabs that begin among pages."""
        pfns = np.arange(pages.first, pages.first + len(pages), dtype=np.int64)
        slab = (pages.kind == pages.kinds.index("slab")) & (pages.head == pfns)
        at = np.flatnonzero(slab)
        if not len(at):
            none, no = np.zeros(0, np.uint64), np.zeros(0, np.bool_)
            return _Slabs(pfns[at], none, none.astype(np.int64), none, none, no, no)
        first, last = int(at[0]), int(at[-1])
        records, known = read_pages(
            self._prog, pages.first + first, last + 1 - first, self._dtype
        )
        at = at[known[at - first]]
        records = records[at - first]
        counters = records["counters"].astype(np.uint64)
        objects = (counters >> np.uint64(_INUSE_BITS)) & np.uint64(_OBJECTS)
        exts = (
            records["obj_exts"].astype(np.uint64)
            if "obj_exts" in (records.dtype.names or ())
            else np.zeros(len(at), np.uint64)
        )

        def marked(there: bool, bit: int) -> NDArray[np.bool_]:
            found: NDArray[np.bool_] = (
                counters >> np.uint64(bit) & np.uint64(there) != 0
            )
            return found

        return _Slabs(
            pfns[at],
            pages.key[at],
            objects.astype(np.int64),
            records["freelist"].astype(np.uint64),
            exts & ~np.uint64(_EXTS_FLAGS),
            marked(self._in_objects, _IN_OBJECTS),
            marked(self._has_memcg, _HAS_MEMCG),
        )


class SlabTags:
    """
    The allocation tags of slab objects; made for one answer and then dropped.

    :raises LookupError: if the kernel has none
    """

    def __init__(self, prog: Program) -> None:
        self._prog = prog
        slab, extension = prog.type("struct slab"), prog.type("struct slabobj_ext")
        self._size, self._at = sizeof(extension), 0
        # A word each for the memory cgroup, where there is one, and for the tag.
        self._words = extension.has_member("_ctref")
        if not self._words:
            self._at = offset_of(extension, "ref")
        if slab.has_member("stride"):
            raise LookupError("what belongs to objects lies as in no kernel known here")
        self._slabs = _SlabReader(prog)
        self.unread = 0
        """Of how many objects it could not be read."""

    def of(self, pages: Pages) -> Iterator[ObjectSums]:
        """
        Sum up the objects of slabs among pages by their tags (``struct alloc_tag *``).
        """
        slabs = self._slabs.of(pages)
        strides = self._strides(slabs)
        chosen = np.flatnonzero((slabs.extensions != 0) & (strides != 0))
        # As many slabs as have so many objects.
        counts = slabs.objects[chosen]
        parts = np.cumsum(counts) // _AT_ONCE
        for part in np.split(chosen, np.flatnonzero(np.diff(parts)) + 1):
            if len(part):
                yield self._sums(slabs, strides, part)

    def _strides(self, slabs: _Slabs) -> NDArray[np.int64]:
        """How far the tags of a slab's objects lie apart; 0 if it is not known."""
        words = 1 + slabs.has_memcg * np.int64(self._words)
        found: NDArray[np.int64] = words * self._size
        inside = np.flatnonzero(slabs.in_objects)
        found[inside] = [self._object_size(int(slabs.caches[i])) for i in inside]
        unknown = (found == 0) & (slabs.extensions != 0)
        self.unread += int(slabs.objects[unknown].sum())
        return found

    @functools.cache  # noqa: B019 - lives as long as a command
    def _object_size(self, address: int) -> int:
        """How far the objects of a cache lie apart; 0 if it is damaged."""
        try:
            cache = Object(self._prog, "struct kmem_cache *", address)
            size: int = cache.size.value_()
        except UNREADABLE:
            return 0
        return size if 0 < size <= _LARGEST and size % 8 == 0 else 0

    def _sums(
        self, slabs: _Slabs, strides: NDArray[np.int64], chosen: NDArray[np.int64]
    ) -> ObjectSums:
        counts = slabs.objects[chosen]
        begins = np.repeat(np.cumsum(counts) - counts, counts)
        number = np.arange(int(counts.sum()), dtype=np.int64) - begins
        at = self._at + slabs.has_memcg[chosen] * self._size * self._words
        first = slabs.extensions[chosen] + at.astype(np.uint64)
        places = np.repeat(first, counts) + (
            number * np.repeat(strides[chosen], counts)
        ).astype(np.uint64)
        tags, known = read_words(self._prog, places)
        self.unread += int(len(known) - np.count_nonzero(known))
        caches = np.repeat(slabs.caches[chosen], counts)
        tagged = tags[:, 0] > _EMPTY
        return _summed(caches[tagged], tags[tagged, 0])


class _Tracked(NamedTuple):
    """Where objects of a cache and their tracks lie."""

    size: int
    pad: int
    dtype: np.dtype[Any]
    random: int | None


class SlabTracks:
    """
    The tracks of slab objects; made for one answer and then dropped.

    :raises LookupError: if the kernel writes no stacks into tracks (before v5.18)
    """

    def __init__(self, prog: Program) -> None:
        self._prog = prog
        self._handle = offset_of(prog.type("struct track"), "handle")
        self._slabs = _SlabReader(prog)
        self._page_size: int = prog["PAGE_SIZE"].value_()
        self.unread = 0
        """How many objects could not be read."""

    @functools.cache  # noqa: B019 - lives as long as a command
    def _tracked(self, address: int) -> _Tracked | None:
        """How a cache writes down who allocates; None if it does not."""
        try:
            cache = Object(self._prog, "struct kmem_cache *", address)
            if not stores_user(cache):
                return None
            size, pad = cache.size.value_(), 0
            if cache.type_.type.has_member("red_left_pad"):
                pad = cache.red_left_pad.value_()
            random = None
            if cache.type_.type.has_member("random"):
                random = cache.random.value_()
            if not 0 < size <= _LARGEST:
                return None
            order = byte_order(self._prog)
            fields = {
                "next": (f"{order}u8", pad + cache.offset.value_()),
                "handle": (f"{order}u4", pad + track_offset(cache) + self._handle),
            }
            return _Tracked(size, pad, record_dtype(fields, size), random)
        except UNREADABLE:
            return None

    def of(self, pages: Pages) -> Iterator[ObjectSums]:
        """
        Sum up the objects that are allocated in slabs among pages by the handles of the
        stacks that allocated them; 0 where it is not written down.
        """
        slabs = self._slabs.of(pages)
        for i in range(len(slabs.pfns)):
            cache = self._tracked(int(slabs.caches[i]))
            if cache is None:
                continue
            count = min(
                int(slabs.objects[i]),
                (self._page_size << int(self._order(pages, slabs.pfns[i])))
                // cache.size,
            )
            base = pfn_to_virt(self._prog, int(slabs.pfns[i])).value_()
            objects, known = read_array(self._prog, base, count, cache.dtype)
            self.unread += int(count - np.count_nonzero(known))
            held = known.copy()
            held[_free(objects, base, cache, int(slabs.freelists[i]))] = False
            handles = objects["handle"][held].astype(np.uint64)
            yield _summed(np.full(len(handles), slabs.caches[i]), handles)

    def _order(self, pages: Pages, pfn: np.int64) -> np.uint8:
        found: np.uint8 = pages.order[int(pfn) - pages.first]
        return found


def _free(
    objects: NDArray[Any], base: int, cache: _Tracked, freelist: int
) -> list[int]:
    """
    Which objects of a slab are free. (Caches with tracks have no other lists of them:
    ``kmem_cache_debug()``.)

    :param freelist: ``slab->freelist``, the first
    """
    found: list[int] = []
    following = objects["next"].tolist()
    seen: set[int] = set()
    at = freelist
    while at and at not in seen:
        seen.add(at)
        place, rest = divmod(at - base - cache.pad, cache.size)
        if rest or not 0 <= place < len(following):
            # Damaged, or changed while it was read.
            break
        found.append(place)
        at = following[place]
        if cache.random is not None:
            at = _decoded(at, found[-1], base, cache)
    return found


def _decoded(value: int, place: int, base: int, cache: _Tracked) -> int:
    """``freelist_ptr_decode()`` (``CONFIG_SLAB_FREELIST_HARDENED``)."""
    assert cache.random is not None and cache.dtype.fields is not None
    address = base + place * cache.size + cache.dtype.fields["next"][1]
    # Since Linux kernel commit 1ad53d9fa3f6 ("slub: improve bit diffusion for freelist
    # ptr obfuscation") (in v5.7).
    swapped = int.from_bytes(address.to_bytes(8, "little"), "big")
    return value ^ cache.random ^ swapped


def _summed(caches: NDArray[np.uint64], keys: NDArray[np.uint64]) -> ObjectSums:
    """Objects that are of one cache and have one key together."""
    pairs, counts = np.unique(
        np.stack((caches, keys), axis=1), axis=0, return_counts=True
    )
    return ObjectSums(pairs[:, 0], pairs[:, 1], counts.astype(np.int64))

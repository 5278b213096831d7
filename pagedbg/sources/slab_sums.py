# SPDX-License-Identifier: GPL-2.0-or-later
"""
Slab objects summed up by who allocated them: the line of the source where they have
allocation tags, the call path where their cache writes it down.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from drgn import Object

from pagedbg.mm.page_array import Pages
from pagedbg.mm.slab_objects import ObjectSums, SlabTags, SlabTracks
from pagedbg.mm.slab_track import tracked_caches
from pagedbg.schema.table import Row
from pagedbg.session import Session
from pagedbg.sources.kernel_names import KernelNames
from pagedbg.sources.witnesses import SLAB_TRACK, TAG, WITNESSES
from pagedbg.target.links import UNREADABLE

__all__ = ("SlabSums",)

_Sums = dict[tuple[int, int], int]
"""How many objects, by the cache and what says who allocated them."""


class SlabSums:
    """
    The objects of all slabs, in one pass over the pages; for one run of a command. What
    is held is a number for each cache and line or call path.

    :param notes: where to add what could not be read
    """

    def __init__(self, session: Session, notes: list[str]) -> None:
        self._prog = session.prog
        self._target = session.target
        self._names = KernelNames(session)
        self._notes = notes
        self._tags: SlabTags | None = None
        self._tracks: SlabTracks | None = None
        with contextlib.suppress(LookupError):
            self._tags = SlabTags(self._prog) if self._names.pages.tags else None
        with contextlib.suppress(LookupError):
            if tracked_caches(self._prog):
                self._tracks = SlabTracks(self._prog)

    @property
    def known(self) -> bool:
        """Whether there is anything that knows who allocates objects."""
        return self._tags is not None or self._tracks is not None

    def rows(self) -> list[Row]:
        """Rows of :data:`pagedbg.schema.memory_columns.SLAB_SUMS`, largest first."""
        tags: _Sums = {}
        tracks: _Sums = {}
        for pages in self._names.pages.decoder.pieces(
            0, self._prog["max_pfn"].value_()
        ):
            self._add(pages, tags, self._tags)
            self._add(pages, tracks, self._tracks)
        rows = [*self._of_tags(tags), *self._of_tracks(tracks)]
        for what, unread in (("tags", self._tags), ("tracks", self._tracks)):
            if unread is not None and unread.unread:
                self._notes.append(
                    f"The {what} of {unread.unread:,} slab objects could not be read."
                )
        self._notes.extend(self._names.faults())
        self._notes.extend(self._target.symbolize.notes)
        return sorted(rows, key=lambda row: -row[4])

    def _add(
        self, pages: Pages, sums: _Sums, source: SlabTags | SlabTracks | None
    ) -> None:
        found: Iterable[ObjectSums] = source.of(pages) if source else ()
        for each in found:
            for cache, key, objects in zip(
                *(column.tolist() for column in each), strict=True
            ):
                sums[cache, key] = sums.get((cache, key), 0) + objects

    def _of_tags(self, sums: _Sums) -> Iterator[Row]:
        """An inline function has a tag wherever the compiler has put it."""
        found: dict[tuple[str | None, str | None], tuple[int, int]] = {}
        for (cache, tag), objects in sums.items():
            key = self._cache(cache), self._names.of_page("site", tag)
            before = found.get(key, (0, 0))
            found[key] = before[0] + objects, before[1] + objects * self._size(cache)
        for (name, site), (objects, size) in found.items():
            yield name, site, None, objects, size, WITNESSES[TAG]

    def _of_tracks(self, sums: _Sums) -> Iterator[Row]:
        stacks = self._names.depot.fetch_many({key for _, key in sums if key})
        for (cache, handle), objects in sums.items():
            stack = self._target.symbolize(stacks.get(handle, ()))
            size = objects * self._size(cache)
            yield (
                *(self._cache(cache), None, stack, objects, size),
                WITNESSES[SLAB_TRACK],
            )

    def _cache(self, address: int) -> str | None:
        return self._names.of_page("cache", address)

    def _size(self, address: int) -> int:
        """How much an object takes."""
        try:
            cache = Object(self._prog, "struct kmem_cache *", address)
            return int(cache.size.value_())
        except UNREADABLE:
            return 0

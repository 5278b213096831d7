# SPDX-License-Identifier: GPL-2.0-or-later
"""Where memory is, summed up over all pages: one pass for all that is asked."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack

import numpy as np
from drgn.helpers import ValidationError
from drgn.helpers.linux.slab import for_each_slab_cache, slab_cache_usage
from numpy.typing import NDArray

from pagedbg.analysis.grouping import Amounts, page_amounts
from pagedbg.analysis.keys import KeySums
from pagedbg.schema.table import Row
from pagedbg.session import Session
from pagedbg.sources.kernel_names import KernelNames
from pagedbg.sources.memory_counters import (
    UNCOUNTED,
    counted_kinds,
    ram_pages,
)
from pagedbg.sources.page_batches import PageBatch, PageSource
from pagedbg.sources.page_selection import PageSelection
from pagedbg.sources.unread_records import BY_TAGS, untracked
from pagedbg.sources.witnesses import NOT_HELD
from pagedbg.target.links import UNREADABLE, bounded

__all__ = ("MemorySums",)

# Kinds that are no part of what the zones have present.
_BESIDE = (("reserved", "firmware"), ("offline section", None), ("device", None))


class MemorySums:
    """
    The pages of a kernel, chosen and summed up; for one run of a command.

    :param args: the filters of the command line
    :param notes: where to add what could not be read
    """

    def __init__(
        self, session: Session, args: argparse.Namespace, notes: list[str]
    ) -> None:
        self._session = session
        self._args = args
        self._notes = notes
        self.names = KernelNames(session)
        self.ram = ram_pages(session.prog)
        self.counters = list(counted_kinds(session.prog))
        self._source = PageSource(session.prog, self.names.pages)
        self._selection = PageSelection(args, self.names)
        self._held = self._unnamed = 0

    @property
    def tracked(self) -> bool:
        """Whether page_owner, or tags in its place, knows who holds pages."""
        return self._source.tracked or self._source.tagged

    def batches(self) -> Iterator[PageBatch]:
        """Iterate over the pages that the filters choose."""
        args = self._args
        start, end = args.pfns or (0, self._session.prog["max_pfn"].value_())
        for batch in self._source.batches(start, end):
            batch = self._selection(batch)
            if args.unaccounted:
                batch = self.unaccounted(batch)
            if len(batch):
                yield batch

    def unaccounted(self, batch: PageBatch) -> PageBatch:
        """The pages of a batch that are handed out and that no counter has."""
        kinds = self._uncounted_kinds()
        return batch.take(self.names.pages.among(batch.column("kind"), kinds))

    def chosen_by(self, keys: Sequence[str]) -> KeySums:
        """
        Sum up the pages of RAM by some keys; by cache, file, area of vmalloc() or
        holder those that have one.
        """

        def narrow(batch: PageBatch) -> PageBatch:
            batch = batch.take(~self._beside(batch))
            for name in {"cache", "file", "vmalloc", "holder"}.intersection(keys):
                batch = batch.take(batch.column(name) != 0)
            return batch

        (sums,) = self.by((keys, narrow))
        return sums

    def _beside(self, batch: PageBatch) -> NDArray[np.bool_]:
        """Which pages are no part of what the zones have present."""
        words = self.names.pages
        kind = batch.column("kind")
        beside = np.zeros(len(batch), np.bool_)
        for name, detail in _BESIDE:
            of = kind == words.code(name)
            if detail is not None and of.any():
                of &= batch.column("use") == words.use_code(detail)
            beside |= of
        return beside

    def by(
        self,
        *wanted: tuple[Sequence[str], Callable[[PageBatch], PageBatch] | None],
        for_unnamed: bool = False,
    ) -> list[KeySums]:
        """
        Sum up pages in several ways in one pass.

        :param wanted: by which keys, and what leaves out pages for it
        :param for_unnamed: whether :meth:`unnamed` will be asked: of pages that do not
            tell themselves it takes their records
        """
        with ExitStack() as stack:
            page_size = self._session.prog["PAGE_SIZE"].value_()
            made = []
            for each, _ in wanted:
                sums = KeySums(
                    self._session.db, self.names, each, _amounts(page_size, self.ram)
                )
                stack.callback(sums.close)
                made.append(sums)
            for batch in self.batches():
                if for_unnamed:
                    self._count_unnamed(batch)
                for sums, (_, narrow) in zip(made, wanted, strict=True):
                    part = batch if narrow is None else narrow(batch)
                    if len(part):
                        sums.add(part, pages=np.ones(len(part), np.uint8))
            stack.pop_all()
        return made

    def _count_unnamed(self, batch: PageBatch) -> None:
        held = ~self.names.pages.among(batch.column("kind"), NOT_HELD)
        self._held += int(np.count_nonzero(held))
        self._unnamed += int(np.count_nonzero(batch.unnamed()))

    def unnamed(self) -> str:
        """
        Say of how many of the pages that :meth:`by` summed up for this nobody knows
        whose.
        """
        share = 100 * self._unnamed / max(self._held, 1)
        return (
            f"Nobody names {self._unnamed:,} pages, {share:.1f}% of those that are"
            " handed out (memory --by witness has who names the others)."
        )

    def uncounted(self, rows: Sequence[Row]) -> list[Row]:
        """Those of sums by kind that no counter has."""
        kinds = self._uncounted_kinds()
        return [row for row in rows if row[0] in kinds]

    def _uncounted_kinds(self) -> list[str]:
        covered = {name for each in self.counters for name, _ in each.uses}
        return [name for name in UNCOUNTED if name not in covered]

    def total(self, pages: int) -> str:
        """Say how many pages were summed up."""
        share = 100 * pages / max(self.ram, 1)
        return f"Total: {pages:,} pages, {share:.1f}% of RAM."

    def note(self) -> None:
        """Say what is not known, and what could not be read."""
        if self._source.tagged:
            self._notes.append(BY_TAGS)
        elif not self.tracked:
            self._notes.append(untracked(self._session.prog))
        words = self.names.pages
        if "holders" in vars(words) and words.holders.unread:
            self._notes.append(
                f"{', '.join(words.holders.unread)}: could not be read, so that some"
                " holders are not known."
            )
        unread = [
            *self.names.pages.decoder.kernel_uses.unread,
            *self.names.pages.reserved.unread,
        ]
        if unread:
            self._notes.append(
                f"{', '.join(unread)}: could not be read, so that their pages count as"
                " other memory of the kernel, or as early allocations."
            )
        if self._source.unread:
            self._notes.append(
                f"page_owner's records of {self._source.unread} pages could not be"
                " read."
            )
        self._notes.extend(self.names.faults())

    def counted(self, rows: Sequence[Row]) -> list[Row]:
        """
        Put the kernel's counters beside sums by kind and detail.

        :param rows: kind, detail, pages, bytes and share of RAM
        """
        beside: dict[int, tuple[int, int, str]] = {}
        for counter in self.counters:
            covered = [i for i, row in enumerate(rows) if counter.covers(*row[:2])]
            first = counter.uses[0][0]
            place = next(
                (i for i in covered if rows[i][0] == first and i not in beside), None
            )
            if place is not None:
                pages = sum(rows[i][2] for i in covered)
                beside[place] = (
                    counter.pages,
                    pages - counter.pages,
                    counter.counter,
                )
        return [
            (*row, *beside.get(i, (None, None, self._counter_of(row))))
            for i, row in enumerate(rows)
        ]

    def _counter_of(self, row: Row) -> str | None:
        """The counter that has the pages of a row, for one that it is not beside."""
        return next(
            (each.counter for each in self.counters if each.covers(*row[:2])),
            None,
        )

    def closing(self, rows: Sequence[Row]) -> str:
        """
        Say whether sums by kind and detail are all of RAM, and by how much not.

        :param rows: kind, detail and pages
        """
        beside = {
            (kind, detail): pages
            for kind, detail, pages, *_ in rows
            if (kind, None) in _BESIDE or (kind, detail) in _BESIDE
        }
        total = sum(row[2] for row in rows) - sum(beside.values())
        more = "".join(
            f", and beside it {pages:,} {detail or kind}"
            for (kind, detail), pages in beside.items()
        )
        said = f"Total: {total:,} pages of RAM{more}."
        if total != self.ram:
            missing = self.ram - total
            said += (
                f" The zones have {self.ram:,} present, {abs(missing):,}"
                f" {'more' if missing > 0 else 'fewer'}: what is listed does not close."
            )
        return said

    def objects(self, names: Collection[str]) -> dict[str, tuple[int, int]]:
        """
        How many objects slab caches have room for, and how many are in use; of caches
        with one name together. A cache that cannot be followed is left out.

        :param names: of which caches
        """
        found: dict[str, tuple[int, int]] = {}
        lost = set()
        try:
            for cache in bounded(for_each_slab_cache(self._session.prog)):
                name = self.names.of_page("cache", cache.value_())
                if name is None or name not in names:
                    continue
                try:
                    usage = slab_cache_usage(cache)
                except (*UNREADABLE, ValidationError):
                    lost.add(name)
                    continue
                objects, active = found.get(name, (0, 0))
                found[name] = (
                    objects + usage.num_objs,
                    active + usage.num_objs - usage.free_objs,
                )
        except UNREADABLE:
            self._notes.append("The list of slab caches cannot be followed.")
        if lost:
            self._notes.append(
                f"The objects of {len(lost)} slab caches cannot be counted."
            )
        return {name: sums for name, sums in found.items() if name not in lost}


def _amounts(page_size: int, ram: int) -> Amounts:
    """The sums of blocks, but for their number: a page is a row here."""
    amounts = page_amounts(page_size, ram)
    return Amounts.added(
        {"pages": "pages"},
        {name: sql for name, sql in amounts.columns.items() if name != "blocks"},
    )

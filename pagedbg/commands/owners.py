# SPDX-License-Identifier: GPL-2.0-or-later
"""``owners``: who holds pages, block by block or summed up."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Iterator, Sequence
from contextlib import closing

import numpy as np

from pagedbg.analysis.grouping import page_amounts
from pagedbg.analysis.keys import KeySums
from pagedbg.analysis.selection import Selection
from pagedbg.capture.directory import Capture
from pagedbg.errors import UsageError
from pagedbg.mm.page_owner_blocks import for_each_block
from pagedbg.schema.block_columns import BLOCK_KEYS, BLOCK_SUMS, BLOCKS, SITE_SUMS
from pagedbg.schema.blocks import Blocks
from pagedbg.schema.owner_record import ALLOCATED, FREED
from pagedbg.schema.table import Row, Table
from pagedbg.session import Session
from pagedbg.shell import drgn_scripts
from pagedbg.shell.command import argument, command
from pagedbg.shell.filter_options import FILTERS, KIND, MEMCG, NO_SELF
from pagedbg.shell.needs import require
from pagedbg.shell.table_options import (
    BY,
    JOBS,
    NO_STACK,
    SORT,
    STACK_PICTURE,
    TABLE_COLUMNS,
    TOP,
    TableColumns,
    more_rows,
    parse_sort,
    refuse_no_stack,
    sorted_rows,
    without,
    without_stacks,
)
from pagedbg.sources.block_rows import BlockBatch, BlockDrawer
from pagedbg.sources.capabilities import capabilities_of
from pagedbg.sources.capture_blocks import CaptureStackNames, capture_blocks
from pagedbg.sources.capture_names import what_is_missing
from pagedbg.sources.held_pages import HeldPages
from pagedbg.sources.kernel_names import KernelNames
from pagedbg.sources.memory_counters import ram_pages
from pagedbg.sources.page_batches import BlocksAsPages, PageSource
from pagedbg.sources.shared_scan import Columns, joined, shared_scan, spans_to_share
from pagedbg.sources.site_sums import with_counters
from pagedbg.sources.tagged_blocks import tagged_blocks
from pagedbg.sources.unread_records import BY_TAGS, unread_records

_STATES = {"allocated": (ALLOCATED,), "freed": (FREED,), "any": (ALLOCATED, FREED)}

_STATE_WORDS = {
    "allocated": "those that last",
    "freed": "of pages that are free",
    "any": "both",
}

# Sorted rows that are drawn at once: their columns are as wide as they need.
_ROWS = 1 << 15

# Rows among which the first are looked for at once.
_HELD = 1 << 17


TABLE_COLUMNS["owners"] = TableColumns(BLOCKS, SITE_SUMS)


@command(
    "owners",
    long_description="""
List what page_owner has on record: a row for each block of pages that is allocated, or
with --by the sums of blocks and pages.

A block that was freed in part counts with the pages that are left of it. No page is
counted twice. A page that the buddy allocator has is free, whatever an old record of it
says.
""",
    arguments=(
        BY,
        TOP,
        SORT,
        argument(
            "--state",
            metavar="STATE",
            choices=_STATE_WORDS,
            default="allocated",
            help=(
                "records of allocations that last (allocated, the default), of freed"
                " ones (freed), or both (any)"
            ),
        ),
        NO_STACK,
        JOBS,
        KIND,
        NO_SELF,
        MEMCG,
        FILTERS,
        STACK_PICTURE,
    ),
    examples=(
        ("owners --by comm --top 5", "which programs hold the most"),
        (
            "owners --by stack --top 3 --orders '>=3'",
            "which call paths hold large blocks",
        ),
        (
            "owners --by module,function",
            "which drivers hold pages, and which of their functions asked for them",
        ),
        (
            "owners --migratetype Unmovable --by function --top 5",
            "who scatters unmovable pages",
        ),
        ("owners --by kind,function --top 5", "what pages are used for, and by whom"),
        ("owners --by site --top 5", "which lines of the source hold the most"),
        ("owners --orders 9 --top 1", "a block of order 9 with its stack"),
        ("owners --by order --format json", "the sums by order for a script"),
        ("owners --no-stack --top 3 --sort ts_ns", "the three youngest allocations"),
    ),
    table=True,
    drgn=drgn_scripts.OWNERS,
)
def owners(session: Session, args: argparse.Namespace) -> Table:
    """Run the command."""
    capture = session.refresh_capture()
    have = capabilities_of(session.target)
    if have["page_owner"].state:
        query = _Query(session, args)
    elif capture is not None and not capture.page_owner:
        _refuse(args, "a capture has", "state")
        query = _Query(session, args, capture)
    elif have["allocation tags"].state:
        _refuse(args, "allocation tags have", *_NOT_TAGGED)
        query = _Query(session, args)
    else:
        require(session, "page_owner")
    if args.by == ["site"]:
        # Beside other keys it is empty: owner_sums has all of them.
        require(session, "allocation tags")
    if args.by:
        refuse_no_stack(args)
        return query.sums()
    return query.rows()


# What page_owner alone knows: filters and keys.
_NOT_TAGGED = ("state", "gfp", "migratetype", "pid", "comm", "age", "gfp_mask")


def _refuse(args: argparse.Namespace, who: str, *names: str) -> None:
    """Refuse to choose or sum up by what others do not know in place of page_owner."""
    if args.state != "allocated":
        raise UsageError(
            f"--state: page_owner is off, and {who} only what is allocated"
        )
    for name in names:
        if name != "state" and getattr(args, name, None):
            raise UsageError(f"--{name}: page_owner is off, and {who} no {name}")
    if args.by and set(args.by) <= set(names):
        keys = ",".join(args.by)
        raise UsageError(f"--by {keys}: page_owner is off, and {who} no {keys}")


class _Query:
    """
    One run of the command: the blocks that were asked for, and what went wrong on the
    way.
    """

    def __init__(
        self,
        session: Session,
        args: argparse.Namespace,
        capture: Capture | None = None,
    ) -> None:
        """:param capture: whose allocations to take in place of blocks on record"""
        self._session = session
        self._args = args
        self._notes: list[str] = list(session.target.notes)
        self._unread = self._damaged = 0
        self._names: KernelNames
        self._captured: Blocks | None = None
        if capture is None:
            self._names = KernelNames(session)
            if self._names.tagged:
                self._notes.append(BY_TAGS)
        else:
            self._names = CaptureStackNames(session, capture)
            held = HeldPages(session.prog)
            self._captured = capture_blocks(capture, held)
            self._notes += [
                (
                    "page_owner is off: this is what was allocated since the trace"
                    " began, and not freed."
                ),
                *held.notes,
                *what_is_missing(capture),
            ]
        self._selection = Selection(args, self._names)
        self._drawer = BlockDrawer(self._names, self._as_pages)

    @functools.cached_property
    def _pages(self) -> PageSource:
        return PageSource(self._session.prog, self._names.pages)

    def _as_pages(self, blocks: Blocks) -> BlocksAsPages:
        """Blocks with what their pages are, which is looked at when it is asked for."""
        return BlocksAsPages(blocks, lambda: self._pages)

    def _blocks(self) -> Iterator[tuple[int, Blocks]]:
        if self._captured is not None:
            yield ALLOCATED, self._chosen(self._captured)
            return
        yield from self._between(*self._range)
        self._note()

    @property
    def _range(self) -> tuple[int, int | None]:
        # Blocks are aligned to their size: what reaches into the range of --pfns begins
        # at most the greatest block before it.
        if not self._args.pfns:
            return 0, None
        return self._args.pfns[0] >> 18 << 18, -(-self._args.pfns[1] >> 18 << 18)

    def _between(self, start: int, end: int | None) -> Iterator[tuple[int, Blocks]]:
        if self._names.tagged:
            end = end or self._session.prog["max_pfn"].value_()
            for blocks in tagged_blocks(self._pages, start, end):
                yield ALLOCATED, self._chosen(blocks)
            return
        for state in _STATES[self._args.state]:
            for blocks in for_each_block(self._session.prog, state, start, end):
                if state == _STATES[self._args.state][0]:
                    self._unread += blocks.unread
                    self._damaged += blocks.damaged
                yield state, self._chosen(blocks)

    def _chosen(self, blocks: Blocks) -> Blocks:
        chosen = self._selection
        return (
            blocks if chosen.takes_all else blocks.take(chosen(self._as_pages(blocks)))
        )

    def _note(self) -> None:
        dump = self._session.target.dump
        self._notes += unread_records(dump, self._unread, self._damaged)

    def _note_faults(self) -> None:
        self._notes.extend(self._names.faults())
        self._notes.extend(self._session.target.symbolize.notes)

    # ---- a row a block ----

    def rows(self) -> Table:
        """A row for each block."""
        columns = without_stacks(BLOCKS) if self._args.no_stack else list(BLOCKS)
        sort = parse_sort(self._args.sort, without(columns, "stack"))
        batches = self._batches() if sort is None else self._sorted(*sort)
        names = [column.name for column in columns]
        return Table(
            columns,
            (self._drawer.rows(names, batch) for batch in batches),
            notes=self._notes,
            empty="No block on record matches.",
        )

    def _batches(self) -> Iterator[BlockBatch]:
        left = self._args.top
        for state, blocks in self._blocks():
            if left is not None:
                blocks = blocks.take(np.arange(min(left, len(blocks))))
                left -= len(blocks)
            if len(blocks):
                yield BlockBatch.of(state, blocks)
            if left == 0:
                self._note()
                break
        # Once the last of them is drawn.
        self._note_faults()

    def _sorted(self, name: str, descending: bool) -> Iterator[BlockBatch]:
        top = self._args.top
        held: list[BlockBatch] = []
        rows = 0

        def best() -> BlockBatch:
            batch = BlockBatch.joined(held)
            return batch.take(self._drawer.column(name, *batch).order(descending, top))

        for state, blocks in self._blocks():
            if len(blocks):
                # A copy: the records of all blocks are not kept for those chosen.
                held.append(BlockBatch.joined([BlockBatch.of(state, blocks)]))
                rows += len(blocks)
            if top is not None and rows > _HELD + 2 * top:
                held = [best()]
                rows = len(held[0].blocks)
        if held:
            batch = best()
            for start in range(0, len(batch.blocks), _ROWS):
                yield batch.take(slice(start, start + _ROWS))
        self._note_faults()

    # ---- sums ----

    def sums(self) -> Table:
        """A row for each value of ``--by``."""
        known = {column.name: column for column in BLOCK_KEYS}
        of_sites = self._args.by == ["site"]
        sums = SITE_SUMS if of_sites else BLOCK_SUMS
        columns = [*(known[name] for name in self._args.by), *sums]
        sort = parse_sort(self._args.sort, columns) or ("pages", True)
        table = Table(
            columns, (), notes=self._notes, empty="No block on record matches."
        )
        if of_sites:
            place = [column.name for column in columns].index(sort[0])
            table.batches = self._by_site(table.closing, place, sort[1])
        else:
            table.batches = self._summed(table.closing, *sort, self._args.top)
        return table

    def _by_site(
        self, said: list[str], place: int, descending: bool
    ) -> Iterator[Sequence[Row]]:
        tags, top = self._names.pages.tags, self._args.top
        summed = self._summed(said, "pages", True, None)
        rows = [row for batch in summed for row in batch]
        if tags is not None and self._selection.takes_all:
            rows = with_counters(rows, tags, self._notes)
        else:
            # The counters are of all that there is.
            rows = [(*row, None, None) for row in rows]
        rows = sorted_rows(rows, place, descending)
        if top is not None and len(rows) > top:
            self._notes.append(more_rows(len(rows) - top))
        yield rows[:top]

    def _summed(
        self, said: list[str], sort: str, descending: bool, top: int | None
    ) -> Iterator[Sequence[Row]]:
        page_size = self._session.prog["PAGE_SIZE"].value_()
        ram = ram_pages(self._session.prog)
        amounts = page_amounts(page_size, ram)
        with closing(
            KeySums(self._session.db, self._names, self._args.by, amounts)
        ) as sums:
            self._sum_up(sums)
            yield from sums.rows(sort, descending, top)
            if sums.left:
                self._notes.append(more_rows(sums.left))
        share = 100 * sums.pages / max(ram, 1)
        said.append(
            f"Total: {sums.rows_added:,} blocks, {sums.pages:,} pages,"
            f" {share:.1f}% of RAM."
        )
        self._note_faults()

    def _sum_up(self, sums: KeySums) -> None:
        """Sum up blocks, in several processes where that is sooner."""
        prog, range_ = self._session.prog, self._range
        jobs = self._args.jobs or self._session.settings.jobs
        spans = (
            spans_to_share(prog, self._args, jobs, *range_)
            if self._captured is None and not self._names.tagged
            else []
        )

        def columns(blocks: Blocks) -> Columns:
            return {**sums.numbers(self._as_pages(blocks)), "pages": blocks.pages}

        def work(span: tuple[int, int]) -> tuple[Columns | None, bool, int, int]:
            self._unread = self._damaged = 0
            found = self._between(*span)
            rows = joined([columns(blocks) for _, blocks in found if len(blocks)])
            # A row a key is sent sooner than a row a block.
            summed = None if rows is None else sums.partial(rows)
            return summed or rows, bool(summed), self._unread, self._damaged

        if not spans:
            for _, blocks in self._blocks():
                sums.add_numbers(columns(blocks))
            return
        total = np.zeros(2, np.int64)
        for rows, summed, *counts in shared_scan(spans, work, jobs):
            total += counts
            if rows is not None:
                (sums.add_partial if summed else sums.add_numbers)(rows)
        self._unread, self._damaged = total.tolist()
        self._note()

# SPDX-License-Identifier: GPL-2.0-or-later
"""``owners``: who holds pages, block by block or summed up."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from pagedbg.analysis.grouping import Tally, summarize
from pagedbg.analysis.selection import Selection
from pagedbg.capture.directory import Capture
from pagedbg.errors import UsageError
from pagedbg.mm.page_owner_blocks import for_each_block
from pagedbg.schema.blocks import Blocks
from pagedbg.schema.columns import STACK
from pagedbg.schema.owner_record import ALLOCATED, FREED
from pagedbg.schema.relations import BLOCK_SUMS, BLOCKS
from pagedbg.schema.table import Row, Table
from pagedbg.session import Session
from pagedbg.shell.command import argument, command
from pagedbg.shell.filter_options import FILTERS
from pagedbg.shell.needs import require
from pagedbg.shell.option_values import values
from pagedbg.shell.table_options import (
    NO_STACK,
    SORT,
    TOP,
    by_parser,
    more_rows,
    parse_sort,
    refuse_no_stack,
    sort_rows,
    without,
)
from pagedbg.sources.block_keys import KEYS, BlockKey
from pagedbg.sources.capabilities import capabilities_of
from pagedbg.sources.capture_blocks import CaptureStackNames, capture_blocks
from pagedbg.sources.capture_names import what_is_missing
from pagedbg.sources.kernel_names import KernelNames

_STATES = {"allocated": (ALLOCATED,), "freed": (FREED,), "any": (ALLOCATED, FREED)}
_STATE_NAMES = {ALLOCATED: "allocated", FREED: "freed"}


@values("--by")
def _key_names(session: Session) -> Sequence[str]:
    return tuple(KEYS)


@values("--sort")
def _sort_names(session: Session) -> Sequence[str]:
    return (
        *(column.name for column in BLOCKS if column.name != "stack"),
        *KEYS,
        "blocks",
        "bytes",
        "share",
    )


@command(
    "owners",
    long_description="""
List what page_owner has on record: a row for each block of pages that is allocated, or
with --by the sums of blocks and pages.

A block that was freed in part counts with the pages that are left of it. No page is
counted twice.
""",
    arguments=(
        argument(
            "--by",
            metavar="KEY",
            type=by_parser(KEYS),
            help="sum up by KEY, or several with commas: " + ", ".join(KEYS),
        ),
        TOP,
        SORT,
        argument(
            "--state",
            metavar="STATE",
            choices=tuple(_STATES),
            default="allocated",
            help=(
                "records of allocations that last (allocated, the default), of freed"
                " ones (freed), or both (any)"
            ),
        ),
        NO_STACK,
        FILTERS,
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
        ("owners --orders 9 --top 1", "a block of order 9 with its stack"),
        ("owners --by order --format json", "the sums by order for a script"),
        ("owners --no-stack --top 3 --sort ts_ns", "the three youngest allocations"),
    ),
    table=True,
)
def owners(session: Session, args: argparse.Namespace) -> Table:
    """Run the command."""
    capture = session.refresh_capture()
    if (
        capture is not None
        and not capture.page_owner
        and not capabilities_of(session.target)["page_owner"].state
    ):
        if args.state != "allocated":
            raise UsageError(
                "--state: page_owner is off, and a capture has only what is allocated"
            )
        query = _Query(session, args, capture)
    else:
        require(session, "page_owner")
        query = _Query(session, args)
    if args.by:
        refuse_no_stack(args)
        return query.sums()
    return query.rows()


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
        else:
            self._names = CaptureStackNames(session, capture)
            self._captured = capture_blocks(capture)
            self._notes += [
                (
                    "page_owner is off: this is what was allocated since the trace"
                    " began, and not freed."
                ),
                *what_is_missing(capture),
            ]
        self._selection = Selection(args, self._names)

    def _blocks(self) -> Iterator[tuple[str, Blocks]]:
        # Blocks are aligned to their size: what reaches into the range of --pfns begins
        # at most the greatest block before it.
        start, end = 0, None
        if self._args.pfns:
            start, end = (
                self._args.pfns[0] >> 18 << 18,
                -(-self._args.pfns[1] >> 18 << 18),
            )
        if self._captured is not None:
            yield "allocated", self._chosen(self._captured)
            return
        for state in _STATES[self._args.state]:
            for blocks in for_each_block(self._session.prog, state, start, end):
                if state == _STATES[self._args.state][0]:
                    self._unread += blocks.unread
                    self._damaged += blocks.damaged
                yield _STATE_NAMES[state], self._chosen(blocks)
        self._note()

    def _chosen(self, blocks: Blocks) -> Blocks:
        mask = self._selection(blocks)
        return blocks if mask.all() else blocks.take(mask)

    def _note(self) -> None:
        dump = self._session.target.dump
        if self._unread and dump and dump.left_out_zeroes:
            self._notes.append(
                f"The records of {self._unread} pages are not in the dump, which left"
                " out pages of zeroes: of pages that were never allocated, unless more"
                " is missing."
            )
        elif self._unread:
            self._notes.append(
                f"The records of {self._unread} pages could not be read: they are not"
                " counted."
            )
        if self._damaged:
            self._notes.append(
                f"The records of {self._damaged} pages are damaged (or were being"
                " written): they are not counted."
            )

    def _note_faults(self) -> None:
        self._notes.extend(self._names.faults())
        self._notes.extend(self._session.target.symbolize.notes)

    # ---- a row a block ----

    def rows(self) -> Table:
        """A row for each block."""
        columns = [
            column
            for column in BLOCKS
            if not (self._args.no_stack and column.name == "stack")
        ]
        sort = parse_sort(self._args.sort, without(columns, "stack"))
        batches = self._batches() if sort is None else self._sorted(*sort)
        if self._args.no_stack:
            drop = BLOCKS.index(STACK)
            batches = (
                [row[:drop] + row[drop + 1 :] for row in batch] for batch in batches
            )
        return Table(
            columns, batches, notes=self._notes, empty="No block on record matches."
        )

    def _batches(self) -> Iterator[list[tuple[Any, ...]]]:
        left = self._args.top
        for state, blocks in self._blocks():
            if left is not None:
                blocks = blocks.take(np.arange(min(left, len(blocks))))
                left -= len(blocks)
            if len(blocks):
                yield self._draw(state, blocks)
            if left == 0:
                self._note()
                break
        self._note_faults()

    def _sorted(self, name: str, descending: bool) -> Iterator[list[tuple[Any, ...]]]:
        index = [column.name for column in BLOCKS].index(name)
        top = self._args.top

        best: list[tuple[Any, ...]] = []
        for state, blocks in self._blocks():
            best += self._draw(state, blocks)
            if top is not None:
                best = sort_rows(best, index, descending, top)
        if best:
            yield sort_rows(best, index, descending, top)
        self._note_faults()

    def _draw(self, state: str, blocks: Blocks) -> list[tuple[Any, ...]]:
        names, column, count = self._names, blocks.column, len(blocks)
        masks, handles = column("gfp_mask").tolist(), column("handle").tolist()
        zone_names, zones = names.zones(blocks.pfn)
        stacks = {} if self._args.no_stack else names.stacks(handles)
        nothing = [None] * count
        return list(
            zip(
                blocks.pfn.tolist(),
                blocks.order.tolist(),
                blocks.pages.tolist(),
                masks,
                map(names.gfp, masks),
                map(names.migratetype, masks),
                (zone_names[i] if i >= 0 else None for i in zones.tolist()),
                (
                    node if node >= 0 else None
                    for node in names.nodes(blocks.pfn).tolist()
                ),
                column("pid").tolist(),
                column("tgid").tolist() if "tgid" in blocks.members else nothing,
                (
                    map(names.comm, column("comm"))
                    if "comm" in blocks.members
                    else nothing
                ),
                column("ts_nsec").tolist() if "ts_nsec" in blocks.members else nothing,
                handles,
                (stacks.get(handle) for handle in handles),
                [state] * count,
                strict=True,
            )
        )

    # ---- sums ----

    def sums(self) -> Table:
        """A row for each value of ``--by``."""
        keys = [KEYS[name] for name in self._args.by]
        columns = [*(key.column for key in keys), *BLOCK_SUMS]
        sort = parse_sort(self._args.sort, columns) or ("pages", True)
        return Table(
            columns,
            self._summed(keys, *sort),
            notes=self._notes,
            empty="No block on record matches.",
        )

    def _summed(
        self, keys: Sequence[BlockKey], sort: str, descending: bool
    ) -> Iterator[list[Row]]:
        names, tally, widths = self._names, Tally(), [0] * len(keys)
        for _, blocks in self._blocks():
            columns = [key.columns(names, blocks) for key in keys]
            widths = [len(part) for part in columns]
            tally.add([column for part in columns for column in part], blocks.pages)
        result = tally.result()
        if not result:
            return
        values, at = [], 0
        for key, width in zip(keys, widths, strict=True):
            values.append(key.value(names, result[at : at + width]))
            at += width
        rows, groups = summarize(
            self._session.db,
            self._args.by,
            values,
            *result[-2:],
            page_size=self._session.prog["PAGE_SIZE"].value_(),
            sort=sort,
            descending=descending,
            top=self._args.top,
        )
        stacks = [i for i, name in enumerate(self._args.by) if name == "stack"]
        yield [_split(row, stacks) for row in rows]
        if groups > len(rows):
            self._notes.append(more_rows(groups - len(rows)))
        self._note_faults()


def _split(row: Row, stacks: Sequence[int]) -> Row:
    """Give a stack that was one string to the database its frames again."""
    return tuple(
        value.split("\n") if i in stacks and value else [] if i in stacks else value
        for i, value in enumerate(row)
    )

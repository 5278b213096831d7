# SPDX-License-Identifier: GPL-2.0-or-later
"""``owners``: who holds pages, block by block or summed up."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pagedbg.analysis.grouping import page_amounts
from pagedbg.analysis.keys import KeySums
from pagedbg.analysis.selection import Selection
from pagedbg.analysis.undrawn import Undrawn, positive, text
from pagedbg.capture.directory import Capture
from pagedbg.errors import UsageError
from pagedbg.mm.page_owner_blocks import for_each_block
from pagedbg.schema.blocks import Blocks
from pagedbg.schema.owner_record import ALLOCATED, FREED
from pagedbg.schema.relations import BLOCK_KEYS, BLOCK_SUMS, BLOCKS
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
    without,
)
from pagedbg.sources.capabilities import capabilities_of
from pagedbg.sources.capture_blocks import CaptureStackNames, capture_blocks
from pagedbg.sources.capture_names import what_is_missing
from pagedbg.sources.kernel_names import KernelNames

_STATES = {"allocated": (ALLOCATED,), "freed": (FREED,), "any": (ALLOCATED, FREED)}
_KEYS = tuple(column.name for column in BLOCK_KEYS)

# Sorted rows that are drawn at once: their columns are as wide as they need.
_ROWS = 1 << 15

# Rows among which the first are looked for at once.
_HELD = 1 << 17

_STATE_NAMES = {ALLOCATED: "allocated", FREED: "freed"}


@values("--by")
def _key_names(session: Session) -> Sequence[str]:
    return _KEYS


@values("--sort")
def _sort_names(session: Session) -> Sequence[str]:
    return (
        *(column.name for column in BLOCKS if column.name != "stack"),
        *_KEYS,
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
counted twice. A page that the buddy allocator has is free, whatever an old record of it
says.
""",
    arguments=(
        argument(
            "--by",
            metavar="KEY",
            type=by_parser(_KEYS),
            help="sum up by KEY, or several with commas: " + ", ".join(_KEYS),
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

    def _blocks(self) -> Iterator[tuple[int, Blocks]]:
        # Blocks are aligned to their size: what reaches into the range of --pfns begins
        # at most the greatest block before it.
        start, end = 0, None
        if self._args.pfns:
            start, end = (
                self._args.pfns[0] >> 18 << 18,
                -(-self._args.pfns[1] >> 18 << 18),
            )
        if self._captured is not None:
            yield ALLOCATED, self._chosen(self._captured)
            return
        for state in _STATES[self._args.state]:
            for blocks in for_each_block(self._session.prog, state, start, end):
                if state == _STATES[self._args.state][0]:
                    self._unread += blocks.unread
                    self._damaged += blocks.damaged
                yield state, self._chosen(blocks)
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
        columns = without(BLOCKS, "stack") if self._args.no_stack else list(BLOCKS)
        sort = parse_sort(self._args.sort, without(columns, "stack"))
        batches = self._batches() if sort is None else self._sorted(*sort)
        names = [column.name for column in columns]
        return Table(
            columns,
            (self._draw(names, *batch) for batch in batches),
            notes=self._notes,
            empty="No block on record matches.",
        )

    def _batches(self) -> Iterator[_Batch]:
        left = self._args.top
        for state, blocks in self._blocks():
            if left is not None:
                blocks = blocks.take(np.arange(min(left, len(blocks))))
                left -= len(blocks)
            if len(blocks):
                yield _Batch.of(state, blocks)
            if left == 0:
                self._note()
                break
        # Once the last of them is drawn.
        self._note_faults()

    def _sorted(self, name: str, descending: bool) -> Iterator[_Batch]:
        top = self._args.top
        held: list[_Batch] = []
        rows = 0

        def best() -> _Batch:
            batch = _Batch.joined(held)
            return batch.take(self._column(name, *batch).order(descending, top))

        for state, blocks in self._blocks():
            if len(blocks):
                # A copy: the records of all blocks are not kept for those chosen.
                held.append(_Batch.joined([_Batch.of(state, blocks)]))
                rows += len(blocks)
            if top is not None and rows > _HELD + 2 * top:
                held = [best()]
                rows = len(held[0].blocks)
        if held:
            batch = best()
            for start in range(0, len(batch.blocks), _ROWS):
                yield batch.take(slice(start, start + _ROWS))
        self._note_faults()

    def _draw(
        self, columns: Sequence[str], blocks: Blocks, states: NDArray[np.uint8]
    ) -> list[Row]:
        if "stack" in columns:
            # They are read together.
            self._names.stacks(np.unique(blocks.column("handle")).tolist())
        drawn = [self._column(name, blocks, states).draw() for name in columns]
        return list(zip(*drawn, strict=True))

    def _column(self, name: str, blocks: Blocks, states: NDArray[np.uint8]) -> Undrawn:
        """A column of the blocks."""
        names = self._names
        match name:
            case "gfp":
                return Undrawn(blocks.column("gfp_mask"), word=names.gfp)
            case "migratetype":
                return Undrawn(blocks.column("gfp_mask"), word=names.migratetype)
            case "zone":
                words, zones = names.zones(blocks.pfn)
                return Undrawn(zones, zones >= 0, words.__getitem__)
            case "node":
                return positive(names.nodes(blocks.pfn))
            case "stack":
                return Undrawn(blocks.column("handle"), word=names.stack)
            case "state":
                return Undrawn(states, word=_STATE_NAMES.__getitem__)
        member = {"ts_ns": "ts_nsec"}.get(name, name)
        if member in ("tgid", "comm", "ts_nsec") and member not in blocks.members:
            return Undrawn(np.full(len(blocks), -1), np.zeros(len(blocks), np.bool_))
        column = blocks.column(member)
        return text(column, names.comm) if member == "comm" else Undrawn(column)

    # ---- sums ----

    def sums(self) -> Table:
        """A row for each value of ``--by``."""
        known = {column.name: column for column in BLOCK_KEYS}
        columns = [*(known[name] for name in self._args.by), *BLOCK_SUMS]
        sort = parse_sort(self._args.sort, columns) or ("pages", True)
        return Table(
            columns,
            self._summed(*sort),
            notes=self._notes,
            empty="No block on record matches.",
        )

    def _summed(self, sort: str, descending: bool) -> Iterator[Sequence[Row]]:
        page_size = self._session.prog["PAGE_SIZE"].value_()
        with closing(
            KeySums(
                self._session.db, self._names, self._args.by, page_amounts(page_size)
            )
        ) as sums:
            for _, blocks in self._blocks():
                sums.add(blocks, pages=blocks.pages)
            yield from sums.rows(sort, descending, self._args.top)
            if sums.left:
                self._notes.append(more_rows(sums.left))
        self._note_faults()


class _Batch(NamedTuple):
    """Blocks, and the state of each."""

    blocks: Blocks
    states: NDArray[np.uint8]

    @classmethod
    def of(cls, state: int, blocks: Blocks) -> _Batch:
        return cls(blocks, np.full(len(blocks), state, np.uint8))

    @classmethod
    def joined(cls, batches: Sequence[_Batch]) -> _Batch:
        return cls(
            Blocks.joined([batch.blocks for batch in batches]),
            np.concatenate([batch.states for batch in batches]),
        )

    def take(self, which: Any) -> _Batch:
        return _Batch(self.blocks.take(which), self.states[which])

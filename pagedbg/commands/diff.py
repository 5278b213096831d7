# SPDX-License-Identifier: GPL-2.0-or-later
"""``diff``: who holds more than before, and who less."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from pagedbg.analysis.changed_hands import changed_hands
from pagedbg.analysis.growth import Growth
from pagedbg.schema.memory_columns import MEMORY
from pagedbg.schema.sizes import size
from pagedbg.schema.snapshot_columns import (
    BLOCKS_AFTER,
    BLOCKS_BEFORE,
    GROWTH,
    OWNER_KEYS,
)
from pagedbg.schema.table import Column, Row, Table
from pagedbg.session import Session
from pagedbg.shell.command import argument, command
from pagedbg.shell.compared_sides import (
    KeptSide,
    OpenSide,
    Side,
    side_of_path,
    side_of_session,
)
from pagedbg.shell.growth_options import GROWTH_OPTIONS, shows_stack
from pagedbg.shell.table_options import (
    TABLE_COLUMNS,
    TableColumns,
    more_rows,
    parse_sort,
    refuse_no_stack,
)

_SECTIONS = ("owners", "memory")

TABLE_COLUMNS["diff"] = TableColumns(
    sums=[*GROWTH, OWNER_KEYS["stack"]],
    keys=("stack_shape",),
    instead={"--section": None},
)


@command(
    "diff",
    long_description="""
Say who holds more memory than before, and who less. OLD and NEW are snapshots
(snapshot save), dumps or captures; without NEW, OLD is compared with what is open. Of a
capture it is what was allocated while it was recorded, and is still held.

By default call paths are compared by their functions (stack_shape), which are the same
in another boot and mostly in another build of the kernel. A function that has another
name there shows as gone and as new. Text has the kinds of memory first, and then the
owners; a program asks for one of them with --section.
""",
    arguments=(
        argument(
            "old", metavar="OLD", type=Path, help="a snapshot, a dump or a capture"
        ),
        argument("new", metavar="NEW", type=Path, nargs="?", help="a later one"),
        argument(
            "--section",
            metavar="NAME",
            choices=_SECTIONS,
            help="only this part: " + ", ".join(_SECTIONS),
        ),
        *GROWTH_OPTIONS,
    ),
    examples=(
        ("diff /var/tmp/monday --top 3", "which call paths hold more than on Monday"),
        ("diff monday tuesday --by module,function", "which drivers did, in a day"),
        (
            "diff monday vmcore --by comm --sort -delta_pages",
            "who held less at the end",
        ),
    ),
    table=True,
    kernel=False,
)
def diff(session: Session, args: argparse.Namespace) -> Table:
    """Run the command."""
    refuse_no_stack(args)
    with ExitStack() as opened:
        return _compared(_Comparison(session, args, opened), args)


def _compared(comparison: _Comparison, args: argparse.Namespace) -> Table:
    """All rows are in the database when this is done."""
    compared = comparison.described()
    if args.section == "memory":
        memory = comparison.memory()
        memory.closing.append(compared)
        return memory
    owners = comparison.owners()
    owners.closing.append(compared)
    if args.section or not comparison.has_memory:
        return owners
    memory = comparison.memory()
    # Once, though it is said of either; what the rows add stands behind them.
    notes = list(dict.fromkeys((*memory.notes, *owners.notes)))
    owners.notes = []

    def batches() -> Iterator[Sequence[Row]]:
        yield from owners.batches
        notes.extend(owners.notes)

    return Table(
        owners.columns,
        batches(),
        notes=notes,
        text=memory,
        sections=((f"By {', '.join(args.by)}", owners),),
    )


class _Comparison:
    """Two sides of one run of the command."""

    def __init__(
        self, session: Session, args: argparse.Namespace, opened: ExitStack
    ) -> None:
        """:param opened: takes what is opened, to be closed when it was read"""
        self._args = args
        self._db = session.db.cursor()
        self._sides = (
            side_of_path(args.old, opened),
            side_of_session(session, opened)
            if args.new is None
            else side_of_path(args.new, opened),
        )

    @property
    def has_memory(self) -> bool:
        """Whether the kinds of memory can be compared."""
        return self._both("memory")

    def _both(self, relation: str) -> bool:
        """Whether either side has a relation."""
        return all(side.has(relation) for side in self._sides)

    def owners(self) -> Table:
        """Who holds memory, compared."""
        args = self._args
        example = "stack" if shows_stack(args) else None
        columns: list[Column] = [OWNER_KEYS[name] for name in args.by]
        columns += GROWTH
        sort = parse_sort(args.sort, columns) or ("delta_pages", True)
        notes = [
            note
            for place, side in enumerate(self._sides)
            for note in side.owners(self._db, f"side_{place}", args)
        ]
        growth = Growth(self._db, args.by, ("side_0", "side_1"), example)
        if example:
            columns.append(OWNER_KEYS[example])
        table = Table(columns, (), notes=notes, empty="Nobody holds more, or less.")
        table.batches = self._rows(growth, table, _names(columns), *sort, args.top)
        return table

    def memory(self) -> Table:
        """The kinds of memory, compared."""
        keys = MEMORY[:2]
        of_blocks = (BLOCKS_BEFORE, BLOCKS_AFTER)
        columns: list[Column] = [*keys]
        columns += [each for each in GROWTH if each not in of_blocks]
        notes = [
            note
            for place, side in enumerate(self._sides)
            for note in side.memory(self._db, f"memory_{place}")
        ]
        for place in (0, 1):
            # A kind of memory has no blocks.
            self._db.execute(f"ALTER TABLE memory_{place} ADD blocks BIGINT DEFAULT 0")
        growth = Growth(
            self._db, [each.name for each in keys], ("memory_0", "memory_1")
        )
        table = Table(
            columns, (), notes=notes, empty="All kinds of memory have the same pages."
        )
        table.batches = self._rows(
            growth, table, _names(columns), "delta_pages", True, None
        )
        return table

    def _rows(
        self,
        growth: Growth,
        table: Table,
        names: Sequence[str],
        sort: str,
        descending: bool,
        top: int | None,
    ) -> Iterator[Sequence[Row]]:
        yield from growth.rows(names, sort, descending, top)
        if growth.left:
            table.notes.append(more_rows(growth.left))
        before, after, more = growth.totals()
        table.closing.append(
            f"{before:,} pages before, {after:,} after: {_signed(more)}."
            + (f" {growth.unchanged:,} rows are the same." if growth.unchanged else "")
        )

    def described(self) -> str:
        """Say what is compared."""
        old, new = self._sides
        kernels = old.meta.kernel, new.meta.kernel
        if None not in (kernels[0].boot_id, kernels[1].boot_id) and (
            kernels[0].boot_id == kernels[1].boot_id
        ):
            relation = f"the same boot{self._hands()}"
        elif kernels[0].build_id and kernels[0].build_id == kernels[1].build_id:
            relation = "another boot of the same kernel"
        else:
            relation = "another kernel"
        hosts = {kernel.host for kernel in kernels}
        if len(hosts) > 1 and None not in hosts:
            relation += ", on another host"
        return f"From {_when(old)} to {_when(new)}: {relation}."

    def _hands(self) -> str:
        """How many pages changed hands, where single blocks are known."""
        if not isinstance(self._sides[0], KeptSide) or not self._both("blocks"):
            return ""
        for place, side in enumerate(self._sides):
            side.blocks(self._db, f"blocks_{place}")
        found = changed_hands(self._db, "blocks_0", "blocks_1")
        left_out = (
            f" ({found.left_out:,} blocks that were freed in part are not counted)"
            if found.left_out
            else ""
        )
        return f", in which {found.pages:,} pages changed hands{left_out}"


def _names(columns: Sequence[Column]) -> list[str]:
    return [column.name for column in columns]


def _when(side: Side) -> str:
    taken = side.meta.taken or "of an unknown time"
    if isinstance(side, OpenSide):
        return f"{side.name} ({taken})"
    return f"{side.name} ({taken}, {side.meta.kernel.release})"


def _signed(count: int) -> str:
    return f"{'-' if count < 0 else '+'}{size(abs(count))}"

# SPDX-License-Identifier: GPL-2.0-or-later
"""``memory``: where all memory is."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

from pagedbg.analysis.keys import KeySums
from pagedbg.errors import PagedbgError, UsageError
from pagedbg.schema.block_columns import BLOCK_KEYS, BLOCK_SUMS
from pagedbg.schema.memory_columns import (
    HEALTH,
    LARGEST,
    MEMORY,
    MEMORY_EVENTS,
    MEMORY_SUMS,
    POOLS,
    PROCESSES,
    SLAB_SUMS,
    UNACCOUNTED,
)
from pagedbg.schema.sum_columns import BLOCKS
from pagedbg.schema.table import Column, Row, Table
from pagedbg.session import Session
from pagedbg.shell import drgn_scripts
from pagedbg.shell.command import NAMESPACE, argument, command
from pagedbg.shell.filter_options import FILTERS, KIND, MEMCG, NO_SELF
from pagedbg.shell.needs import require
from pagedbg.shell.option_values import values
from pagedbg.shell.table_options import (
    BY,
    SORT,
    STACK_PICTURE,
    TABLE_COLUMNS,
    TOP,
    TableColumns,
    more_rows,
    parse_sort,
    sorted_rows,
)
from pagedbg.sources.memory_events import event_rows
from pagedbg.sources.memory_health import health_rows
from pagedbg.sources.memory_pools import largest_rows, pool_rows, process_rows
from pagedbg.sources.memory_sums import MemorySums
from pagedbg.sources.slab_sums import SlabSums

_SECTIONS = (
    *("kinds", "unaccounted", "pools", "largest", "health", "processes"),
    *("events", "objects"),
)

_KINDS = ("kind", "detail")
_UNACCOUNTED = tuple(column.name for column in UNACCOUNTED[:3])

_FILTERS = (
    *("orders", "gfp", "migratetype", "zone", "node", "pid", "comm", "stack"),
    *("module", "age", "pfns", "kind", "memcg", "unaccounted"),
)

_NO_POOL = "There is no CMA area, no huge page and no swap."

# Rows of a section on the one screen.
_FEW = 5

_SUMS = [column for column in BLOCK_SUMS if column is not BLOCKS]
_OF_CACHES = {column.name for column in MEMORY_SUMS if column not in _SUMS}


TABLE_COLUMNS["memory"] = TableColumns(
    MEMORY,
    MEMORY_SUMS,
    unsorted=_OF_CACHES,
    # Each has columns of its own.
    instead={"--section": None},
)


@values("--section")
def _section_names(session: Session) -> Sequence[str]:
    return _SECTIONS


@command(
    "memory",
    long_description="""
Say where all memory is: the pages of each kind, which sum up to what the zones have,
and beside them the kernel's own counters with the difference. Then what no counter of
the kernel has, by whom page_owner knows to have allocated it; pools of huge pages, CMA
areas and swap; the largest block that can be had in each zone; and what is unusual.

Who holds pages is said by page_owner, else by allocation tags, else by a structure of
the kernel that names it, and --by witness sums up by which of them. The last owner of a
page that was migrated or swapped in may not be its first.

With --by the pages are summed up by something else, and filters choose among them.
Those that ask for an allocation (--comm, --stack, --age ...) choose pages that
page_owner knows the allocation of. Pages of slab caches are not charged to a memory
cgroup as pages. A block that was allocated with kmalloc() and is too large for slabs is
slab memory to the kernel's counters; older kernels' pages do not say so. The stacks
that a CPU keeps for the next task are in no counter.
""",
    arguments=(
        BY,
        argument(
            "--section",
            metavar="NAME",
            choices=_SECTIONS,
            help="only this part of the screen: " + ", ".join(_SECTIONS),
        ),
        argument(
            "--unaccounted",
            action="store_true",
            help="only pages that are handed out and in no counter of the kernel",
        ),
        TOP,
        SORT,
        KIND,
        NO_SELF,
        MEMCG,
        FILTERS,
        STACK_PICTURE,
    ),
    examples=(
        ("memory", "where all memory is, and what is odd about it"),
        ("memory --by cache --top 5", "the largest slab caches, with their objects"),
        ("memory --by file --top 5", "which files the page cache holds"),
        ("memory --by vmalloc --top 5", "who has asked vmalloc() for the most"),
        ("memory --by holder --top 5", "whose stacks and page tables are the largest"),
        ("memory --by memcg,kind", "what each memory cgroup is charged for"),
        (
            "memory --unaccounted --by module,stack --top 3",
            "which call paths hold what no counter has",
        ),
        ("memory --kind 'page table' --by comm --top 5", "whose page tables they are"),
        ("memory --section largest", "the largest block that can be had by zone"),
        ("memory --section health --format json", "the checks for a script"),
        (
            "memory --section objects --top 5",
            "which lines of the source hold the most slab objects",
        ),
        ("memory --section events", "how often memory was reclaimed and compacted"),
    ),
    table=True,
    drgn=drgn_scripts.MEMORY,
)
def memory(session: Session, args: argparse.Namespace) -> Table:
    """Run the command."""
    query = _Query(session, args)
    if args.by:
        if args.section:
            raise UsageError("--section is a part of the screen, without --by")
        return query.by()
    given = next((name for name in _FILTERS if getattr(args, name)), None)
    if given and args.section not in (None, "kinds"):
        raise UsageError(f"--{given} chooses among pages: give --by with it")
    if args.section:
        return query.section(args.section)
    return query.kinds() if given else query.screen()


def memory_parts(session: Session) -> dict[str, Table]:
    """
    What ``memory --section`` says of pages and pools, by the name of the section, out
    of one pass over the pages.
    """
    return _Query(session, NAMESPACE.get("memory").parser.parse_line([])).parts()


class _Query:
    """One run of the command."""

    def __init__(self, session: Session, args: argparse.Namespace) -> None:
        self._session = session
        self._args = args
        self._notes = list(session.target.notes)

    @functools.cached_property
    def _sums(self) -> MemorySums:
        return MemorySums(self._session, self._args, self._notes)

    # ---- the screen and its parts ----

    def screen(self) -> Table:
        """All of it, out of one pass over the pages."""
        kinds, module = self._sums.by(
            (_KINDS, None),
            (_UNACCOUNTED, self._sums.unaccounted),
            for_unnamed=True,
        )
        with closing(kinds), closing(module):
            rows = _all(kinds)
            table = self._kinds(rows)
            few = [row for batch in module.rows("pages", True, _FEW) for row in batch]
            left = module.left
        uncounted = sum(row[2] for row in self._sums.uncounted(rows))
        health = health_rows(self._session.prog, rows, uncounted)
        unusual = [row for row in health if row[1]]
        who = ", by who allocated them" if self._sums.tracked else ""
        pools = self._pools()
        largest = largest_rows(self._session.prog)
        table.sections = (
            (
                f"In no counter of the kernel: {uncounted:,} pages{who} (memory"
                " --unaccounted --by module,stack has the call paths):",
                self._unaccounted(few, left),
            ),
            *((("Set apart:", Table.of(POOLS, pools)),) if pools else ()),
            ("The largest block that can be had now:", Table.of(LARGEST, largest)),
            (
                f"Unusual, {len(unusual)} of {len(health)} checks (--section health"
                " has all):",
                Table.of(
                    HEALTH,
                    unusual,
                    empty="Nothing is.",
                    text=_health_lines(unusual) if unusual else None,
                ),
            ),
        )
        return table

    def parts(self) -> dict[str, Table]:
        """The parts that a snapshot keeps, whole."""
        kinds, held = self._sums.by(
            (_KINDS, None),
            (_UNACCOUNTED, self._sums.unaccounted),
            for_unnamed=True,
        )
        with closing(kinds), closing(held):
            rows, unaccounted = _all(kinds), _all(held)
        uncounted = sum(row[2] for row in self._sums.uncounted(rows))
        prog = self._session.prog
        return {
            "kinds": self._kinds(rows),
            "unaccounted": self._unaccounted(unaccounted, 0),
            "pools": Table.of(POOLS, self._pools()),
            "largest": Table.of(LARGEST, largest_rows(prog)),
            "health": Table.of(HEALTH, health_rows(prog, rows, uncounted)),
        }

    def section(self, name: str) -> Table:
        """One part."""
        prog = self._session.prog
        match name:
            case "unaccounted":
                self._args.unaccounted = True
                self._args.by = list(_UNACCOUNTED)
                return self.by()
            case "pools":
                return self._listed(POOLS, self._pools(), empty=_NO_POOL)
            case "largest":
                return self._listed(LARGEST, largest_rows(prog))
            case "health":
                return self._health()
            case "events":
                rows = event_rows(prog, self._notes)
                return self._listed(MEMORY_EVENTS, rows, empty="None is known.")
            case "objects":
                return self._objects()
            case "processes":
                return self._listed(PROCESSES, process_rows(prog, self._notes))
        return self.kinds()

    def kinds(self) -> Table:
        """A row a kind."""
        (sums,) = self._sums.by((_KINDS, None), for_unnamed=True)
        with closing(sums):
            return self._kinds(_all(sums))

    def _kinds(self, summed: Sequence[Row]) -> Table:
        # Kind, detail, pages, bytes, share of RAM.
        rows: list[Row] = [(*row[:4], row[5]) for row in summed]
        sums = self._sums
        sums.note()
        if not any(getattr(self._args, name) for name in _FILTERS):
            rows = sums.counted(rows)
            said = [sums.closing(rows), sums.unnamed()]
        else:
            rows = [(*row, None, None, None) for row in rows]
            said = [f"Total: {sum(row[2] for row in rows):,} pages."]
        return self._listed(MEMORY, rows, closing=said)

    def _listed(
        self, columns: Sequence[Column], rows: Sequence[Row], **more: Any
    ) -> Table:
        """A table of rows that are all there, as ``--sort`` and ``--top`` have them."""
        sort = parse_sort(self._args.sort, columns)
        if sort:
            rows = sorted_rows(
                rows, [each.name for each in columns].index(sort[0]), sort[1]
            )
        top = self._args.top
        if top is not None and len(rows) > top:
            self._notes.append(more_rows(len(rows) - top))
            rows = rows[:top]
        return Table.of(columns, rows, notes=self._notes, **more)

    def _unaccounted(self, rows: Sequence[Row], left: int) -> Table:
        return Table.of(
            UNACCOUNTED,
            rows,
            closing=[more_rows(left)] if left else [],
            empty="None is.",
        )

    def _pools(self) -> list[Row]:
        return pool_rows(self._session.prog, self._notes)

    def _objects(self) -> Table:
        found = SlabSums(self._session, self._notes)
        if not found.known:
            raise PagedbgError(
                "nobody writes down who allocates slab objects: it takes allocation"
                " tags, or slub_debug=U (doctor says what they cost)."
            )
        table = self._listed(SLAB_SUMS, found.rows(), empty="There is none.")
        # For people what allocated them stands below, be it a line or a call path.
        table.text = Table.of(
            (SLAB_SUMS[0], *SLAB_SUMS[3:], SLAB_SUMS[2]),
            [
                (cache, *sums, stack if site is None else [site])
                for rows in table.batches
                for cache, site, stack, *sums in rows
            ],
        )
        return table

    def _health(self) -> Table:
        (sums,) = self._sums.by((_KINDS, None))
        with closing(sums):
            rows = _all(sums)
        uncounted = sum(row[2] for row in self._sums.uncounted(rows))
        self._sums.note()
        found = health_rows(self._session.prog, rows, uncounted)
        table = self._listed(HEALTH, found, closing=["* is unusual."])
        # As many as --top leaves.
        table.text = _health_lines([row for rows in table.batches for row in rows])
        return table

    # ---- by something else ----

    def by(self) -> Table:
        """A row for each value of ``--by``."""
        known = {column.name: column for column in BLOCK_KEYS}
        by = self._args.by
        if "site" in by:
            require(self._session, "allocation tags")
        sums_of = list(MEMORY_SUMS if by == ["cache"] else _SUMS)
        columns = [*(known[name] for name in by), *sums_of]
        sortable = [column for column in columns if column.name not in _OF_CACHES]
        sort = parse_sort(self._args.sort, sortable) or ("pages", True)
        table = Table(columns, (), notes=self._notes, empty="No page matches.")
        table.batches = self._summed(table.closing, *sort)
        return table

    def _summed(
        self, said: list[str], sort: str, descending: bool
    ) -> Iterator[Sequence[Row]]:
        sums = self._sums.chosen_by(self._args.by)
        with closing(sums):
            for rows in sums.rows(sort, descending, self._args.top):
                if self._args.by == ["cache"]:
                    objects = self._sums.objects({row[0] for row in rows})
                    rows = [(*row, *objects.get(row[0], (None, None))) for row in rows]
                yield rows
            if sums.left:
                self._notes.append(more_rows(sums.left))
            pages = sums.pages
        said.append(self._sums.total(pages))
        self._sums.note()


def _health_lines(rows: Sequence[Row]) -> Iterator[str]:
    """Each check with what it has found and the command that says more."""
    width = max((len(row[0]) for row in rows), default=0)
    for check, unusual, detail, more in rows:
        yield f"  {'*' if unusual else ' '} {check:{width}}  {detail} ({more})"


def _all(sums: KeySums) -> list[Row]:
    return [row for batch in sums.rows("pages", True, None) for row in batch]

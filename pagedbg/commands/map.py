# SPDX-License-Identifier: GPL-2.0-or-later
"""``map``: what lies where in memory, as a picture."""

from __future__ import annotations

import argparse
import functools
import shlex
import sys
from collections.abc import Iterator, Sequence

import numpy as np

from pagedbg.analysis.page_map import PageMap, Stretch
from pagedbg.errors import PagedbgError, UsageError
from pagedbg.output.map_layout import LAYOUTS
from pagedbg.output.map_picture import map_picture, picture_order
from pagedbg.output.map_text import MapText
from pagedbg.output.map_words import cell_size
from pagedbg.output.render import window_of
from pagedbg.schema.filter_words import number
from pagedbg.schema.map_columns import MAP_CELL, MAP_CELLS
from pagedbg.schema.picture import Picture
from pagedbg.schema.table import Row, Table
from pagedbg.session import Session
from pagedbg.shell.block_options import chosen_zones, order_of_size, parse_block_size
from pagedbg.shell.command import NAMESPACE, argument, argument_group, command
from pagedbg.shell.filter_options import FILTERS, KIND, MEMCG, NO_SELF, NODE, PFNS, ZONE
from pagedbg.shell.parser import Parser
from pagedbg.shell.table_options import ByParser
from pagedbg.sources.map_source import MAP_KEYS, MapSource
from pagedbg.sources.page_map import KernelMap
from pagedbg.sources.snapshot_map import SnapshotMap

# With their counts they take some 50 MiB.
_MOST_CELLS = 1 << 20

# Rows that are made at once.
_ROWS = 1 << 12

_BY = ByParser(MAP_KEYS)


def _parse_filters(text: str) -> argparse.Namespace:
    """The parser of ``--highlight``: the filters of other commands, in one word."""
    parser = Parser(prog="owners", add_help=False, allow_abbrev=False)
    parser.add_arguments((KIND, NO_SELF, MEMCG, FILTERS))
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"{text!r}: {error}".lower()) from None
    args = parser.parse_line(words)
    if not any(vars(args).values()):
        raise UsageError("there is no filter in it; write '--module leaky'")
    args.words = text
    return args


@command(
    "map",
    long_description="""
Draw memory as a map of cells, each of which is some pages that lie together and has the
colour of what most of them are. Each zone is a stretch of its own, with its holes left
blank, and below the map stands what its colours mean. Without colours, and in a file,
cells are letters.

With --by the map shows something else than the kinds of pages. By mobility it shows
what compaction could move. By order, age, function, module, comm or migratetype it
shows allocations on record, whatever is free as free, and the rest as not on record.

With --highlight cells are marked that have any page a filter chooses, however few: that
shows how what somebody holds is spread over memory. Filters are those of owners.

A cell is as small as there is room for in the window. -o FILE.svg and FILE.png make a
picture; in the first, a cell that is pointed at says what is in it. As JSON, cells are
pageblocks unless --cell says otherwise.
""",
    arguments=(
        argument(
            "--by",
            metavar="KEY",
            type=_BY,
            default="kind",
            help="what is shown: " + ", ".join(_BY.words) + "; kind by default",
        ),
        argument(
            "--highlight",
            metavar="FILTERS",
            type=_parse_filters,
            help="mark cells with such pages: '--module leaky', \"--orders '>=4'\"",
        ),
        argument(
            "--at",
            metavar="PFN",
            type=number,
            help="say what is in the cell of this page",
        ),
        argument(
            "--cell",
            metavar="SIZE",
            type=parse_block_size,
            help="the size of a cell: 64K, 2M; by default what there is room for",
        ),
        argument(
            "--layout",
            metavar="LAYOUT",
            choices=LAYOUTS,
            default=LAYOUTS[0],
            help=(
                "lines, the default, or hilbert: along a curve that keeps together what"
                " lies together"
            ),
        ),
        argument_group(ZONE, NODE, PFNS, title="filters"),
    ),
    examples=(
        ("map", "what lies where"),
        ("map --by mobility", "what keeps memory in pieces"),
        ("map --highlight '--module leaky'", "where the pages of a driver lie"),
        ("map --by order --layout hilbert", "how large allocated blocks are"),
        ("map --at 0x4000", "what is in the cell of a page"),
        ("map --cell 2M --format json", "what is in each cell, for a script"),
    ),
    table=True,
    kernel=False,
)
def map(session: Session, args: argparse.Namespace) -> Table:
    """Run the command."""
    if session.snapshot is None:
        NAMESPACE.get("inspect").check(session)
    query = _Query(session, args)
    return query.map() if args.at is None else query.cell()


class _Query:
    """One run of the command."""

    def __init__(self, session: Session, args: argparse.Namespace) -> None:
        self._session, self._args = session, args
        self._by, *more = args.by
        if more:
            raise UsageError("--by: a map shows one thing")
        self._notes: list[str] = list(session.target.notes)
        self._closing: list[str] = []
        self._source = self._opened()
        self._page_size = self._source.page_size
        self._spans = [(span.start_pfn, span.end_pfn) for span in self._source.spans]
        if not self._spans:
            raise PagedbgError("there is no zone with such pages (zones lists them).")
        self._order = (
            None
            if args.cell is None
            else order_of_size(self._page_size, args.cell, "--cell")
        )

    def _opened(self) -> MapSource:
        """The pages of what is open."""
        session, args = self._session, self._args
        if session.snapshot is not None:
            return SnapshotMap(
                session.db.cursor(), session.snapshot, self._by, args, self._notes
            )
        return KernelMap(
            session,
            self._by,
            chosen_zones(session.prog, args),
            args.pfns,
            args.highlight,
            self._notes,
        )

    @functools.cached_property
    def _text(self) -> MapText:
        return MapText(
            self._made,
            self._spans,
            self._order,
            self._args.layout,
            self._page_size,
            self._closing,
        )

    def _made(self, order: int) -> PageMap:
        """:raises UsageError: if there were too many cells"""
        least = order
        while sum((end - start >> least) + 1 for start, end in self._spans) > (
            _MOST_CELLS
        ):
            least += 1
        if least > order:
            raise UsageError(
                f"--cell: there would be more than {_MOST_CELLS:,} cells; the least"
                f" here is {cell_size(least, self._page_size)}, and --zone, --node and"
                " --pfns choose a part"
            )
        return self._source.map(order)

    # ---- all of it ----

    def map(self) -> Table:
        """A row for each cell; as text, and in pictures, a map."""
        return Table(
            MAP_CELLS,
            self._rows(),
            notes=self._notes,
            closing=self._closing,
            drawing=self._text,
            picture=self._picture,
        )

    def _rows(self) -> Iterator[Sequence[Row]]:
        order = self._order if self._order is not None else self._source.pageblock_order
        drawn = self._made(order)
        for stretch in drawn.stretches:
            for start in range(0, len(stretch), _ROWS):
                cells = range(start, min(start + _ROWS, len(stretch)))
                yield [_row(drawn, stretch, cell) for cell in cells]

    def _picture(self) -> Picture:
        order, layout = self._order, self._args.layout
        if order is None:
            order = picture_order(self._spans, layout)
        drawn = self._made(order)
        title = f"Memory of {self._source.release}, by {self._by}"
        if self._args.highlight is not None:
            title += f"; highlighted: {self._args.highlight.words}"
        return map_picture(drawn, layout, self._page_size, title, self._notes)

    # ---- one cell ----

    def cell(self) -> Table:
        """A row for each thing that is in a cell."""
        pfn = self._args.at
        order = self._order
        if order is None:
            order = self._text.order(window_of(sys.stdout))
        found = self._source.cell(pfn, order)
        if found is None:
            raise PagedbgError(f"page frame {pfn:#x} is in no zone that is drawn.")
        total = max(sum(pages for _, pages, _ in found.contents), 1)
        rows = [
            (value, pages, round(100 * pages / total, 2), first)
            for value, pages, first in found.contents
        ]
        pages = found.end_pfn - found.start_pfn
        said = (
            f"Cell {found.start_pfn:#x}-{found.end_pfn - 1:#x}: {pages:,} page frames"
            f" of node {found.node}, zone {found.zone}."
        )
        if rows:
            said += (
                f" inspect pfn {rows[0][3]:#x} says all of the first page; owners"
                f" --pfns {found.start_pfn:#x}+{pages} who allocated them."
            )
        return Table.of(
            MAP_CELL,
            rows,
            notes=self._notes,
            closing=[said],
            empty="There is no memory.",
        )


def _row(drawn: PageMap, stretch: Stretch, cell: int) -> Row:
    start, end = stretch.bounds(cell)
    counts = stretch.counts[cell]
    pages = int(counts.sum())
    found = np.argsort(-counts, kind="stable")
    contents = [(drawn.values[i], int(counts[i])) for i in found.tolist() if counts[i]]
    return (
        start,
        stretch.node,
        stretch.zone,
        pages,
        end - start - pages,
        contents[0][0] if contents else None,
        int(stretch.highlighted[cell]) if drawn.marked else None,
        contents,
    )

# SPDX-License-Identifier: GPL-2.0-or-later
"""``blocks``: the pageblocks, what is in them, and who keeps them from being free."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing

from pagedbg.analysis.pageblock_holders import PageblockHolders, numbers_of
from pagedbg.analysis.pageblock_sums import COUNTS, PageblockSums
from pagedbg.errors import UsageError
from pagedbg.mm.migrate import decode_migratetype
from pagedbg.mm.page_kinds import OWN
from pagedbg.mm.page_mobility import Mobility
from pagedbg.mm.pageblock_flags import pageblock_order
from pagedbg.schema.pageblock_columns import (
    PAGEBLOCK_KEYS,
    PAGEBLOCK_SUMS,
    PAGEBLOCKS,
    PINNED_PAGES,
)
from pagedbg.schema.table import Row, Table
from pagedbg.session import Session
from pagedbg.shell import drgn_scripts
from pagedbg.shell.block_options import (
    chosen_zones,
    order_of_size,
    parse_block_size,
)
from pagedbg.shell.command import argument, argument_group, command
from pagedbg.shell.filter_options import NODE, PFNS, ZONE
from pagedbg.shell.needs import require
from pagedbg.shell.table_options import (
    SORT,
    STACK_PICTURE,
    TABLE_COLUMNS,
    TOP,
    ByParser,
    TableColumns,
    more_rows,
    parse_sort,
)
from pagedbg.sources.capabilities import capabilities_of
from pagedbg.sources.kernel_names import KernelNames
from pagedbg.sources.pageblock_pages import (
    PageblockPart,
    PageblockTypes,
    pageblock_parts,
)
from pagedbg.sources.pinned_pages import PinnedPages
from pagedbg.sources.unread_records import BY_TAGS

_KEYS = tuple(column.name for column in PAGEBLOCK_KEYS)

# Whoever keeps most blocks from being free comes first.
_WORST_FIRST = (("sole_pageblocks", True), ("pageblocks", True), ("pages", True))

# More than there are migratetypes: four bits of a pageblock say which it has.
_TYPES = 16

TABLE_COLUMNS["blocks"] = TABLE_COLUMNS["pageblocks"] = TableColumns(
    PAGEBLOCKS,
    PAGEBLOCK_SUMS,
    instead={"--pinned": TableColumns(PINNED_PAGES)},
)

_ARGUMENTS = (
    argument(
        "--polluted",
        action="store_true",
        help="only those that a few pages keep from being free",
    ),
    argument(
        "--by",
        metavar="KEY",
        type=ByParser(_KEYS),
        help="who holds pages, told apart by KEY, or several with commas: "
        + ", ".join(_KEYS),
    ),
    argument(
        "--pinned",
        action="store_true",
        help="list pages that could be moved, but for references to them; and whose",
    ),
    argument(
        "--no-self",
        action="store_true",
        help="as if pagedbg's own pages, the rings of its recorders, were free",
    ),
    argument(
        "--size",
        metavar="SIZE",
        type=parse_block_size,
        help="blocks of another size than pageblocks: 64K, 1G",
    ),
    TOP,
    SORT,
    argument_group(ZONE, NODE, PFNS, title="filters"),
    STACK_PICTURE,
)


@command(
    "blocks",
    long_description="""
List the pageblocks, the units that the kernel groups pages by mobility in: of which
migratetype each is, how many of its pages are free, how many compaction could move, and
how many it could not, with the functions that asked for the latter.

A pageblock is polluted if half of it or more is free or movable, and some pages that
cannot be moved keep it from being one free block. With --by there is a row for each
holder of pages: in how many pageblocks it holds some, and how many it alone keeps from
being free.

free is what the buddy allocator has, pcp what the CPUs keep. Every other page is
movable (of processes and files), pinned (the same, but with references that nothing
accounts for), reclaimable (of slab caches that give memory back), unmovable, unknown,
or absent: a hole, or offline.

--pinned lists the pages of processes and files that have references beyond their
mappings, which is what the kernel means by "PFNs busy": they cannot be migrated, so
that memory cannot be offlined and a CMA area cannot be used. A page that is on its way
to a list of the LRU may be among them.
""",
    arguments=_ARGUMENTS,
    examples=(
        ("blocks --polluted --sort -unmovable --top 5", "the least polluted blocks"),
        ("blocks --by function --top 5", "who keeps most pageblocks from being free"),
        (
            "blocks --by module,function --size 64K --top 5",
            "who keeps blocks of order 4 from being free",
        ),
        (
            "blocks --pfns 0x4000-0x5fff --pinned",
            "which pages of a range are busy, and who maps them",
        ),
        ("blocks --size 1G", "what is where a gigantic page could be"),
        ("blocks --format csv > blocks.csv", "all of them for a spreadsheet"),
    ),
    table=True,
    drgn=drgn_scripts.BLOCKS,
)
@command(
    "pageblocks",
    long_description="The same as blocks.",
    arguments=_ARGUMENTS,
    examples=(("pageblocks | head -n 20", "where memory is free"),),
    table=True,
    drgn=drgn_scripts.BLOCKS,
)
def blocks(session: Session, args: argparse.Namespace) -> Table:
    """Run the command."""
    query = _Query(session, args)
    if args.pinned:
        for name in ("polluted", "by", "size", "sort"):
            if getattr(args, name):
                raise UsageError(f"--pinned lists pages: leave --{name} out")
        return query.pinned()
    if not args.by:
        return query.pageblocks()
    if args.polluted:
        raise UsageError("--polluted chooses pageblocks, and --by lists their holders")
    query.check_keys()
    return query.holders()


class _Query:
    """One run of the command."""

    def __init__(self, session: Session, args: argparse.Namespace) -> None:
        self._session, self._args = session, args
        self._prog = session.prog
        self._notes: list[str] = list(session.target.notes)
        self._unknown = self._unread = 0
        self._names = KernelNames(session)
        self._recorded = bool(capabilities_of(session.target)["page_owner"].state)
        self._owned = self._recorded or self._names.tagged
        if self._names.tagged:
            self._notes.append(BY_TAGS)
        self._order = (
            pageblock_order(self._prog)
            if args.size is None
            else order_of_size(self._prog["PAGE_SIZE"].value_(), args.size, "--size")
        )
        self._spans = chosen_zones(self._prog, args)

    def _parts(self, numbers: Sequence[str] | None) -> Iterator[PageblockPart]:
        start, end = self._args.pfns or (0, None)
        for part in pageblock_parts(
            self._prog,
            self._spans,
            self._order,
            start_pfn=start,
            end_pfn=end,
            numbers=numbers,
            as_free=OWN if self._args.no_self else None,
            tags=self._names.tag_numbers if self._names.tagged else None,
            sites=self._names.tags_of,
        ):
            self._unknown += int(part.counts[:, Mobility.UNKNOWN].sum())
            self._unread += part.unread
            yield part
        if self._unknown:
            self._notes.append(
                f"Of {self._unknown} pages it is not known what they are: they cannot"
                " be read, or were just being handed out or freed."
            )
        if self._unread:
            self._notes.append(
                f"The records of {self._unread} pages in use could not be read: they"
                " count as not on record."
            )

    # ---- a row a pageblock ----

    def pageblocks(self) -> Table:
        """A row for each pageblock."""
        sort = parse_sort(self._args.sort, PAGEBLOCKS[:-1]) or ("start_pfn", False)
        return Table(
            PAGEBLOCKS,
            self._pageblocks(*sort),
            notes=self._notes,
            empty="No pageblock matches.",
        )

    def _sums(self) -> PageblockSums:
        return PageblockSums(
            self._session.db,
            [(span.nid, span.name) for span in self._spans],
            [decode_migratetype(self._prog, number) for number in range(_TYPES)],
        )

    def _pageblocks(self, sort: str, descending: bool) -> Iterator[Sequence[Row]]:
        args, db = self._args, self._session.db
        by = ("function",)
        with (
            closing(PageblockHolders(db, self._names, by, owners=True)) as holders,
            closing(self._sums()) as sums,
        ):
            types = [PageblockTypes(self._prog, span) for span in self._spans]
            for part in self._parts(numbers_of(by) if self._owned else None):
                if part.held:
                    holders.add(part.held)
                sums.add(part.columns(types[part.span], COUNTS))
            for which, rows in sums.rows(
                sort, descending, polluted=args.polluted, top=args.top
            ):
                if self._owned:
                    owners = holders.owners(*zip(*which, strict=True))
                    yield [
                        (*row, [function for (function,) in who])
                        for row, who in zip(rows, owners, strict=True)
                    ]
                else:
                    yield [(*row, None) for row in rows]
            if sums.left:
                self._notes.append(more_rows(sums.left))
        self._note_owners()

    # ---- a row a holder ----

    def check_keys(self) -> None:
        """Refuse what nobody knows here to sum up by."""
        if "site" in self._args.by:
            require(self._session, "allocation tags")
        if not self._names.tagged:
            require(self._session, "page_owner")
        elif unknown := set(numbers_of(self._args.by)) - {"handle", "site"}:
            raise UsageError(
                f"--by {min(unknown)}: page_owner is off, and allocation tags do not"
                " know it"
            )

    def holders(self) -> Table:
        """A row for each holder of pages."""
        known = {column.name: column for column in PAGEBLOCK_KEYS}
        columns = [*(known[name] for name in self._args.by), *PAGEBLOCK_SUMS]
        chosen = parse_sort(self._args.sort, columns)
        sort = [*([chosen] if chosen else []), *_WORST_FIRST]
        return Table(
            columns,
            self._holders(sort),
            notes=self._notes,
            empty="Nobody holds pages there.",
        )

    def _holders(self, sort: Sequence[tuple[str, bool]]) -> Iterator[Sequence[Row]]:
        by = self._args.by
        with closing(PageblockHolders(self._session.db, self._names, by)) as holders:
            for part in self._parts(numbers_of(by)):
                holders.add(part.held)
            yield from holders.rows(sort, self._args.top)
            if holders.left:
                self._notes.append(more_rows(holders.left))
            self._notes.append(_held_by(holders.held_by()))
        self._note_faults()

    # ---- a row a pinned page ----

    def pinned(self) -> Table:
        """A row for each pinned page."""
        return Table(
            PINNED_PAGES,
            self._pinned(),
            notes=self._notes,
            empty="No page has references beyond its mappings.",
        )

    def _pinned(self) -> Iterator[Sequence[Row]]:
        names = self._names if self._recorded else None
        pages = PinnedPages(self._session, names, self._notes)
        left = self._args.top
        for rows in pages.rows(self._spans, *(self._args.pfns or (0, None))):
            yield rows[:left]
            if left is not None and (left := left - len(rows)) <= 0:
                break
        self._note_owners()

    def _note_owners(self) -> None:
        if not self._owned:
            self._notes.append("page_owner is off: who holds pages is not known.")
        self._note_faults()

    def _note_faults(self) -> None:
        self._notes.extend(self._names.faults())
        self._notes.extend(self._session.target.symbolize.notes)


def _held_by(counts: Mapping[int, int]) -> str:
    """Say how many blocks have how many holders."""
    unknown, one, two = (counts.get(holders, 0) for holders in (0, 1, 2))
    held = sum(counts.values()) - unknown
    others = f" Of {unknown} others it is not known." if unknown else ""
    if not held:
        return (
            f"No block is kept from being free by pages that cannot be moved.{others}"
        )
    return (
        f"{held} blocks are kept from being free by pages that cannot be moved:"
        f" {one} by one holder's, {two} by those of two, {held - one - two} of more."
        f"{others}"
    )

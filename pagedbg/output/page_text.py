# SPDX-License-Identifier: GPL-2.0-or-later
"""Everything that is known of one page, drawn for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from drgn.helpers.linux.mm import in_direct_map, pfn_to_page, pfn_to_virt
from drgn.helpers.linux.slab import slab_object_info

from pagedbg.mm.page_state import KINDS, PageState, page_states
from pagedbg.mm.pageblock_flags import (
    pageblock_end_pfn,
    pageblock_order,
    pageblock_start_pfn,
)
from pagedbg.mm.rmap import page_mappings
from pagedbg.output.page_history import history
from pagedbg.output.phrases import (
    age,
    line,
    or_unknown,
    pfn_range,
    pfn_ranges,
    position,
    seconds,
)
from pagedbg.output.printable import printable
from pagedbg.schema import columns
from pagedbg.schema.owner_record import ALLOCATED, FREED, GREATEST_ORDER
from pagedbg.schema.relations import PAGES
from pagedbg.schema.table import Row, Table
from pagedbg.session import Session
from pagedbg.sources.page_address import Place
from pagedbg.sources.page_facts import PageRows
from pagedbg.target.links import UNREADABLE, limited

__all__ = ("PageRecord", "range_table")

# Kinds of pages that processes map.
_MAPPED_KINDS = (
    "anon",
    "ksm",
    "file",
    "shmem",
    "block device",
    "hugetlb",
    "swap cache",
)


class PageRecord:
    """Draws the record of the page that a place is."""

    def __init__(self, session: Session, rows: PageRows, place: Place) -> None:
        self._session = session
        self._rows = rows
        self._place = place
        self._lookup = rows.lookup
        self._prog = rows.lookup.prog
        self._shift = self._prog["PAGE_SHIFT"].value_()

    def lines(self, state: PageState, row: Mapping[str, Any]) -> Iterator[str]:
        """
        Draw the record of a page that there is; *row* is its row by the names of the
        columns.
        """
        prog, pfn = self._prog, state.pfn
        assert state.flags is not None and state.page is not None
        offset = f" + {self._place.offset:#x}" if self._place.offset else ""
        yield f"page frame {pfn:#x} ({pfn}), physical address {row['phys']:#x}{offset}"
        yield line(
            "struct page",
            f"{state.page:#x}, direct map {pfn_to_virt(prog, pfn).value_():#x}",
        )
        yield line(
            "memory", f"node {or_unknown(row['node'])}, zone {or_unknown(row['zone'])}"
        )
        start, end = pageblock_start_pfn(prog, pfn), pageblock_end_pfn(prog, pfn)
        block = (
            f"{pfn >> pageblock_order(prog)} ({pfn_range(start, end)}),"
            f" {or_unknown(row['pageblock_migratetype'])}"
        )
        yield line("pageblock", block)
        yield line("flags", f"{state.flags:#x} ({row['flags'] or 'none'})")
        yield line(
            "counts",
            f"{state.refcount} references, {state.mapcount} mappings"
            + self._head_counts(state),
        )
        yield line(
            "use",
            KINDS.get(row["kind"], row["kind"])
            + (f": {printable(row['detail'])}" if row["detail"] else ""),
        )
        yield from self._more(state)
        if state.memcg is not None:
            yield line("memcg", printable(state.memcg))
        yield ""
        yield from self._owner(row)
        yield from history(self._session, pfn)
        self._rows.note()

    def _head_counts(self, state: PageState) -> str:
        if not state.compound or state.head_pfn in (None, state.pfn):
            return ""
        assert state.head_pfn is not None
        (head,) = page_states(self._prog, state.head_pfn, state.head_pfn + 1)
        return f" (the head page: {head.refcount} references)"

    def _more(self, state: PageState) -> Iterator[str]:
        if state.order and state.head_pfn is not None:
            what = "free block" if state.kind == "free" else "compound page"
            yield line(
                what,
                f"order {state.order},"
                f" {position(state.pfn, state.head_pfn, 1 << state.order)}",
            )
        if self._place.address is not None and state.kind == "slab":
            yield from self._object(self._place.address)
        if state.kind in _MAPPED_KINDS and state.index is not None:
            if state.kind in ("file", "shmem", "block device", "hugetlb"):
                yield line(
                    "offset",
                    f"{state.index << self._shift:#x} (page {state.index}) of it",
                )
            yield from self._mappings(state)

    def _object(self, address: int) -> Iterator[str]:
        phys = (self._place.ranges[0][0] << self._shift) + self._place.offset
        try:
            virt = (
                address
                if in_direct_map(self._prog, address)
                else pfn_to_virt(self._prog, 0).value_() + phys
            )
            found = limited(slab_object_info, self._prog, virt)
        except UNREADABLE:
            return
        if found is not None and found.address:
            allocated = {
                True: "allocated",
                False: "free",
                None: "not known whether allocated",
            }[found.allocated]
            yield line(
                "object", f"{found.address:#x} + {virt - found.address:#x}, {allocated}"
            )

    def _mappings(self, state: PageState) -> Iterator[str]:
        if not state.mapcount:
            return
        found = page_mappings(pfn_to_page(self._prog, state.pfn))
        for i, mapping in enumerate(found.mappings):
            who = (
                f"{printable(mapping.comm)} (pid {mapping.pid})"
                if mapping.comm is not None
                else f"mm_struct {mapping.mm.value_():#x}"
            )
            yield line("" if i else "mapped by", f"{who} at {mapping.address:#x}")
        if not found.complete:
            yield line(
                "" if found.mappings else "mapped by",
                (
                    "more, that were not looked for"
                    if found.mappings
                    else "not found in time"
                ),
            )
        elif not found.mappings:
            yield line("mapped by", "no process that could be found")

    def _owner(self, row: Mapping[str, Any]) -> Iterator[str]:
        if not self._rows.tracked:
            yield "owner: not tracked"
            return
        if row["state"] is None:
            missing = (
                "cannot be read" if self._lookup.target.live else "is not in the dump"
            )
            yield (
                "owner: page_owner's record of this page"
                f" {missing if self._rows.unread else 'does not exist'}"
            )
            return
        if row["state"] == "never":
            yield "owner: none on record: never allocated since page_owner was started"
            return
        early = self._lookup.special.get(row["handle"]) == "early"
        allocated = row["state"] == "allocated"
        yield (
            "owner: allocated, and not freed since"
            if allocated
            else "last owner: the page was allocated, and freed again"
        )
        yield from self._block(row)
        yield line(
            "gfp",
            f"{row['gfp_mask']:#x} ({row['gfp']}), migratetype {row['migratetype']}",
        )
        yield line(
            "by",
            f"{printable(row['comm'] or '?')}, pid {row['pid']}, tgid"
            f" {or_unknown(row['tgid'])}",
        )
        when = (
            f"{seconds(row['ts_ns'])}, {age(row['age_ns'])}"
            if not early
            else "before page_owner was ready"
        )
        yield line("when", when)
        if row["migrate_reason"]:
            yield line("migrated", f"last because of {row['migrate_reason']}")
        yield from self._stack(row["handle"], row["stack"])
        if row["free_handle"]:
            free_age = (
                self._lookup.now - row["free_ts_ns"]
                if self._lookup.now is not None and row["free_ts_ns"]
                else None
            )
            who = (
                f" by pid {row['free_pid']}, tgid {or_unknown(row['free_tgid'])}"
                if row["free_pid"] is not None
                else ""
            )
            yield ""
            yield (
                f"{'before that, last freed' if allocated else 'freed'} at"
                f" {seconds(row['free_ts_ns'])}, {age(free_age)}{who}"
            )
            yield from self._stack(row["free_handle"], row["free_stack"])

    def _stack(self, handle: int, frames: Iterable[str] | None) -> Iterator[str]:
        frames = list(frames or ())
        label = self._lookup.label(handle)
        known = (
            f"(stack {handle:#x})"
            if label is None
            else f"{label}; what page_owner filed in its place, stack {handle:#x}:"
        )
        yield line(
            "from", known if frames else f"a stack that cannot be read ({handle:#x})"
        )
        for frame in frames:
            yield f"    {frame}"

    def _block(self, row: Mapping[str, Any]) -> Iterator[str]:
        pfn, head, order = row["pfn"], row["head"], row["order"]
        if order > GREATEST_ORDER:
            yield line(
                "block",
                f"order {order}, which no allocation has: the record is damaged (or was"
                " being written)",
            )
            return
        yield line("block", f"order {order}, {position(pfn, head, 1 << order)}")
        if not order or row["state"] != "allocated":
            return
        # Pages of one order in one naturally aligned range are one block; see
        # for_each_block().
        records = self._rows.records(head, head + (1 << order))
        held = [
            r is not None and r["state"] == ALLOCATED and r["order"] == order
            for r in records
        ]
        if all(held):
            return
        freed = [r is not None and r["state"] == FREED for r in records]
        again = [
            r is not None and r["state"] == ALLOCATED and r["order"] != order
            for r in records
        ]
        yield line(
            "left of it", f"{sum(held)} of {1 << order} pages: {pfn_ranges(head, held)}"
        )
        if any(freed):
            yield line("freed", f"{sum(freed)} pages: {pfn_ranges(head, freed)}")
        if any(again):
            yield line(
                "reused",
                f"{sum(again)} pages, freed and allocated again:"
                f" {pfn_ranges(head, again)}",
            )


_RANGE = (
    columns.PFN,
    columns.STATE,
    columns.ORDER,
    columns.PID,
    columns.COMM,
    columns.FUNCTION,
    columns.KIND,
    columns.DETAIL,
)


def range_table(rows: PageRows, ranges: Iterable[tuple[int, int]]) -> Table:
    """The table of ranges of pages for people: the columns that matter most."""
    at = {column.name: i for i, column in enumerate(PAGES)}
    names = [column.name for column in _RANGE if column.name in at]

    def shown(row: Row) -> Row:
        cells = {name: row[at[name]] for name in names}
        handle = row[at["handle"]]
        cells["function"] = rows.lookup.function(handle) if handle else None
        return [cells[column.name] for column in _RANGE]

    batches = rows.batches(ranges)
    return Table(_RANGE, ([shown(row) for row in batch] for batch in batches))

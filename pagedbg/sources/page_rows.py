# SPDX-License-Identifier: GPL-2.0-or-later
"""Pages as rows: what they are used for, and who holds them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from drgn import Program
from drgn.helpers.linux.mm import pfn_to_virt

from pagedbg.mm.migrate import decode_migrate_reason, decode_migratetype
from pagedbg.mm.page_flags import decode_page_flags
from pagedbg.mm.page_owner import page_owner_inited
from pagedbg.mm.page_owner_bulk import page_owner_states, read_page_owners
from pagedbg.mm.page_state import ABSENT, PageState, page_states
from pagedbg.mm.pageblock_flags import (
    NO_MIGRATETYPE,
    migratetype_of_pfns,
    pageblock_order,
)
from pagedbg.mm.reserved import REASONS
from pagedbg.schema.owner_record import ALLOCATED, FREED, NEVER
from pagedbg.schema.sizes import several
from pagedbg.session import Session
from pagedbg.sources.kernel_names import KernelNames
from pagedbg.sources.owner_doubts import owner_doubts
from pagedbg.sources.page_origins import callers_of, holders_of, tags_of, witness_of
from pagedbg.sources.unread_records import untracked
from pagedbg.target.links import UNREADABLE

_STATES = {NEVER: "never", FREED: "freed", ALLOCATED: "allocated"}

_PAGES_PER_BATCH = 4096

# Kinds of pages that are in a file.
_FILE_KINDS = ("file", "shmem", "block device", "secretmem", "hugetlb")

_Record = dict[str, Any] | str


class PageRow(NamedTuple):
    """
    A row of :data:`pagedbg.schema.page_columns.PAGES`, which says what its values
    are; None is not known.
    """

    pfn: int
    order: int | None
    pages: int | None
    gfp_mask: int | None
    gfp: str | None
    migratetype: str | None
    zone: str | None
    node: int | None
    pid: int | None
    tgid: int | None
    comm: str | None
    ts_ns: int | None
    free_ts_ns: int | None
    handle: int | None
    stack: list[str] | None
    state: str | None
    head: int | None
    kind: str
    detail: str | None
    phys: int
    page: int | None
    flags: str | None
    refcount: int | None
    mapcount: int | None
    pageblock_migratetype: str | None
    memcg: str | None
    free_handle: int | None
    free_stack: list[str] | None
    free_pid: int | None
    free_tgid: int | None
    migrate_reason: str | None
    age_ns: int | None
    virt: int | None
    flags_mask: int | None
    compound_head: int | None
    compound_order: int | None
    pgoff: int | None
    file_offset: int | None
    pageblock_pfn: int | None
    pageblock_order: int | None
    record: str
    handle_kind: str | None
    free_handle_kind: str | None
    free_age_ns: int | None
    module: str | None
    function: str | None
    site: str | None
    vmalloc: str | None
    holder: str | None
    witness: str | None
    doubts: list[str] | None


class PageRows:
    """
    Draws rows of pages, for one run of a command.

    :param notes: Where to add what the rows do not say: owners that are not tracked,
        records that cannot be read.
    """

    def __init__(self, session: Session, notes: list[str]) -> None:
        self.lookup = KernelNames(session)
        self.notes = notes
        self.unread = self.unknown = 0
        self._unread_reasons: list[str] = []
        self._prog = session.prog
        self._shift: int = self._prog["PAGE_SHIFT"].value_()
        self._virt0 = _direct_map(self._prog)
        self._block = pageblock_order(self._prog)
        self.tracked = page_owner_inited(self._prog)
        if not self.tracked:
            self.notes.append(untracked(self._prog))

    def batches(self, ranges: Iterable[tuple[int, int]]) -> Iterator[list[PageRow]]:
        """Draw rows of ranges of page frames, a batch at a time."""
        states: list[PageState] = []
        for start, end in ranges:
            for state in page_states(self._prog, start, end):
                if states and (
                    len(states) == _PAGES_PER_BATCH or state.pfn != states[-1].pfn + 1
                ):
                    yield self.rows(states)
                    states = []
                states.append(state)
        if states:
            yield self.rows(states)
        self.note()

    def note(self) -> None:
        """Add what could not be read to the notes."""
        if self.unread:
            self.notes.append(
                f"page_owner's records of {several(self.unread, 'page')} could not be"
                " read."
            )
        if self.unknown:
            self.notes.append(
                f"What {self.unknown} pages are is unknown: what says it cannot be"
                " read."
            )
        if self._unread_reasons:
            self.notes.append(
                f"{', '.join(self._unread_reasons)}: could not be read, so that"
                " reserved pages of theirs count as early allocations."
            )
        self.notes += self.lookup.faults()

    def rows(self, states: Sequence[PageState]) -> list[PageRow]:
        """Draw rows of pages that follow each other."""
        lookup, prog = self.lookup, self._prog
        first, end = states[0].pfn, states[-1].pfn + 1
        pfns = np.arange(first, end, dtype=np.uint64)
        records = self.records(first, end)
        handles = {
            record[name]
            for record in records
            if isinstance(record, dict)
            for name in ("handle", "free_handle")
            if record.get(name)
        }
        stacks = lookup.stacks(handles)
        modules = {handle: lookup.module(handle) for handle in handles}
        functions = {handle: lookup.function(handle) for handle in handles}
        zone_names, zones = lookup.zones(pfns)
        nodes = lookup.nodes(pfns)
        blocks = migratetype_of_pfns(prog, pfns).tolist()
        reasons = self._reasons(states)
        tags, holders = tags_of(lookup, first, end), holders_of(lookup, states)
        callers = callers_of(lookup, states)
        rows: list[PageRow] = []
        for i, (state, record) in enumerate(zip(states, records, strict=True)):
            known = state.kind not in ABSENT
            owner: dict[str, Any] = record if isinstance(record, dict) else {}
            recorded = owner.get("state") in (FREED, ALLOCATED)
            order = owner["order"] if recorded else None
            head = state.pfn >> order << order if order is not None else state.head_pfn
            kind, detail = _kind(state, owner, head)
            detail = reasons.get(state.pfn, detail)
            self.unknown += kind == "unknown"

            def of(
                name: str, owner: dict[str, Any] = owner, recorded: bool = recorded
            ) -> Any:
                return owner.get(name) if recorded else None

            mask, ts, handle = of("gfp_mask"), of("ts_nsec"), of("handle")
            free_handle = of("free_handle") or None
            free_ts = of("free_ts_nsec") or None
            migrated = (
                decode_migrate_reason(prog, owner["last_migrate_reason"])
                if recorded
                else None
            )
            tag, holder = tags.get(state.pfn, 0), holders.get(state.pfn, 0)
            named = owner.get("state") == ALLOCATED and handle not in lookup.special
            rows.append(
                PageRow(
                    pfn=state.pfn,
                    order=order,
                    pages=1 if known else None,
                    gfp_mask=mask,
                    gfp=None if mask is None else lookup.gfp(mask),
                    migratetype=None if mask is None else lookup.migratetype(mask),
                    zone=zone_names[zones[i]] if known and zones[i] >= 0 else None,
                    node=int(nodes[i]) if known and nodes[i] >= 0 else None,
                    pid=of("pid"),
                    tgid=of("tgid"),
                    comm=of("comm"),
                    ts_ns=ts,
                    free_ts_ns=free_ts,
                    handle=handle,
                    stack=stacks.get(handle),
                    state=_STATES[owner["state"]] if owner and known else None,
                    head=head,
                    kind=kind,
                    detail=detail,
                    phys=state.pfn << self._shift,
                    page=state.page,
                    flags=(
                        None
                        if state.flags is None
                        else decode_page_flags(
                            prog, state.flags, state.kind, state.second
                        )
                    ),
                    refcount=state.refcount,
                    mapcount=state.mapcount,
                    pageblock_migratetype=(
                        None
                        if blocks[i] == NO_MIGRATETYPE or not known
                        else decode_migratetype(prog, blocks[i])
                    ),
                    memcg=state.memcg,
                    free_handle=free_handle,
                    free_stack=stacks.get(free_handle) if free_handle else None,
                    free_pid=of("free_pid") if free_handle else None,
                    free_tgid=of("free_tgid") if free_handle else None,
                    migrate_reason=migrated,
                    age_ns=self._age(ts),
                    virt=(
                        self._virt0 + (state.pfn << self._shift)
                        if known and self._virt0 is not None
                        else None
                    ),
                    flags_mask=state.flags,
                    compound_head=state.head_pfn,
                    compound_order=state.order,
                    pgoff=state.index,
                    file_offset=(
                        state.index << self._shift
                        if kind in _FILE_KINDS and state.index is not None
                        else None
                    ),
                    pageblock_pfn=(
                        state.pfn >> self._block << self._block if known else None
                    ),
                    pageblock_order=self._block if known else None,
                    record=record if isinstance(record, str) else "read",
                    handle_kind=lookup.special.get(handle) if recorded else None,
                    free_handle_kind=(
                        lookup.special.get(free_handle) if free_handle else None
                    ),
                    free_age_ns=self._age(free_ts),
                    module=modules.get(handle),
                    function=functions.get(handle),
                    site=lookup.of_page("site", tag),
                    vmalloc=lookup.of_page("vmalloc", callers.get(state.pfn, 0)),
                    holder=lookup.of_page("holder", holder) if holder else None,
                    witness=witness_of(lookup, kind, named, bool(tag), holder),
                    doubts=list(
                        owner_doubts(
                            kind,
                            (stacks.get(handle) or ()) if named else (),
                            lookup.place_of(tag),
                            migrated if named else None,
                            lookup.target.has_symbol,
                        )
                    )
                    or None,
                )
            )
        return rows

    def _reasons(self, states: Sequence[PageState]) -> dict[int, str]:
        """Why pages are reserved of which the machine's memory map has only RAM."""
        pfns = [
            state.pfn
            for state in states
            if state.kind == "reserved" and state.detail == "System RAM"
        ]
        if not pfns:
            return {}
        reserved = self.lookup.pages.reserved
        self._unread_reasons = reserved.unread
        found = reserved.find(np.array(pfns, np.int64)).tolist()
        return dict(zip(pfns, (REASONS[code] for code in found), strict=True))

    def _age(self, since: int | None) -> int | None:
        now = self.lookup.now
        return None if now is None or since is None else now - since

    def records(self, start: int, end: int) -> list[_Record]:
        """
        Read page_owner's records of pages as plain values; a word for the page of which
        there is none: a value of the column ``record``.
        """
        if not self.tracked:
            return ["untracked"] * (end - start)
        result: list[_Record] = ["missing"] * (end - start)
        for first, records, known in read_page_owners(
            self._prog, start, min(end, 1 << 52)
        ):
            columns = {
                name: records[name].tolist()
                for name in records.dtype.names or ()
                if name not in ("flags", "comm")
            }
            columns["state"] = page_owner_states(self._prog, records).tolist()
            if "comm" in (records.dtype.fields or {}):
                columns["comm"] = [self.lookup.comm(words) for words in records["comm"]]
            for i, row in enumerate(zip(*columns.values(), strict=True)):
                if known[i]:
                    result[first - start + i] = dict(zip(columns, row, strict=True))
                else:
                    result[first - start + i] = "unreadable"
                    self.unread += 1
        return result


def _direct_map(prog: Program) -> int | None:
    """Where the kernel's map of all memory begins."""
    try:
        return int(pfn_to_virt(prog, 0).value_())
    except UNREADABLE:
        return None


def _kind(
    state: PageState, owner: dict[str, Any], head: int | None
) -> tuple[str, str | None]:
    """
    What a page is, with what page_owner knows and the page does not: a tail of a block
    without __GFP_COMP looks like a free page.
    """
    if (
        state.kind == "no references"
        and owner.get("state") == ALLOCATED
        and head is not None
        and head != state.pfn
    ):
        return "kernel", f"tail of the block at {head:#x}, allocated without __GFP_COMP"
    return state.kind, state.detail

# SPDX-License-Identifier: GPL-2.0-or-later
"""Pages as rows: what they are used for, and who holds them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from pagedbg.mm.migrate import decode_migrate_reason, decode_migratetype
from pagedbg.mm.page_flags import decode_page_flags
from pagedbg.mm.page_owner import page_owner_compiled, page_owner_inited
from pagedbg.mm.page_owner_bulk import page_owner_states, read_page_owners
from pagedbg.mm.page_state import ABSENT, PageState, page_states
from pagedbg.mm.pageblock_flags import NO_MIGRATETYPE, migratetype_of_pfns
from pagedbg.schema.owner_record import ALLOCATED, FREED, NEVER
from pagedbg.schema.table import Row
from pagedbg.session import Session
from pagedbg.sources.kernel_names import KernelNames

_STATES = {NEVER: "never", FREED: "freed", ALLOCATED: "allocated"}

_PAGES_PER_BATCH = 4096


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
        self._prog = session.prog
        self._shift = self._prog["PAGE_SHIFT"].value_()
        self.tracked = page_owner_inited(self._prog)
        if not self.tracked:
            why = (
                "page_owner=on is not on its command line"
                if page_owner_compiled(self._prog)
                else "it was built without CONFIG_PAGE_OWNER"
            )
            self.notes.append(
                f"The kernel does not track page owners: {why} (doctor says more)."
            )

    def batches(self, ranges: Iterable[tuple[int, int]]) -> Iterator[list[Row]]:
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
                f"page_owner's records of {self.unread} pages could not be read."
            )
        if self.unknown:
            self.notes.append(
                f"What {self.unknown} pages are is unknown: what says it cannot be"
                " read."
            )
        faults = self.lookup.depot.faults
        if faults:
            self.notes.append(
                f"{len(faults)} stacks could not be read; the first:"
                f" {next(iter(faults.values()))}."
            )

    def rows(self, states: Sequence[PageState]) -> list[Row]:
        """Draw rows of pages that follow each other."""
        lookup, prog = self.lookup, self._prog
        first, end = states[0].pfn, states[-1].pfn + 1
        pfns = np.arange(first, end, dtype=np.uint64)
        records = self.records(first, end)
        handles = {
            record[name]
            for record in records
            if record
            for name in ("handle", "free_handle")
            if record.get(name)
        }
        stacks = lookup.stacks(handles)
        zone_names, zones = lookup.zones(pfns)
        nodes = lookup.nodes(pfns)
        blocks = migratetype_of_pfns(prog, pfns).tolist()
        rows: list[Row] = []
        for i, (state, record) in enumerate(zip(states, records, strict=True)):
            known = state.kind not in ABSENT
            owner: dict[str, Any] = record or {}
            recorded = owner.get("state") in (FREED, ALLOCATED)
            order = owner["order"] if recorded else None
            head = state.pfn >> order << order if order is not None else state.head_pfn
            kind, detail = _kind(state, owner, head)
            self.unknown += kind == "unknown"

            def of(
                name: str, owner: dict[str, Any] = owner, recorded: bool = recorded
            ) -> Any:
                return owner.get(name) if recorded else None

            mask, ts = of("gfp_mask"), of("ts_nsec")
            free_handle = of("free_handle") or None
            rows.append(
                (
                    state.pfn,
                    order,
                    1 if known else None,
                    mask,
                    None if mask is None else lookup.gfp(mask),
                    None if mask is None else lookup.migratetype(mask),
                    zone_names[zones[i]] if known and zones[i] >= 0 else None,
                    int(nodes[i]) if known and nodes[i] >= 0 else None,
                    of("pid"),
                    of("tgid"),
                    of("comm"),
                    ts,
                    of("free_ts_nsec") or None,
                    of("handle"),
                    stacks.get(of("handle")),
                    _STATES[owner["state"]] if record and known else None,
                    head,
                    kind,
                    detail,
                    state.pfn << self._shift,
                    state.page,
                    None
                    if state.flags is None
                    else decode_page_flags(prog, state.flags),
                    state.refcount,
                    state.mapcount,
                    (
                        None
                        if blocks[i] == NO_MIGRATETYPE or not known
                        else decode_migratetype(prog, blocks[i])
                    ),
                    state.memcg,
                    free_handle,
                    stacks.get(free_handle) if free_handle else None,
                    of("free_pid") if free_handle else None,
                    of("free_tgid") if free_handle else None,
                    (
                        decode_migrate_reason(prog, owner["last_migrate_reason"])
                        if recorded
                        else None
                    ),
                    (
                        lookup.now - ts
                        if recorded and lookup.now is not None and ts is not None
                        else None
                    ),
                )
            )
        return rows

    def records(self, start: int, end: int) -> list[dict[str, Any] | None]:
        """
        Read page_owner's records of pages as plain values, None for a page that has
        none or whose record cannot be read.
        """
        result: list[dict[str, Any] | None] = [None] * (end - start)
        if not self.tracked:
            return result
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
                    self.unread += 1
        return result


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

# SPDX-License-Identifier: GPL-2.0-or-later
"""``inspect``: everything that is known of a page, or a row for each page of a range."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from drgn import FaultError, Program
from drgn.helpers.linux.mm import follow_phys, in_direct_map, pfn_to_page, pfn_to_virt, virt_to_phys, vma_find
from drgn.helpers.linux.pid import find_task
from drgn.helpers.linux.slab import slab_object_info

from pagedbg.analysis.filters import number
from pagedbg.analysis.table import Column, Row, Table
from pagedbg.commands.base import argument, command
from pagedbg.commands.lookup import Lookup
from pagedbg.errors import PagedbgError, UsageError
from pagedbg.mm.migrate import decode_migrate_reason, decode_migratetype
from pagedbg.mm.page import ABSENT, KINDS, PageState, decode_page_flags, page_states
from pagedbg.mm.page_owner import (
    ALLOCATED,
    FREED,
    GREATEST_ORDER,
    NEVER,
    page_owner_compiled,
    page_owner_inited,
    page_owner_states,
    read_page_owners,
)
from pagedbg.mm.pageblock import (
    NO_MIGRATETYPE,
    migratetype_of_pfns,
    pageblock_end_pfn,
    pageblock_order,
    pageblock_start_pfn,
)
from pagedbg.mm.rmap import page_mappings
from pagedbg.session import Session

_COLUMNS = (
    Column("pfn", "hex"),
    Column("order", "int"),
    Column("pages", "int"),
    Column("gfp_mask", "hex"),
    Column("gfp"),
    Column("migratetype"),
    Column("zone"),
    Column("node", "int"),
    Column("pid", "int"),
    Column("tgid", "int"),
    Column("comm"),
    Column("ts_ns", "ns"),
    Column("free_ts_ns", "ns"),
    Column("handle", "hex"),
    Column("stack", "stack"),
    Column("state"),
    Column("head", "hex"),
    Column("kind"),
    Column("detail"),
    Column("phys", "hex"),
    Column("page", "hex"),
    Column("flags"),
    Column("refcount", "int"),
    Column("mapcount", "int"),
    Column("pageblock_migratetype"),
    Column("memcg"),
    Column("free_handle", "hex"),
    Column("free_stack", "stack"),
    Column("free_pid", "int"),
    Column("free_tgid", "int"),
    Column("migrate_reason"),
    Column("age_ns", "ns"),
)
_STATES = {NEVER: "never", FREED: "freed", ALLOCATED: "allocated"}

_PAGES_PER_BATCH = 4096

# A range may go past the end of memory, but rows for what is not there have to end somewhere.
_MOST_BEYOND = 1 << 20

# Kinds of pages that processes map.
_MAPPED_KINDS = ("anon", "ksm", "file", "shmem", "block device", "hugetlb", "swap cache")


class _Place(NamedTuple):
    """What was asked for: ranges of page frames, whether it is one page, and the offset of an address in it, the virtual address itself."""

    ranges: list[tuple[int, int]]
    single: bool
    offset: int = 0
    address: int | None = None
    notes: tuple[str, ...] = ()


@command(
    "inspect",
    long_description="""
Show all that is known of a page frame and of who holds it: where it is, what it is used for, and page_owner's record of its allocation.

  inspect pfn N            a page frame by its number
  inspect page ADDRESS     by the address of its struct page
  inspect phys ADDRESS     by a physical address
  inspect virt ADDRESS     by a virtual address of the kernel (also vmalloc, module and image addresses)
  inspect task PID ADDRESS by a virtual address of a process

Numbers are decimal or 0x-hexadecimal; a word with letters a to f is hexadecimal anyway. A-B (both included) and A+N are ranges, N counting
pages for pfn and page, bytes for the others: they give a row for each page.
""",
    arguments=(
        argument("what", metavar="pfn|page|phys|virt|task", choices=("pfn", "page", "phys", "virt", "task"), help="what the number is"),
        argument("where", metavar="NUMBER", nargs="+", help="the number or a range of them; after task, the process and an address of it"),
        argument("--drgn", action="store_true", help="print Python that does the same in drgn, instead of doing it"),
    ),
    examples=(
        ("inspect pfn 0x1200", "one page, with everything one asks next"),
        ("inspect pfn 0x1200+8", "eight pages, a row each"),
        ("inspect phys 0x1200000 --format json", "a page by an address in it, for a script"),
    ),
    table=True,
)
def inspect(session: Session, args: argparse.Namespace) -> Table | None:
    """Run the command."""
    if args.drgn:
        print(_code(args.what, args.where))
        return None
    place = _find(session.prog, args.what, args.where)
    inspector = _Inspector(session, place)
    return inspector.one() if place.single else inspector.many()


# ---- what was asked for ----


def _find(prog: Program, what: str, where: Sequence[str]) -> _Place:
    if what == "task":
        if len(where) != 2:
            raise UsageError("after task come a process id and an address: inspect task 1 0x7ffd1000")
        return _task(prog, where[0], where[1])
    if len(where) != 1:
        raise UsageError(f"after {what} comes one number or range; {where[1]!r} is one too many")
    return _FINDERS[what](prog, where[0])


def _parse_range(text: str) -> tuple[int, int, bool]:
    """Return ``A``, ``A-B`` or ``A+N`` as the first number, the one after the last, and whether it was a single one."""
    if text.startswith("-"):
        raise UsageError(f"{text!r} is negative")
    for sign in "+-":
        first, found, second = text.partition(sign)
        if not found:
            continue
        start = number(first.strip())
        end = start + number(second.strip()) if sign == "+" else number(second.strip()) + 1
        if end <= start:
            raise UsageError(f"{text!r} is an empty range; write 0x1000-0x1fff or 0x1000+512")
        return start, end, False
    start = number(text)
    return start, start + 1, True


def _pfn(prog: Program, text: str) -> _Place:
    start, end, single = _parse_range(text)
    return _Place([(start, end)], single)


def _page(prog: Program, text: str) -> _Place:
    first, end, single = _parse_range(text)
    page0 = pfn_to_page(prog, 0).value_()
    size = pfn_to_page(prog, 1).value_() - page0
    start = (first - page0) // size
    last = (end - 1 - page0) // size
    if "+" in text:
        last = start + end - first - 1
    # The memory map is as long as physical addresses may be: at most 52 bits on x86-64 and arm64.
    for pfn in (start, last):
        if not 0 <= pfn < 1 << 52 - prog["PAGE_SHIFT"].value_():
            raise PagedbgError(
                f"{page0 + pfn * size:#x} is not the address of a struct page: they begin at {page0:#x} and are {size} bytes long"
            )
    notes: tuple[str, ...] = ()
    if single and (first - page0) % size:
        notes = (f"{first:#x} is {(first - page0) % size} bytes into the struct page at {page0 + start * size:#x}.",)
    return _Place([(start, last + 1)], single, notes=notes)


def _phys(prog: Program, text: str) -> _Place:
    start, end, single = _parse_range(text)
    shift = prog["PAGE_SHIFT"].value_()
    return _Place([(start >> shift, (end - 1 >> shift) + 1)], single, start & ((1 << shift) - 1))


def _virt(prog: Program, text: str) -> _Place:
    start, end, single = _parse_range(text)

    def translate(address: int) -> int | None:
        try:
            return int(follow_phys(prog["init_mm"].address_of_(), address).value_())
        except FaultError:
            pass
        # The page tables may not be in the dump.
        return int(virt_to_phys(prog, address).value_()) if in_direct_map(prog, address) else None

    def explain(address: int) -> str:
        # User space is the lower half of all addresses, on x86-64 as on arm64.
        if not address >> 63:
            return f"{address:#x} is no address of the kernel; for one of a process write inspect task PID {address:#x}"
        return f"nothing is mapped at {address:#x} in the kernel's page tables"

    return _translated(prog, start, end, single, translate, explain)


def _task(prog: Program, pid_text: str, text: str) -> _Place:
    if not pid_text.isdecimal():
        raise UsageError(f"{pid_text!r} is not a process id; write inspect task 1 0x7ffd1000")
    start, end, single = _parse_range(text)
    task = find_task(prog, int(pid_text)) if int(pid_text) < 1 << 31 else None
    if not task:
        raise PagedbgError(f"there is no task {pid_text}")
    who = f"task {pid_text} ({_printable(task.comm.string_().decode(errors='backslashreplace'))})"
    mm = task.mm.read_()
    if not mm:
        raise PagedbgError(f"{who} has no memory of its own: it is a kernel thread, or exiting; use inspect virt")

    def translate(address: int) -> int | None:
        try:
            return int(follow_phys(mm, address).value_())
        except FaultError:
            return None

    def explain(address: int) -> str:
        try:
            vma = vma_find(mm, address)
        except (FaultError, LookupError):
            return f"nothing is mapped at {address:#x} of {who}"
        if vma:
            area = f"{vma.vm_start.value_():#x}-{vma.vm_end.value_():#x}"
            return f"{address:#x} of {who} has no page: it lies in the mapping {area}, but was never touched or is swapped out"
        return f"{address:#x} lies in no mapping of {who}"

    return _translated(prog, start, end, single, translate, explain)


def _translated(
    prog: Program, start: int, end: int, single: bool, translate: Callable[[int], int | None], explain: Callable[[int], str]
) -> _Place:
    if end > 1 << 64:
        raise UsageError(f"{end - 1:#x} is no address: it has more than 64 bits")
    shift = prog["PAGE_SHIFT"].value_()
    size = 1 << shift
    if end - start > _MOST_BEYOND << shift:
        raise UsageError(
            f"a range of {(end - start) >> 30} GiB of virtual addresses is too long; ask for {_MOST_BEYOND << shift >> 30} GiB at most"
        )
    ranges: list[tuple[int, int]] = []
    missing = 0
    for address in range(start & -size, end, size):
        phys = translate(address)
        if phys is None:
            missing += 1
        elif ranges and ranges[-1][1] == phys >> shift:
            ranges[-1] = (ranges[-1][0], ranges[-1][1] + 1)
        else:
            ranges.append((phys >> shift, (phys >> shift) + 1))
    if not ranges:
        raise PagedbgError(explain(start))
    notes = (f"{missing} pages of the range are not mapped.",) if missing else ()
    return _Place(ranges, single, start & (size - 1), start, notes)


_FINDERS: dict[str, Callable[[Program, str], _Place]] = {"pfn": _pfn, "page": _page, "phys": _phys, "virt": _virt}


_CODE = {
    "pfn": ("", "{0}"),
    "page": ("from drgn import Object\nfrom drgn.helpers.linux.mm import page_to_pfn\n", 'page_to_pfn(Object(prog, "struct page *", {0}))'),
    "phys": ("from drgn.helpers.linux.mm import PHYS_PFN\n", "PHYS_PFN(prog, {0})"),
    "virt": ("from drgn.helpers.linux.mm import follow_pfn\n", 'follow_pfn(prog["init_mm"].address_of_(), {0})'),
    "task": (
        "from drgn.helpers.linux.mm import follow_pfn\nfrom drgn.helpers.linux.pid import find_task\n",
        "follow_pfn(find_task(prog, {0}).mm, {1})",
    ),
}


def _code(what: str, where: Sequence[str]) -> str:
    """Return Python for a drgn prompt that prints what is known of the pages."""
    if len(where) != (2 if what == "task" else 1):
        raise UsageError(f"after {what} comes {'a process id and an address' if what == 'task' else 'one number or range'}")
    *pid, text = where
    start, end, single = _parse_range(text)
    imports, pfn = _CODE[what]
    lines = [
        f"{imports}from pagedbg.mm.page import pfn_state",
        "from pagedbg.mm.page_owner import page_owner_of_pfn",
        "from pagedbg.mm.stackdepot import stack_depot_fetch",
        "",
    ]
    if single:
        lines += [
            f"pfn = int({pfn.format(*pid, f'{start:#x}')})",
            "print(pfn_state(prog, pfn))",
            "owner = page_owner_of_pfn(prog, pfn)",
            "print(owner)",
            "if owner is not None:",
            "    print(prog.stack_trace_from_pcs(stack_depot_fetch(prog, owner.handle)))",
        ]
    else:
        step = {"pfn": "1", "page": 'prog.type("struct page").size'}.get(what, 'prog["PAGE_SIZE"].value_()')
        stop = f"{start:#x} + {end - start} * {step}" if what == "page" and "+" in text else f"{end:#x}"
        lines += [
            f"for where in range({start:#x}, {stop}, {step}):",
            f"    pfn = int({pfn.format(*pid, 'where')})",
            "    print(pfn_state(prog, pfn), page_owner_of_pfn(prog, pfn))",
        ]
    return "\n".join(lines)


# ---- what is said of it ----


class _Inspector:
    """One run of the command."""

    def __init__(self, session: Session, place: _Place) -> None:
        self._place = place
        self._lookup = Lookup(session)
        self._prog = session.prog
        self._shift = self._prog["PAGE_SHIFT"].value_()
        self._last_pfn = self._prog["max_pfn"].value_()
        self._notes = [*session.target.notes, *place.notes]
        self._unread = 0
        self._tracked = page_owner_inited(self._prog)
        if not self._tracked:
            why = (
                "page_owner=on is not on its command line" if page_owner_compiled(self._prog) else "it was built without CONFIG_PAGE_OWNER"
            )
            self._notes.append(f"The kernel does not track page owners: {why} (doctor says more).")

    def one(self) -> Table:
        """The table of one page: for programs a row, for people a record."""
        pfn = self._place.ranges[0][0]
        (state,) = page_states(self._prog, pfn, pfn + 1) if pfn < 1 << 52 else (PageState(pfn, "beyond the end"),)
        if state.kind in ABSENT:
            more = f" (the last page frame is {self._last_pfn - 1:#x})" if state.kind == "beyond the end" else ""
            raise PagedbgError(f"there is no page to show at page frame {pfn:#x}: {ABSENT[state.kind]}{more}")
        (row,) = self._rows([state])
        return Table(
            _COLUMNS, [[row]], notes=self._notes, text=self._record(state, dict(zip((c.name for c in _COLUMNS), row, strict=True)))
        )

    def many(self) -> Table:
        """The table of a range: a row for each page, for people with the columns that matter most."""
        end = max(end for _, end in self._place.ranges)
        if end - self._last_pfn > _MOST_BEYOND:
            raise PagedbgError(
                f"the range ends {end - self._last_pfn} pages beyond the end of memory (the last page frame is {self._last_pfn - 1:#x})"
            )
        return Table(_COLUMNS, self._batches(), notes=self._notes, text=self._compact())

    def _batches(self) -> Iterator[list[Row]]:
        states: list[PageState] = []
        for start, end in self._place.ranges:
            for state in page_states(self._prog, start, end):
                if states and (len(states) == _PAGES_PER_BATCH or state.pfn != states[-1].pfn + 1):
                    yield self._rows(states)
                    states = []
                states.append(state)
        if states:
            yield self._rows(states)
        self._note()

    def _note(self) -> None:
        if self._unread:
            self._notes.append(f"page_owner's records of {self._unread} pages could not be read.")
        faults = self._lookup.depot.faults
        if faults:
            self._notes.append(f"{len(faults)} stacks could not be read; the first: {next(iter(faults.values()))}.")

    # ---- rows ----

    def _rows(self, states: Sequence[PageState]) -> list[Row]:
        """Draw rows of pages that follow each other."""
        lookup, prog = self._lookup, self._prog
        first, end = states[0].pfn, states[-1].pfn + 1
        pfns = np.arange(first, end, dtype=np.uint64)
        records = self._records(first, end)
        handles = {record[name] for record in records if record for name in ("handle", "free_handle") if record.get(name)}
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

            def of(name: str, owner: dict[str, Any] = owner, recorded: bool = recorded) -> Any:
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
                    None if state.flags is None else decode_page_flags(prog, state.flags),
                    state.refcount,
                    state.mapcount,
                    None if blocks[i] == NO_MIGRATETYPE or not known else decode_migratetype(prog, blocks[i]),
                    state.memcg,
                    free_handle,
                    stacks.get(free_handle) if free_handle else None,
                    of("free_pid") if free_handle else None,
                    of("free_tgid") if free_handle else None,
                    decode_migrate_reason(prog, owner["last_migrate_reason"]) if recorded else None,
                    lookup.now - ts if recorded and lookup.now is not None and ts is not None else None,
                )
            )
        return rows

    def _records(self, start: int, end: int) -> list[dict[str, Any] | None]:
        """Read page_owner's records of pages as plain values, None for a page that has none or whose record cannot be read."""
        result: list[dict[str, Any] | None] = [None] * (end - start)
        if not self._tracked:
            return result
        for first, records, known in read_page_owners(self._prog, start, min(end, 1 << 52)):
            columns = {name: records[name].tolist() for name in records.dtype.names or () if name not in ("flags", "comm")}
            columns["state"] = page_owner_states(self._prog, records).tolist()
            if "comm" in (records.dtype.fields or {}):
                columns["comm"] = [self._lookup.comm(words) for words in records["comm"]]
            for i, row in enumerate(zip(*columns.values(), strict=True)):
                if known[i]:
                    result[first - start + i] = dict(zip(columns, row, strict=True))
                else:
                    self._unread += 1
        return result

    # ---- a range, for people ----

    def _compact(self) -> Iterator[str]:
        widths = (10, 9, 5, 9, 15, 34)
        names = ("pfn", "state", "order", "pid", "comm", "function", "what it is")
        yield "  ".join(name.ljust(width) for name, width in zip(names, (*widths, 0), strict=True)).rstrip()
        at = {column.name: i for i, column in enumerate(_COLUMNS)}
        for rows in self._batches():
            for row in rows:
                handle = row[at["handle"]]
                what = row[at["kind"]] + (f": {_printable(row[at['detail']])}" if row[at["detail"]] else "")
                cells = (
                    f"{row[at['pfn']]:#x}",
                    row[at["state"]],
                    row[at["order"]],
                    row[at["pid"]],
                    None if row[at["comm"]] is None else _printable(row[at["comm"]]),
                    self._lookup.function(handle) if handle else None,
                    what,
                )
                yield "  ".join(
                    ("-" if cell is None else str(cell)).ljust(width) for cell, width in zip(cells, (*widths, 0), strict=True)
                ).rstrip()

    # ---- one page, for people ----

    def _record(self, state: PageState, row: dict[str, Any]) -> Iterator[str]:
        prog, pfn = self._prog, state.pfn
        assert state.flags is not None and state.page is not None
        offset = f" + {self._place.offset:#x}" if self._place.offset else ""
        yield f"page frame {pfn:#x} ({pfn}), physical address {row['phys']:#x}{offset}"
        yield _line("struct page", f"{state.page:#x}, direct map {pfn_to_virt(prog, pfn).value_():#x}")
        yield _line("memory", f"node {_or_unknown(row['node'])}, zone {_or_unknown(row['zone'])}")
        start, end = pageblock_start_pfn(prog, pfn), pageblock_end_pfn(prog, pfn)
        block = f"{pfn >> pageblock_order(prog)} ({_pfns(start, end)}), {_or_unknown(row['pageblock_migratetype'])}"
        yield _line("pageblock", block)
        yield _line("flags", f"{state.flags:#x} ({row['flags'] or 'none'})")
        yield _line("counts", f"{state.refcount} references, {state.mapcount} mappings" + self._head_counts(state))
        yield _line("use", KINDS.get(row["kind"], row["kind"]) + (f": {_printable(row['detail'])}" if row["detail"] else ""))
        yield from self._more(state)
        if state.memcg is not None:
            yield _line("memcg", _printable(state.memcg))
        yield ""
        yield from self._owner(row)
        self._note()

    def _head_counts(self, state: PageState) -> str:
        if not state.compound or state.head_pfn in (None, state.pfn):
            return ""
        assert state.head_pfn is not None
        (head,) = page_states(self._prog, state.head_pfn, state.head_pfn + 1)
        return f" (the head page: {head.refcount} references)"

    def _more(self, state: PageState) -> Iterator[str]:
        if state.order and state.head_pfn is not None:
            what = "free block" if state.kind == "free" else "compound page"
            yield _line(what, f"order {state.order}, {_place(state.pfn, state.head_pfn, 1 << state.order)}")
        if self._place.address is not None and state.kind == "slab":
            yield from self._object(self._place.address)
        if state.kind in _MAPPED_KINDS and state.index is not None:
            if state.kind in ("file", "shmem", "block device", "hugetlb"):
                yield _line("offset", f"{state.index << self._shift:#x} (page {state.index}) of it")
            yield from self._mappings(state)

    def _object(self, address: int) -> Iterator[str]:
        phys = (self._place.ranges[0][0] << self._shift) + self._place.offset
        try:
            virt = address if in_direct_map(self._prog, address) else pfn_to_virt(self._prog, 0).value_() + phys
            found = slab_object_info(self._prog, virt)
        except (FaultError, LookupError, ValueError):
            return
        if found is not None and found.address:
            allocated = {True: "allocated", False: "free", None: "not known whether allocated"}[found.allocated]
            yield _line("object", f"{found.address:#x} + {virt - found.address:#x}, {allocated}")

    def _mappings(self, state: PageState) -> Iterator[str]:
        if not state.mapcount:
            return
        found = page_mappings(pfn_to_page(self._prog, state.pfn))
        for i, mapping in enumerate(found.mappings):
            who = f"{_printable(mapping.comm)} (pid {mapping.pid})" if mapping.comm is not None else f"mm_struct {mapping.mm.value_():#x}"
            yield _line("" if i else "mapped by", f"{who} at {mapping.address:#x}")
        if not found.complete:
            yield _line("" if found.mappings else "mapped by", "more, that were not looked for" if found.mappings else "not found in time")
        elif not found.mappings:
            yield _line("mapped by", "no process that could be found")

    def _owner(self, row: dict[str, Any]) -> Iterator[str]:
        if not self._tracked:
            yield "owner: not tracked"
            return
        if row["state"] is None:
            missing = "cannot be read" if self._lookup.target.live else "is not in the dump"
            yield f"owner: page_owner's record of this page {missing if self._unread else 'does not exist'}"
            return
        if row["state"] == "never":
            yield "owner: none on record: never allocated since page_owner was started"
            return
        early = self._lookup.special.get(row["handle"]) == "early"
        allocated = row["state"] == "allocated"
        yield "owner: allocated, and not freed since" if allocated else "last owner: the page was allocated, and freed again"
        yield from self._block(row)
        yield _line("gfp", f"{row['gfp_mask']:#x} ({row['gfp']}), migratetype {row['migratetype']}")
        yield _line("by", f"{_printable(row['comm'] or '?')}, pid {row['pid']}, tgid {_or_unknown(row['tgid'])}")
        when = f"{_seconds(row['ts_ns'])}, {_age(row['age_ns'])}" if not early else "before page_owner was ready"
        yield _line("when", when)
        if row["migrate_reason"]:
            yield _line("migrated", f"last because of {row['migrate_reason']}")
        yield from self._stack(row["handle"], row["stack"])
        if row["free_handle"]:
            free_age = self._lookup.now - row["free_ts_ns"] if self._lookup.now is not None and row["free_ts_ns"] else None
            who = f" by pid {row['free_pid']}, tgid {_or_unknown(row['free_tgid'])}" if row["free_pid"] is not None else ""
            yield ""
            yield f"{'before that, last freed' if allocated else 'freed'} at {_seconds(row['free_ts_ns'])}, {_age(free_age)}{who}"
            yield from self._stack(row["free_handle"], row["free_stack"])

    def _stack(self, handle: int, frames: Iterable[str] | None) -> Iterator[str]:
        frames = list(frames or ())
        label = self._lookup.label(handle)
        known = f"(stack {handle:#x})" if label is None else f"{label}; what page_owner filed in its place, stack {handle:#x}:"
        yield _line("from", known if frames else f"a stack that cannot be read ({handle:#x})")
        for frame in frames:
            yield f"    {frame}"

    def _block(self, row: dict[str, Any]) -> Iterator[str]:
        pfn, head, order = row["pfn"], row["head"], row["order"]
        if order > GREATEST_ORDER:
            yield _line("block", f"order {order}, which no allocation has: the record is damaged (or was being written)")
            return
        yield _line("block", f"order {order}, {_place(pfn, head, 1 << order)}")
        if not order or row["state"] != "allocated":
            return
        # Pages of one order in one naturally aligned range are one block; see for_each_block().
        records = self._records(head, head + (1 << order))
        held = [r is not None and r["state"] == ALLOCATED and r["order"] == order for r in records]
        if all(held):
            return
        freed = [r is not None and r["state"] == FREED for r in records]
        again = [r is not None and r["state"] == ALLOCATED and r["order"] != order for r in records]
        yield _line("left of it", f"{sum(held)} of {1 << order} pages: {_ranges(head, held)}")
        if any(freed):
            yield _line("freed", f"{sum(freed)} pages: {_ranges(head, freed)}")
        if any(again):
            yield _line("reused", f"{sum(again)} pages, freed and allocated again: {_ranges(head, again)}")


def _kind(state: PageState, owner: dict[str, Any], head: int | None) -> tuple[str, str | None]:
    """What a page is, with what page_owner knows and the page does not: a tail of a block without __GFP_COMP looks like a free page."""
    if state.kind == "no references" and owner.get("state") == ALLOCATED and head is not None and head != state.pfn:
        return "kernel", f"tail of the block at {head:#x}, allocated without __GFP_COMP"
    return state.kind, state.detail


# ---- words ----


def _line(name: str, text: str) -> str:
    return f"  {name:14}{text}"


def _pfns(start: int, end: int) -> str:
    return f"{start:#x}-{end - 1:#x}" if end - start > 1 else f"{start:#x}"


def _place(pfn: int, head: int, pages: int) -> str:
    if pages == 1:
        return f"{head:#x}"
    return f"{_pfns(head, head + pages)} ({pages} pages), this is " + ("its head" if pfn == head else f"tail {pfn - head}")


def _ranges(first: int, flags: Sequence[bool]) -> str:
    """Write the numbers that are flagged as ranges, the first eight of them."""
    edges = np.flatnonzero(np.diff(np.array([False, *flags, False], np.int8)))
    ranges = [_pfns(first + int(a), first + int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    return ", ".join(ranges[:8]) + (f" and {len(ranges) - 8} more" if len(ranges) > 8 else "")


def _seconds(nanoseconds: int | None) -> str:
    return f"{nanoseconds // 10**9}.{nanoseconds % 10**9:09} s" if nanoseconds is not None else "an unknown time"


def _age(nanoseconds: int | None) -> str:
    if nanoseconds is None:
        return "no clock to say how long ago"
    # The clock is read from run queues, which it may be ahead of by a tick.
    seconds = max(nanoseconds, 0) / 1e9
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit} ago"
    return f"{seconds:.3f} s ago"


def _or_unknown(value: object) -> str:
    return "?" if value is None else str(value)


def _printable(text: str) -> str:
    """Return text that cannot drive a terminal: tasks, files and groups are named by whoever makes them."""
    return text if text.isprintable() else "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)

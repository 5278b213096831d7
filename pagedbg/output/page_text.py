# SPDX-License-Identifier: GPL-2.0-or-later
"""Everything that is known of one page, drawn for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pagedbg.mm.page_state import KINDS
from pagedbg.output.page_history import history_lines
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
from pagedbg.schema.owner_record import GREATEST_ORDER
from pagedbg.schema.table import Table
from pagedbg.sources.kernel_names import special_label
from pagedbg.sources.page_facts import PageFacts, PageMapping, SlabObject
from pagedbg.sources.page_rows import PageRow, PageRows

__all__ = ("page_lines", "range_table")

_ALLOCATED = {
    True: "allocated",
    False: "free",
    None: "not known whether allocated",
}


def page_lines(facts: PageFacts, live: bool) -> Iterator[str]:
    """
    Draw the record of a page.

    :param live: whether it is of memory and not of a dump
    """
    page = facts.page
    pfn = page.pfn
    offset = f" + {facts.offset:#x}" if facts.offset else ""
    yield f"page frame {pfn:#x} ({pfn}), physical address {page.phys:#x}{offset}"
    yield line(
        "struct page",
        f"{_hexadecimal(page.page)}, direct map {_hexadecimal(page.virt)}",
    )
    yield line("memory", f"node {or_unknown(page.node)}, zone {or_unknown(page.zone)}")
    yield from _pageblock(page)
    yield line("flags", f"{_hexadecimal(page.flags_mask)} ({page.flags or 'none'})")
    head = (
        ""
        if facts.head_refcount is None or page.compound_head == pfn
        else f" (the head page: {facts.head_refcount} references)"
    )
    yield line("counts", f"{page.refcount} references, {page.mapcount} mappings{head}")
    yield line(
        "use",
        KINDS.get(page.kind, page.kind)
        + (f": {printable(page.detail)}" if page.detail else ""),
    )
    yield from _use(facts)
    if page.memcg is not None:
        yield line("memcg", printable(page.memcg))
    if page.witness is not None:
        yield line("witness", page.witness)
    if page.holder is not None:
        yield line("held for", printable(page.holder))
    if page.vmalloc is not None:
        yield line("vmalloc by", printable(page.vmalloc))
    if page.site is not None:
        yield line("allocated at", printable(page.site))
    for doubt in page.doubts or ():
        yield line("but", printable(doubt))
    yield ""
    yield from _owner(facts, live)
    if facts.history is not None:
        yield from history_lines(facts.history)


def _hexadecimal(number: int | None) -> str:
    return "?" if number is None else f"{number:#x}"


def _pageblock(page: PageRow) -> Iterator[str]:
    start, order = page.pageblock_pfn, page.pageblock_order
    assert start is not None and order is not None
    yield line(
        "pageblock",
        f"{start >> order} ({pfn_range(start, start + (1 << order))}),"
        f" {or_unknown(page.pageblock_migratetype)}",
    )


def _use(facts: PageFacts) -> Iterator[str]:
    page = facts.page
    if page.compound_order and page.compound_head is not None:
        where = position(page.pfn, page.compound_head, 1 << page.compound_order)
        yield line(
            "free block" if page.kind == "free" else "compound page",
            f"order {page.compound_order}, {where}",
        )
    if facts.object is not None:
        yield line("object", _object(facts.object))
        if facts.object.stack:
            yield line("", f"allocated by pid {facts.object.pid}, from")
            for frame in facts.object.stack:
                yield line("", f"  {printable(frame)}")
    if page.file_offset is not None:
        yield line("offset", f"{page.file_offset:#x} (page {page.pgoff}) of it")
    if page.mapcount and facts.mappings is not None:
        yield from _mappings(facts.mappings, bool(facts.mappings_complete))


def _object(found: SlabObject) -> str:
    if found.address is None:
        return f"not known: {printable(or_unknown(found.why_unknown))}"
    return f"{found.address:#x} + {found.offset:#x}, {_ALLOCATED[found.allocated]}"


def _mappings(mappings: list[PageMapping], complete: bool) -> Iterator[str]:
    for i, mapping in enumerate(mappings):
        who = (
            f"{printable(mapping.comm)} (pid {mapping.pid})"
            if mapping.comm is not None
            else f"mm_struct {mapping.mm:#x}"
        )
        yield line("" if i else "mapped by", f"{who} at {mapping.address:#x}")
    if not complete:
        yield line(
            "" if mappings else "mapped by",
            "more, that were not looked for" if mappings else "not found in time",
        )
    elif not mappings:
        yield line("mapped by", "no process that could be found")


def _owner(facts: PageFacts, live: bool) -> Iterator[str]:
    page = facts.page
    match page.record:
        case "untracked":
            yield "owner: not tracked"
            return
        case "unreadable":
            yield "owner: page_owner's record of this page " + (
                "cannot be read" if live else "is not in the dump"
            )
            return
        case "missing":
            yield "owner: page_owner's record of this page does not exist"
            return
    if page.state == "never":
        yield "owner: none on record: never allocated since page_owner was started"
        return
    allocated = page.state == "allocated"
    yield (
        "owner: allocated, and not freed since"
        if allocated
        else "last owner: the page was allocated, and freed again"
    )
    yield from _block(facts)
    assert page.gfp_mask is not None
    yield line(
        "gfp", f"{page.gfp_mask:#x} ({page.gfp}), migratetype {page.migratetype}"
    )
    yield line(
        "by",
        f"{printable(page.comm or '?')}, pid {page.pid}, tgid {or_unknown(page.tgid)}",
    )
    when = (
        "before page_owner was ready"
        if page.handle_kind == "early"
        else f"{seconds(page.ts_ns)}, {age(page.age_ns)}"
    )
    yield line("when", when)
    if page.migrate_reason and not allocated:
        yield line("migrated", f"last because of {page.migrate_reason}")
    yield from _stack(page.handle, page.handle_kind, page.stack)
    if page.free_handle:
        who = (
            f" by pid {page.free_pid}, tgid {or_unknown(page.free_tgid)}"
            if page.free_pid is not None
            else ""
        )
        yield ""
        yield (
            f"{'before that, last freed' if allocated else 'freed'} at"
            f" {seconds(page.free_ts_ns)}, {age(page.free_age_ns)}{who}"
        )
        yield from _stack(page.free_handle, page.free_handle_kind, page.free_stack)


def _stack(
    handle: int | None, kind: str | None, frames: Iterable[str] | None
) -> Iterator[str]:
    frames = list(frames or ())
    number = _hexadecimal(handle)
    known = (
        f"(stack {number})"
        if kind is None
        else (
            f"{special_label(kind)}; what page_owner filed in its place, stack"
            f" {number}:"
        )
    )
    yield line("from", known if frames else f"a stack that cannot be read ({number})")
    for frame in frames:
        yield f"    {frame}"


def _block(facts: PageFacts) -> Iterator[str]:
    page = facts.page
    order, head = page.order, page.head
    assert order is not None and head is not None
    if order > GREATEST_ORDER:
        yield line(
            "block",
            f"order {order}, which no allocation has: the record is damaged (or was"
            " being written)",
        )
        return
    yield line("block", f"order {order}, {position(page.pfn, head, 1 << order)}")
    by_part = {
        word: [part for part in facts.parts or () if part.part == word]
        for word in ("held", "freed", "reused", "unknown")
    }
    if facts.parts is None or facts.parts == by_part["held"]:
        return
    for word, name, what in (
        ("held", "left of it", f" of {1 << order} pages"),
        ("freed", "freed", " pages"),
        ("reused", "reused", " pages, freed and allocated again"),
        ("unknown", "not known", " pages, of which no record can be read"),
    ):
        parts = by_part[word]
        if parts or word == "held":
            count = sum(part.pages for part in parts)
            ranges = pfn_ranges((part.start_pfn, part.pages) for part in parts)
            yield line(name, f"{count}{what}: {ranges}")


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
    names = [column.name for column in _RANGE]
    return Table(
        _RANGE,
        (
            [[getattr(page, name) for name in names] for page in batch]
            for batch in rows.batches(ranges)
        ),
    )

# SPDX-License-Identifier: GPL-2.0-or-later
"""Zones, their free blocks and their pageblocks as rows, out of a kernel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from drgn import Object, Program
from drgn.helpers.linux.mmzone import (
    high_wmark_pages,
    low_wmark_pages,
    min_wmark_pages,
)

from pagedbg.mm.free_area import free_areas, free_list_blocks, nr_free
from pagedbg.mm.migrate import decode_migratetype
from pagedbg.mm.mmzone import for_each_populated_zone, zone_name
from pagedbg.mm.pageblock_bulk import Pageblocks, for_each_pageblock
from pagedbg.mm.pageblock_flags import NO_MIGRATETYPE
from pagedbg.mm.vmstat import zone_managed_pages, zone_page_state, zone_pcp_pages
from pagedbg.schema.table import Row
from pagedbg.target.links import UNREADABLE

# Pageblocks that are drawn at once: the zones of a small machine are in one table.
_ROWS = 4096


def zone_rows(prog: Program) -> list[Row]:
    """Return a row of :data:`pagedbg.schema.relations.ZONES` for each zone."""
    return [
        (
            _node(zone),
            zone_name(zone),
            zone.zone_start_pfn.value_(),
            zone.spanned_pages.value_(),
            zone.present_pages.value_(),
            zone_managed_pages(zone),
            zone_page_state(zone, prog["NR_FREE_PAGES"]),
            _pcp(zone),
            min_wmark_pages(zone),
            low_wmark_pages(zone),
            high_wmark_pages(zone),
            zone.watermark_boost.value_(),
            max(zone.lowmem_reserve.read_().value_()),
        )
        for zone in for_each_populated_zone(prog)
    ]


def _pcp(zone: Object) -> int | None:
    try:
        return zone_pcp_pages(zone)
    except UNREADABLE:
        return None


def free_area_rows(prog: Program) -> list[Row]:
    """
    Return the rows of :data:`pagedbg.schema.relations.FREE_AREAS` by order, without the
    column of migratetypes.
    """
    page_size = prog["PAGE_SIZE"].value_()
    return [
        (_node(zone), zone_name(zone), order, *_sizes(blocks, order, page_size))
        for zone in for_each_populated_zone(prog)
        for order, blocks in enumerate(nr_free(zone))
    ]


def free_list_rows(prog: Program, notes: list[str]) -> list[Row]:
    """
    Return the rows of :data:`pagedbg.schema.relations.FREE_AREAS` by migratetype and
    order: of each list that is not empty.

    :param notes: Where to add how many lists could not be followed.
    """
    page_size = prog["PAGE_SIZE"].value_()
    rows: list[Row] = []
    for zone in for_each_populated_zone(prog):
        areas = free_areas(zone)
        for number in range(len(areas[0].free_list)):
            name = decode_migratetype(prog, number)
            for order, area in enumerate(areas):
                blocks = free_list_blocks(area.free_list[number])
                if blocks != 0:
                    sizes = _sizes(blocks, order, page_size)
                    rows.append((_node(zone), zone_name(zone), name, order, *sizes))
    lost = sum(None in row for row in rows)
    if lost:
        notes.append(
            f"{lost} lists of free blocks cannot be followed to their end: how many"
            " blocks are on them is not known."
        )
    return rows


def _sizes(blocks: int | None, order: int, page_size: int) -> tuple[Any, Any, Any]:
    """Blocks, pages and bytes."""
    if blocks is None:
        return None, None, None
    return blocks, blocks << order, (blocks << order) * page_size


def pageblock_rows(prog: Program, notes: list[str]) -> Iterator[list[Row]]:
    """
    Iterate over the rows of :data:`pagedbg.schema.relations.PAGEBLOCKS`, some at a
    time.

    :param notes: Where to add of how many pageblocks something could not be read.
    """
    names: dict[int, str | None] = {NO_MIGRATETYPE: None}
    lost = 0
    rows: list[Row] = []
    for blocks in for_each_pageblock(prog):
        rows += _pageblocks(prog, blocks, names)
        if len(rows) >= _ROWS:
            lost += sum(None in row for row in rows)
            yield rows
            rows = []
    lost += sum(None in row for row in rows)
    yield rows
    if lost:
        notes.append(
            f"Of {lost} pageblocks not all could be read: the migratetype, or how many"
            " pages are free, is not known."
        )


def _pageblocks(
    prog: Program, blocks: Pageblocks, names: dict[int, str | None]
) -> list[Row]:
    numbers = blocks.migratetype.tolist()
    for number in set(numbers) - names.keys():
        names[number] = decode_migratetype(prog, number)
    span = blocks.span
    return [
        (start, span.nid, span.name, names[number], pages, None if free < 0 else free)
        for start, number, pages, free in zip(
            blocks.start_pfn.tolist(),
            numbers,
            blocks.pages.tolist(),
            blocks.free.tolist(),
            strict=True,
        )
    ]


def _node(zone: Object) -> int:
    return int(zone.zone_pgdat.node_id.value_())

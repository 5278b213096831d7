# SPDX-License-Identifier: GPL-2.0-or-later
"""Zones and their free blocks as rows, out of a kernel."""

from __future__ import annotations

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
from pagedbg.mm.vmstat import zone_managed_pages, zone_page_state, zone_pcp_pages
from pagedbg.schema.table import Row
from pagedbg.target.links import UNREADABLE


def zone_rows(prog: Program) -> list[Row]:
    """Return a row of :data:`pagedbg.schema.zone_columns.ZONES` for each zone."""
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
    Return the rows of :data:`pagedbg.schema.zone_columns.FREE_AREAS` by order, without
    the column of migratetypes.
    """
    page_size = prog["PAGE_SIZE"].value_()
    return [
        (_node(zone), zone_name(zone), order, *_sizes(blocks, order, page_size))
        for zone in for_each_populated_zone(prog)
        for order, blocks in enumerate(nr_free(zone))
    ]


def free_list_rows(prog: Program, notes: list[str]) -> list[Row]:
    """
    Return the rows of :data:`pagedbg.schema.zone_columns.FREE_AREAS` by migratetype and
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


def _node(zone: Object) -> int:
    return int(zone.zone_pgdat.node_id.value_())

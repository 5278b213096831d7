# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory that is set apart, and what is left of it: pools, zones, processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from drgn import Program
from drgn.helpers.linux.hugetlb import for_each_hstate
from drgn.helpers.linux.mm import task_rss
from drgn.helpers.linux.pid import for_each_task
from drgn.helpers.linux.swap import (
    for_each_swap_info,
    swap_file_path,
    swap_usage_in_pages,
)

from pagedbg.mm.bulk_read import number
from pagedbg.mm.cma import for_each_cma_area
from pagedbg.mm.mmzone import for_each_populated_zone
from pagedbg.mm.page_alloc import largest_order
from pagedbg.mm.zone_state import zone_state
from pagedbg.schema.table import Row
from pagedbg.target.links import UNREADABLE, bounded, limited

__all__ = ("largest_rows", "pool_rows", "process_rows")

# HUGE_MAX_HSTATE.
_MOST_SIZES = 16


def pool_rows(prog: Program, notes: list[str]) -> list[Row]:
    """
    Return the rows of :data:`pagedbg.schema.memory_columns.POOLS`: CMA areas, pools of
    huge pages that have any, swap areas.

    :param notes: Where to add which of them could not be read.
    """
    rows: list[Row] = []
    pools: tuple[tuple[str, Callable[[Program], Iterator[Row]]], ...] = (
        ("CMA areas", _cma),
        ("hugetlb pools", _hugetlb),
        ("swap areas", _swap),
    )
    for what, found in pools:
        try:
            rows += found(prog)
        except UNREADABLE:
            notes.append(f"The {what} cannot be read.")
    return rows


def _row(
    prog: Program, pool: str, name: str, pages: int, unused: int, said: str
) -> Row:
    page_size = prog["PAGE_SIZE"].value_()
    return pool, name, pages, unused, pages * page_size, said or None


def _cma(prog: Program) -> Iterator[Row]:
    for area in for_each_cma_area(prog):
        yield _row(prog, "CMA", area.name, area.pages, area.pages - area.used, "")


def _hugetlb(prog: Program) -> Iterator[Row]:
    try:
        number(prog, "hugetlb_max_hstate", _MOST_SIZES)
    except LookupError:
        # CONFIG_HUGETLBFS=n
        return
    for hstate in for_each_hstate(prog):
        order = hstate.order.value_()
        pages = hstate.nr_huge_pages.value_()
        if pages or hstate.nr_overcommit_huge_pages:
            name = hstate.name.string_().decode("utf-8", "backslashreplace")
            free = hstate.free_huge_pages.value_()
            said = (
                f"{pages} huge pages, {free} free, {hstate.resv_huge_pages.value_()}"
                f" reserved, {hstate.surplus_huge_pages.value_()} surplus"
            )
            yield _row(prog, "hugetlb", name, pages << order, free << order, said)


def _swap(prog: Program) -> Iterator[Row]:
    try:
        areas = list(for_each_swap_info(prog))
    except LookupError:
        # CONFIG_SWAP=n
        return
    for area in areas:
        pages = area.pages.value_()
        used = swap_usage_in_pages(area)
        path = limited(swap_file_path, area).decode("utf-8", "backslashreplace")
        said = f"priority {area.prio.value_()}"
        yield _row(prog, "swap", path, pages, pages - used, said)


def largest_rows(prog: Program) -> list[Row]:
    """
    Return the rows of :data:`pagedbg.schema.memory_columns.LARGEST`: the greatest order
    that passes the min watermark of each zone, for allocations that are meant for it.
    """
    page_size = prog["PAGE_SIZE"].value_()
    rows: list[Row] = []
    for zone in for_each_populated_zone(prog):
        state = zone_state(zone)
        order = largest_order(state, state.zone)
        size = None if order is None else page_size << order
        rows.append((state.node, state.name, state.free, order, size))
    return rows


def process_rows(prog: Program, notes: list[str]) -> list[Row]:
    """
    Return the rows of :data:`pagedbg.schema.memory_columns.PROCESSES` for all processes
    that have memory of their own, the largest first.

    :param notes: Where to add how many could not be read.
    """
    page_size = prog["PAGE_SIZE"].value_()
    rows: list[Row] = []
    lost = 0
    try:
        for task in bounded(for_each_task(prog)):
            try:
                if task.pid.value_() != task.tgid.value_() or not task.mm:
                    continue
                rss = task_rss(task)
                comm = task.comm.string_().decode("utf-8", "backslashreplace")
                rows.append(
                    (
                        task.pid.value_(),
                        comm,
                        rss.total,
                        rss.swap,
                        rss.total * page_size,
                    )
                )
            except UNREADABLE:
                lost += 1
    except UNREADABLE:
        notes.append("The list of tasks cannot be followed to its end.")
    if lost:
        notes.append(f"{lost} tasks cannot be read: they are not listed.")
    return sorted(rows, key=lambda row: (-row[2], row[0]))

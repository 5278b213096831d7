# SPDX-License-Identifier: GPL-2.0-or-later
"""What the benchmarks do with all pages, beside the commands themselves."""

from __future__ import annotations

from collections.abc import Iterator

from drgn import Program

from pagedbg.mm.mmzone import for_each_populated_zone
from pagedbg.mm.page_ext import for_each_page_ext_range, page_ext_size
from pagedbg.mm.zone_state import zone_state
from pagedbg.session import Session
from pagedbg.sources.in_the_way import find_obstacles

READ = 1 << 15  # pages; pagedbg reads the records of so many at once


def pieces(prog: Program) -> Iterator[tuple[int, int]]:
    """Address and size of each piece of page_ext that pagedbg reads."""
    size = page_ext_size(prog)
    for found in for_each_page_ext_range(prog):
        for pfn in range(found.start_pfn, found.end_pfn, READ):
            yield (
                found.address + size * (pfn - found.start_pfn),
                size * min(READ, found.end_pfn - pfn),
            )


def bare_read(prog: Program) -> None:
    """Read page_ext, and look at none of it."""
    for address, size in pieces(prog):
        prog.read(address, size)


def obstacles(session: Session) -> None:
    """Have ``explain`` look at all pages, as it does of an order that is not free."""
    zones = [(zone_state(zone), None) for zone in for_each_populated_zone(session.prog)]
    find_obstacles(session, {9: zones}, by=("module", "function"), most=3, notes=[])

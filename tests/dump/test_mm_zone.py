# SPDX-License-Identifier: GPL-2.0-or-later
"""Zones, nodes and pageblocks, by two ways each."""

from __future__ import annotations

import numpy as np
from drgn.helpers.linux.mm import pfn_to_page

from pagedbg.mm.migrate import migratetype_names
from pagedbg.mm.mmzone import (
    MAX_NUMNODES,
    _flags_of_pfns,
    for_each_zone,
    node_of_pfns,
    page_flags_nid,
    page_flags_zonenum,
    page_to_nid,
    page_zone,
    page_zonenum,
    zone_idx,
    zone_name,
    zone_names,
    zone_of_pfns,
    zone_spans,
)
from pagedbg.mm.pageblock_flags import (
    NO_MIGRATETYPE,
    get_pageblock_migratetype,
    get_pfnblock_migratetype,
    migratetype_of_pfns,
    pageblock_end_pfn,
    pageblock_migratetypes,
    pageblock_nr_pages,
    pageblock_order,
    pageblock_start_pfn,
)
from pagedbg.target.target import Target


def test_spans_agree_with_the_pages(sample: Target) -> None:
    """Every page's own flags name the zone and the node that the spans say."""
    prog = sample.prog
    pfns = np.arange(prog["max_pfn"].value_(), dtype=np.uint64)
    names, zones = zone_of_pfns(prog, pfns)
    nodes = node_of_pfns(prog, pfns)
    flags, known = _flags_of_pfns(prog, pfns)
    # A struct page without flags was never initialised, or is not in the dump.
    known &= (zones >= 0) & (flags != 0)
    assert known.any()
    assert names == zone_names(prog)
    assert (page_flags_zonenum(prog, flags)[known] == zones[known]).all()
    assert (page_flags_nid(prog, flags)[known] == nodes[known]).all()


def test_outside(sample: Target) -> None:
    end = max(span.end_pfn for span in zone_spans(sample.prog))
    assert zone_of_pfns(sample.prog, np.array([end, end + 1000]))[1].tolist() == [
        -1,
        -1,
    ]
    assert node_of_pfns(sample.prog, np.array([], np.uint64)).tolist() == []


def test_zones(sample: Target) -> None:
    prog = sample.prog
    zones = list(for_each_zone(prog))
    names = zone_names(prog)
    assert len(zones) % len(names) == 0
    assert all(zone_name(zone) == names[zone_idx(zone)] for zone in zones)
    assert MAX_NUMNODES(prog) >= len(zones) // len(names)
    assert MAX_NUMNODES(prog) & (MAX_NUMNODES(prog) - 1) == 0
    for span in zone_spans(prog):
        page = pfn_to_page(prog, span.end_pfn - 1)
        assert (page_to_nid(page), page_zonenum(page)) == (span.nid, span.zone)
        assert page_zone(page).node.value_() == span.nid


def test_pageblocks(sample: Target) -> None:
    prog = sample.prog
    assert pageblock_order(prog) == 9
    assert pageblock_nr_pages(prog) == 512
    assert pageblock_start_pfn(prog, 1000) == 512
    assert pageblock_end_pfn(prog, 1000) == 1024
    end = prog["max_pfn"].value_()
    types = pageblock_migratetypes(prog, 0, end)
    assert len(types) == -(-end // 512)
    assert set(types.tolist()) <= {*range(len(migratetype_names(prog))), NO_MIGRATETYPE}
    # In pieces that begin anywhere, the same.
    for start in (1, 511, 512, 5000, end - 1):
        assert (
            pageblock_migratetypes(prog, start, end).tolist()
            == types[start // 512 :].tolist()
        )
    assert migratetype_of_pfns(prog, np.array([end - 1, 0, 512])).tolist() == [
        types[-1],
        types[0],
        types[1],
    ]
    assert (
        get_pfnblock_migratetype(prog, 5000)
        == types[5000 // 512]
        == get_pageblock_migratetype(pfn_to_page(prog, 5000))
    )
    assert get_pfnblock_migratetype(prog, 1 << 40) == NO_MIGRATETYPE
    assert len(pageblock_migratetypes(prog, 5, 5)) == 0

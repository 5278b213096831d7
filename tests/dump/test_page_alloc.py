# SPDX-License-Identifier: GPL-2.0-or-later
"""
The allocator's rules on dumps: against what the kernel of the incident said of its
zones when an allocation had failed, and what it had done.
"""

from __future__ import annotations

import re

import pytest
from drgn.helpers.linux.printk import get_dmesg
from known import SAMPLE

from pagedbg.mm.gfp import gfp_mask, gfp_single_flags, gfp_zone
from pagedbg.mm.page_alloc import (
    AllocFlags,
    FreeBlock,
    ZoneState,
    find_free_block,
    fragmentation_index,
    largest_order,
    need,
    unusable_free_index,
    zone_watermark_ok,
)
from pagedbg.mm.zone_state import kswapd_is_running, zone_state, zonelist_zones
from pagedbg.target.opening import open_target
from pagedbg.target.target import Target

LETTERS = {"U": "Unmovable", "M": "Movable", "E": "Reclaimable", "H": "HighAtomic"}


@pytest.fixture(scope="module")
def incident() -> Target:
    """The dump of the machine that failed to allocate 16 pages."""
    return open_target(str(SAMPLE))


@pytest.fixture(scope="module")
def zones(incident: Target) -> list[ZoneState]:
    """Its zones in the order in which that allocation was tried."""
    prog = incident.prog
    highest = gfp_zone(prog, gfp_mask(prog, "GFP_KERNEL"))
    assert highest is not None
    return [zone_state(zone) for zone in zonelist_zones(prog, 0, highest)]


def test_zones_are_tried_from_the_highest_down(zones: list[ZoneState]) -> None:
    assert [zone.name for zone in zones] == ["DMA32", "DMA"]


def test_a_zone_is_as_the_kernel_logged_it_before_it_died(
    incident: Target, zones: list[ZoneState]
) -> None:
    log = get_dmesg(incident.prog).decode()
    for zone in zones:
        said = re.findall(
            rf"Node 0 {zone.name} free:(\d+)kB boost:(\d+)kB min:(\d+)kB low:(\d+)kB"
            r" high:(\d+)kB.*\n.*lowmem_reserve\[\]: ([\d ]+)",
            log,
        )[-1]
        pages = [int(number) // 4 for number in said[:5]]
        # What became free when the machine was dying is not in the report.
        assert abs(zone.free - pages[0]) < 10
        assert [zone.boost, zone.wmark_min, zone.wmark_low, zone.wmark_high] == pages[
            1:
        ]
        assert list(zone.lowmem_reserve) == [int(each) for each in said[5].split()]
        (line,) = re.findall(rf"Node 0 {zone.name}: (.*) = ", log)
        areas = re.findall(r"(\d+)\*\d+kB(?: \((\w+)\))?", line)
        assert len(areas) == len(zone.blocks)
        for (count, letters), blocks, types in zip(
            areas, zone.blocks, zone.types, strict=True
        ):
            assert abs(blocks - int(count)) < 5
            assert types == {LETTERS[letter] for letter in letters}


def test_the_allocation_that_failed_passes_no_zone_and_half_its_size_does(
    zones: list[ZoneState],
) -> None:
    for zone in zones:
        assert not zone_watermark_ok(zone, 4, 2, AllocFlags())
        assert zone_watermark_ok(zone, 3, 2, AllocFlags())
        assert largest_order(zone, 2) == 3
        assert unusable_free_index(zone.blocks, 4) == 1000
        assert fragmentation_index(zone.blocks, 3) == -1000
        assert fragmentation_index(zone.blocks, 4) > 500


def test_a_zone_keeps_its_reserve_from_those_that_may_use_a_higher_one(
    zones: list[ZoneState],
) -> None:
    dma = zones[1]
    assert need(dma, 0, 2, AllocFlags()) - need(dma, 0, 0, AllocFlags()) == 81


def test_what_a_driver_took_single_pages_from_is_split_from_its_own_lists(
    zones: list[ZoneState],
) -> None:
    assert find_free_block(zones[0], 3, "Unmovable", AllocFlags(), 9) == FreeBlock(
        3, "Unmovable"
    )
    # No movable block of this size is left: the fallbacks are asked, in their order.
    assert find_free_block(zones[0], 3, "Movable", AllocFlags(), 9) == FreeBlock(
        3, "Reclaimable"
    )
    assert find_free_block(zones[1], 0, "Movable", AllocFlags(), 9) == FreeBlock(
        0, "Unmovable"
    )
    assert (
        find_free_block(zones[0], 3, "Movable", AllocFlags(nofragment=True), 9) is None
    )


@pytest.mark.parametrize(
    ("name", "zone"),
    [
        ("GFP_KERNEL", "ZONE_NORMAL"),
        ("GFP_ATOMIC", "ZONE_NORMAL"),
        ("GFP_DMA", "ZONE_DMA"),
        ("GFP_DMA32", "ZONE_DMA32"),
        ("GFP_HIGHUSER", "ZONE_NORMAL"),
        ("GFP_HIGHUSER_MOVABLE", "ZONE_MOVABLE"),
    ],
)
def test_flags_say_which_zone_is_the_highest(
    sample: Target, name: str, zone: str
) -> None:
    assert gfp_zone(sample.prog, gfp_mask(sample.prog, name)) == sample.prog[zone]


def test_flags_that_contradict_each_other_have_no_zone(sample: Target) -> None:
    assert gfp_zone(sample.prog, 0x5) is None
    assert gfp_single_flags(sample.prog, 0x5) == {"GFP_DMA", "GFP_DMA32"}


def test_kswapd_sleeps_where_nothing_is_left_to_reclaim(incident: Target) -> None:
    assert "all_unreclaimable? yes" in get_dmesg(incident.prog).decode()
    zone = zonelist_zones(incident.prog, 0, 2)[0]
    assert not kswapd_is_running(zone.zone_pgdat)

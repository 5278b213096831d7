# SPDX-License-Identifier: GPL-2.0-or-later
"""
What the allocator's rules make of zones that no guest of the tests has: areas of CMA,
blocks for atomic allocations only, a Normal zone, deferred compaction.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagedbg.analysis.allocation_attempt import (
    IN_PIECES,
    NO_TYPE,
    SHORT,
    Machine,
    Outcome,
    Request,
    attempt,
)
from pagedbg.analysis.compaction import (
    CANNOT_HELP,
    COULD_HELP,
    DEFERRED,
    Compaction,
    FreeList,
    chances,
)
from pagedbg.analysis.explanation_verdict import InTheWay, verdict
from pagedbg.mm.page_alloc import (
    AllocFlags,
    ZoneState,
    find_free_block,
    fragmentation_index,
    largest_order,
    need,
    unusable_free_index,
    zone_watermark_ok,
)

KERNEL = frozenset({"__GFP_DIRECT_RECLAIM", "__GFP_KSWAPD_RECLAIM"})
ATOMIC = frozenset({"__GFP_HIGH", "__GFP_KSWAPD_RECLAIM"})
NOWAIT = frozenset({"__GFP_KSWAPD_RECLAIM"})


def zone(name: str = "Normal", node: int = 0, **more: Any) -> ZoneState:
    """A zone with 10,000 free pages, all of them in blocks of two."""
    numbers = {"DMA": 0, "DMA32": 1, "Normal": 2, "Movable": 3}
    blocks = more.pop("blocks", {1: (5000, {"Unmovable"})})
    given: dict[str, Any] = {
        "free": 10_000,
        "wmark_min": 1000,
        "wmark_low": 1250,
        "wmark_high": 1500,
        "boost": 0,
        "lowmem_reserve": (0, 0, 0, 0),
        "free_highatomic": 0,
        "free_cma": 0,
    }
    return ZoneState(
        node=node,
        zone=numbers[name],
        name=name,
        blocks=tuple(blocks.get(order, (0, ()))[0] for order in range(11)),
        types=tuple(frozenset(blocks.get(order, (0, ()))[1]) for order in range(11)),
        **(given | more),
    )


def request(
    order: int, flags: frozenset[str] = KERNEL, migratetype: str = "Unmovable"
) -> Request:
    return Request(order, 0, "", flags, migratetype, 2)


def asked(wanted: Request, *zones: ZoneState, **machine: Any) -> Outcome:
    return attempt(wanted, zones, Machine(9, 2, **machine))


def test_blocks_of_cma_are_for_movable_pages() -> None:
    cma = zone(blocks={5: (300, {"CMA"})}, free_cma=9600)
    assert asked(request(0), cma).attempts[0].result == SHORT
    movable = asked(request(5, KERNEL, "Movable"), cma)
    assert movable.at_once
    assert movable.attempts[0].block is not None
    assert movable.attempts[0].block.migratetype == "CMA"


def test_what_is_kept_for_atomic_allocations_is_for_those_only() -> None:
    kept = zone(blocks={0: (9000, {"Movable"}), 4: (62, {"HighAtomic"})})
    assert asked(request(4, NOWAIT), kept).fails
    assert asked(request(4, NOWAIT), kept).attempts[0].result == NO_TYPE
    assert asked(request(4, ATOMIC), kept).at_once
    # What is to free memory may go below every watermark, and take no more types.
    assert asked(request(4, NOWAIT | {"__GFP_MEMALLOC"}), kept).fails
    low = dataclasses.replace(kept, free=10)
    assert asked(request(0, NOWAIT), low).fails
    assert asked(request(0, NOWAIT | {"__GFP_MEMALLOC"}), low).at_once


def test_a_quarter_of_the_watermark_is_left_by_who_cannot_wait() -> None:
    state = zone()
    atomic = request(0, ATOMIC).last_flags
    assert need(state, 0, 2, AllocFlags()) == 1001
    assert need(state, 0, 2, request(0, KERNEL | {"__GFP_HIGH"}).last_flags) == 501
    assert need(state, 0, 2, atomic) == 376
    assert need(state, 3, 2, atomic) == 383
    nomemalloc = request(0, ATOMIC | {"__GFP_NOMEMALLOC"}).last_flags
    assert need(state, 0, 2, nomemalloc) == 501


def test_a_boosted_watermark_does_not_bind_single_atomic_pages() -> None:
    state = zone(wmark_min=4000, boost=3000, free=700)
    high = AllocFlags(min_reserve=True)
    assert need(state, 0, 2, high) == 2001
    assert zone_watermark_ok(state, 0, 2, high)
    assert not zone_watermark_ok(state, 1, 2, high)
    assert not zone_watermark_ok(state, 0, 2, AllocFlags())


def test_types_are_not_mixed_in_normal_as_long_as_dma32_has_some() -> None:
    normal = zone(blocks={3: (1250, {"Movable"})})
    dma32 = zone("DMA32", blocks={3: (1250, {"Unmovable"})})
    found = asked(request(3), normal, dma32)
    assert found.zone is dma32
    # A whole pageblock may change its type.
    whole = zone(blocks={9: (19, {"Movable"})})
    assert asked(request(3), whole, dma32).zone is whole
    assert asked(request(3), dma32, normal).zone is dma32
    # On another node it matters more to stay.
    other = zone("DMA32", node=1, blocks={3: (1250, {"Unmovable"})})
    near = zone("DMA32", blocks={0: (10_000, {"Unmovable"})})
    assert asked(request(3), normal, near, other, nodes=2).zone is normal
    # Linux 6.15 and later may be told not to mix at all, as long as it can.
    assert asked(request(3), normal, defrag_mode=True).at_once


def test_the_zone_that_is_asked_first_gives_unless_its_watermark_is_low() -> None:
    full, low = zone(), zone("DMA32", free=1100)
    assert asked(request(1), full, low).zone is full
    found = asked(request(1), low, full)
    assert (found.zone, found.low) == (full, True)
    found = asked(request(1), low)
    assert (found.zone, found.low) == (low, False)
    assert [each.result for each in asked(request(2), low).attempts] == [IN_PIECES]
    assert asked(request(2)).zone is None


@pytest.mark.parametrize(
    ("blocks", "free", "deferred", "result", "made"),
    [
        ([0, 3, 2], 5, 0, COULD_HELP, 4),
        ([0, 3, 2], 0, 0, CANNOT_HELP, 0),
        ([1, 0], 0, 0, COULD_HELP, 1),
        ([0, 3, 2], 5, 7, DEFERRED, 4),
        ([0, 3, 2], 5, None, CANNOT_HELP, 4),
        ([0, 0, 0], 5, 0, CANNOT_HELP, 0),
    ],
)
def test_compaction_moves_as_many_pages_as_are_free_where_it_moves_them(
    blocks: list[int], free: int, deferred: int | None, result: str, made: int
) -> None:
    state = zone()
    lists = [
        FreeList(0, "Normal", "Movable", 0, free),
        FreeList(0, "Normal", "Unmovable", 1, 5000),
        FreeList(0, "DMA", "Movable", 1, 5000),
        FreeList(0, "Normal", "Movable", 2, None),
    ]
    (chance,) = chances(
        request(4), [Compaction(state, 100, 0, blocks, deferred)], lists, 500
    )
    assert (chance.result, chance.blocks, chance.targets) == (result, made, free)


def test_compaction_is_not_tried_with_too_few_free_pages() -> None:
    # 1250 of the low watermark, and twice the block.
    for free, result in ((1282, SHORT), (1283, COULD_HELP)):
        (chance,) = chances(
            request(4),
            [Compaction(zone(free=free), 9, 0, [0, 1], 0)],
            [FreeList(0, "Normal", "Movable", 0, 9)],
            0,
        )
        assert chance.result == result


def test_a_verdict_says_what_to_wait_for() -> None:
    def says(order: int, flags: frozenset[str], *way: tuple[str, int]) -> Any:
        row = verdict(asked(request(order, flags), zone()), 4096, InTheWay(way))
        return row[-1]

    start = ": 39.1 MiB are free, none in pieces of 16 pages; compaction "
    assert says(4, KERNEL, (COULD_HELP, 3)) == (
        f"Order 4 has to wait for compaction in Normal{start}"
        "could make up to 3 blocks of 16 pages."
    )
    assert says(4, KERNEL, (CANNOT_HELP, 0)) == (
        f"Order 4 fails, unless memory is freed, in Normal{start}can make none."
    )
    assert says(4, NOWAIT, (COULD_HELP, 1)).startswith("Order 4 fails in Normal: ")
    assert says(3, KERNEL, (DEFERRED, 5)).startswith(
        "Order 3 has to wait until memory is freed in Normal: "
    )


BLOCKS = st.lists(st.integers(0, 1 << 30), min_size=11, max_size=11)


@given(BLOCKS, st.integers(0, 10))
def test_indices_are_in_their_range(blocks: list[int], order: int) -> None:
    assert 0 <= unusable_free_index(blocks, order) <= 1000
    index = fragmentation_index(blocks, order)
    assert index == -1000 if any(blocks[order:]) else -1000 < index <= 1000


@given(BLOCKS, st.integers(0, 1 << 40), st.integers(0, 10))
def test_what_passes_finds_a_block(blocks: list[int], free: int, order: int) -> None:
    types = {
        order: (count, {"Movable"} if count else set())
        for order, count in enumerate(blocks)
    }
    state = zone(blocks=types, free=free)
    most = largest_order(state, 2)
    assert (most is not None and most >= order) == any(
        zone_watermark_ok(state, each, 2, AllocFlags()) for each in range(order, 11)
    )
    if order and zone_watermark_ok(state, order, 2, AllocFlags()):
        found = find_free_block(state, order, "Unmovable", AllocFlags(), 9)
        assert found is not None and found.order >= order

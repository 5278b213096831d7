# SPDX-License-Identifier: GPL-2.0-or-later
"""What every page of a dump is, against what the kernel itself counts."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from drgn import FaultError
from drgn.helpers.linux.mm import (
    PageSlab,
    compound_head,
    compound_order,
    page_to_pfn,
    pfn_to_page,
    virt_to_page,
)
from drgn.helpers.linux.pid import find_task
from partial_slabs import partial_slabs

from pagedbg.mm.mmzone import for_each_populated_zone, node_of_pfns, zone_of_pfns
from pagedbg.mm.page_array import PageDecoder, Pages
from pagedbg.mm.page_state import (
    ABSENT,
    KINDS,
    PageState,
    decode_page_flags,
    page_state,
    page_states,
    pfn_state,
)
from pagedbg.mm.rmap import page_mappings
from pagedbg.target.target import Target


@pytest.fixture(scope="module")
def states(sample: Target) -> list[PageState]:
    return list(page_states(sample.prog, 0, sample.prog["max_pfn"].value_()))


@pytest.fixture
def whole(states: list[PageState]) -> None:
    if any(state.kind in ("not in the dump", "unreadable") for state in states):
        pytest.skip("the dump has not all of the memory map")


def test_every_page_once(sample: Target, states: list[PageState]) -> None:
    assert [state.pfn for state in states] == list(
        range(sample.prog["max_pfn"].value_())
    )
    assert {state.kind for state in states} <= set(KINDS)


@pytest.mark.usefixtures("whole")
def test_free_blocks_as_counted(sample: Target, states: list[PageState]) -> None:
    """``free_area[order].nr_free`` of all zones."""
    found = Counter(
        state.order
        for state in states
        if state.kind == "free"
        and "buddy" in (state.detail or "")
        and state.head_pfn == state.pfn
    )
    expected: Counter[int | None] = Counter()
    for zone in for_each_populated_zone(sample.prog):
        for order, area in enumerate(zone.free_area):
            expected[order] += area.nr_free.value_()
    assert found == +expected


@pytest.mark.usefixtures("whole")
def test_pcp_pages_as_counted(sample: Target, states: list[PageState]) -> None:
    """``per_cpu_pages::count`` of all CPUs and zones."""
    from drgn.helpers.linux.cpumask import for_each_possible_cpu
    from drgn.helpers.linux.percpu import per_cpu_ptr

    expected = sum(
        per_cpu_ptr(zone.per_cpu_pageset, cpu).count.value_()
        for zone in for_each_populated_zone(sample.prog)
        for cpu in for_each_possible_cpu(sample.prog)
    )
    assert (
        sum("list" in (state.detail or "") for state in states if state.kind == "free")
        == expected
    )


def test_compound_and_slab_as_drgn_says(
    sample: Target, states: list[PageState]
) -> None:
    prog = sample.prog
    for state in states[::13]:
        if state.kind in ABSENT:
            continue
        page = pfn_to_page(prog, state.pfn)
        try:
            head = compound_head(page)
            slab, order = PageSlab(head), compound_order(head).value_()
        except FaultError:
            continue
        assert (state.kind == "slab") == slab
        if state.kind != "free":
            assert (state.head_pfn, state.order) == (page_to_pfn(head).value_(), order)


def test_a_page_by_itself_is_the_same(sample: Target, states: list[PageState]) -> None:
    for state in states[:: max(len(states) // 200, 1)]:
        assert pfn_state(sample.prog, state.pfn) == state


def test_pages_alone_and_few_at_a_time_are_as_in_bulk(sample: Target) -> None:
    """Every page among few, and many with a decoder that has seen no other page."""
    prog = sample.prog
    end = prog["max_pfn"].value_()
    decoder = PageDecoder(prog)
    (whole,) = decoder.pieces(0, end)
    names = Pages.COLUMNS
    for pfn in range(0, end, 97):
        (alone,) = PageDecoder(prog).pieces(pfn, pfn + 1)
        for name in names:
            assert getattr(alone, name)[0] == getattr(whole, name)[pfn], (pfn, name)
    small = [
        pages
        for pfn in range(0, end, 64)
        for pages in decoder.pieces(pfn, min(pfn + 64, end))
    ]
    for name in names:
        together = np.concatenate([getattr(pages, name) for pages in small])
        assert np.array_equal(together, getattr(whole, name)), name


def test_nodes_and_zones_as_the_spans_say(sample: Target) -> None:
    prog = sample.prog
    for pages in PageDecoder(prog).pieces(0, prog["max_pfn"].value_()):
        pfns = np.arange(pages.first, pages.first + len(pages), dtype=np.uint64)
        for said, spans in (
            (pages.zone(prog), zone_of_pfns(prog, pfns)[1]),
            (pages.node(prog), node_of_pfns(prog, pfns)),
        ):
            at = pages.present & (spans >= 0)
            assert np.count_nonzero(at) > 1000
            assert np.array_equal(said[at], spans[at])


def test_ranges_that_begin_anywhere(sample: Target, states: list[PageState]) -> None:
    for start in (1, 4097, 32767, len(states) - 3):
        assert (
            list(page_states(sample.prog, start, min(start + 700, len(states))))
            == states[start : start + 700]
        )


def test_known_pages(sample: Target) -> None:
    prog = sample.prog
    if prog.type("struct slab").has_member("slab_cache"):
        # Not with CONFIG_SLOB, which has no caches.
        state = page_state(virt_to_page(find_task(prog, 1)))
        assert (state.kind, state.detail) == ("slab", "task_struct")
    names = decode_page_flags(
        prog, 1 << prog["PG_lru"].value_() | 1 << prog["PG_uptodate"].value_()
    )
    assert names == "uptodate|lru"


def test_flags_of_slabs_are_named_as_slabs_use_them(
    sample: Target, states: list[PageState]
) -> None:
    named = {
        state.pfn
        for state in states
        if "partial" in _names(sample, state) and state.kind == "slab"
    }
    assert len(named) > 10
    assert named == partial_slabs(sample.prog)
    assert all(
        "workingset" not in _names(sample, state)
        for state in states
        if state.kind == "slab"
    )


def test_the_first_tail_page_has_the_flags_of_its_folio_and_not_its_order(
    sample: Target, states: list[PageState]
) -> None:
    second = [state for state in states if state.second and state.flags is not None]
    assert len({state.order for state in second}) > 2
    for state in second:
        assert state.flags is not None
        assert state.flags & 0xFF == state.order
        assert _names(sample, state) <= {"has_hwpoisoned", "large_rmappable"}


def test_names_that_share_a_bit_are_those_that_the_kind_of_page_has(
    sample: Target, states: list[PageState]
) -> None:
    named = {(state.kind, name) for state in states for name in _names(sample, state)}
    assert ("anon", "anon_exclusive") in named
    assert not any(name == "anon_exclusive" for kind, name in named if kind != "anon")
    assert "owner_2" not in {name for _, name in named}
    reclaim, writeback = (
        1 << sample.prog[name].value_() for name in ("PG_reclaim", "PG_writeback")
    )
    for flags, kind, text in (
        (reclaim, "file", "readahead"),
        (reclaim | writeback, "file", "writeback|reclaim"),
        (reclaim, "movable", "isolated"),
        (reclaim, None, "reclaim"),
    ):
        assert decode_page_flags(sample.prog, flags, kind) == text


def _names(sample: Target, state: PageState) -> set[str]:
    """The names of a page's flags."""
    if not state.flags:
        return set()
    text = decode_page_flags(sample.prog, state.flags, state.kind, state.second)
    return set(filter(None, text.replace("node_", "").split("|")))


def test_beyond_the_end(sample: Target) -> None:
    end = sample.prog["max_pfn"].value_()
    assert [state.kind for state in page_states(sample.prog, end, end + 3)] == [
        "beyond the end"
    ] * 3
    assert pfn_state(sample.prog, 1 << 40).kind == "beyond the end"


def test_anonymous_pages_are_mapped_as_often_as_they_count(
    sample: Target, states: list[PageState]
) -> None:
    """
    Address spaces and page tables may be missing from a dump; then the search must not
    claim to be complete.
    """
    some = [
        state
        for state in states
        if state.kind == "anon"
        and state.mapcount
        and state.mapcount < 10
        and not state.order
    ][::50]
    for state in some:
        found = page_mappings(pfn_to_page(sample.prog, state.pfn), seconds=10)
        assert len(found.mappings) == state.mapcount or not found.complete

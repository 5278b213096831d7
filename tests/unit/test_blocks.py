# SPDX-License-Identifier: GPL-2.0-or-later
"""
Blocks made of records in bulk: the same as looking at one page after the other,
whatever was freed, split or damaged between them.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from fake_kernel import PageOwnerKernel
from hypothesis import given, settings
from hypothesis import strategies as st

from pagedbg.mm.page_owner_blocks import for_each_block
from pagedbg.schema.blocks import Blocks
from pagedbg.schema.owner_record import ALLOCATED, FREED, GREATEST_ORDER, NEVER

UNIT = 4096  # what cannot be read is left out in units of this many bytes

Row = tuple[int, int, int, int]


@dataclasses.dataclass
class Page:
    """What one page's record says."""

    state: int = NEVER
    order: int = 0
    handle: int = 0


def kernel(
    first: int, pages: list[Page], bits: int, unreadable: set[int] = frozenset()
) -> tuple[PageOwnerKernel, set[int]]:  # type: ignore[assignment]
    """
    A kernel whose memory begins with these pages at a section's start.

    :param bits: a section has ``1 << bits`` pages
    :param unreadable: 4 KiB units of each section's array that a dump does not hold
    :return: also the pages that are thus not known
    """
    fake = PageOwnerKernel(section_bits=bits)
    assert first % (1 << bits) == 0
    made: dict[tuple[int, int, int], bytes] = {}

    def record(page: Page) -> bytes:
        key = page.state, page.order, page.handle
        if key not in made:
            made[key] = fake.record(
                page.state != NEVER,
                page.state == ALLOCATED,
                order=page.order,
                handle=page.handle,
            )
        return made[key]

    size = 1 << bits
    sections = {
        (first + at) >> bits: (
            b"".join(map(record, pages[at : at + size])).ljust(
                size * fake.stride, b"\0"
            )
        )
        for at in range(0, len(pages), size)
    }
    unknown = set()
    for nr, address in fake.add_sections(sections).items():  # type: ignore[arg-type]
        for unit in (unit for unit in unreadable if unit * UNIT < size * fake.stride):
            fake.forget(
                address + unit * UNIT,
                address + min((unit + 1) * UNIT, size * fake.stride),
            )
            reached = range(
                unit * UNIT // fake.stride,
                min(-(-(unit + 1) * UNIT // fake.stride), size),
            )
            unknown |= {(nr << bits) + page for page in reached}
    return fake, unknown


def slowly(first: int, pages: list[Page], state: int, unknown: set[int]) -> list[Row]:
    """
    (pfn, order, pages, handle) of each block, a page at a time: two pages are of one
    block if it would begin at one page and has one order.
    """
    found: dict[tuple[int, int], list[int]] = {}
    for pfn, page in enumerate(pages, first):
        if pfn not in unknown and page.state == state and page.order <= GREATEST_ORDER:
            block = found.setdefault(
                (pfn - pfn % (1 << page.order), page.order), [0, page.handle]
            )
            block[0] += 1
    return [
        (pfn, order, count, handle) for (pfn, order), (count, handle) in found.items()
    ]


def rows(blocks: Blocks) -> list[Row]:
    """What :func:`slowly` returns, of blocks."""
    return list(
        zip(
            blocks.pfn.tolist(),
            blocks.order.tolist(),
            blocks.pages.tolist(),
            blocks.records["handle"].tolist(),
            strict=True,
        )
    )


def everything(
    fake: PageOwnerKernel, state: int = ALLOCATED
) -> tuple[list[Row], int, int]:
    """All blocks, and how many pages were unread and damaged."""
    found, unread, damaged = [], 0, 0
    for blocks in for_each_block(fake.prog, state):
        found += rows(blocks)
        unread += blocks.unread
        damaged += blocks.damaged
    return found, unread, damaged


@st.composite
def memory(draw: st.DrawFn, greatest: int = 5) -> list[Page]:
    """
    Memory as an allocator leaves it: blocks that are allocated, freed, freed in part
    and allocated anew in between; some orders are wrong.
    """
    size = 1 << draw(st.integers(greatest, greatest + 2))
    pages = [Page() for _ in range(size)]
    for handle in range(1, draw(st.integers(1, 12))):
        order = draw(st.integers(0, greatest))
        start = draw(st.integers(0, (size >> order) - 1)) << order
        for page in range(start, start + (1 << order)):
            pages[page] = Page(ALLOCATED, order, handle)
        if draw(st.booleans()):
            first = draw(st.integers(start, start + (1 << order) - 1))
            for page in range(
                first, draw(st.integers(first, start + (1 << order) - 1)) + 1
            ):
                pages[page].state = FREED
    for page in draw(st.lists(st.integers(0, size - 1), max_size=3)):
        pages[page].order = draw(
            st.sampled_from([0, 3, GREATEST_ORDER + 1, 40, 255, 0xFFFF])
        )
    return pages


firsts = st.sampled_from([0, 0x400, 0x1000])


@settings(deadline=None)
@given(
    memory(),
    firsts,
    st.integers(0, 8),
    st.sampled_from([ALLOCATED, FREED]),
    st.sets(st.integers(0, 2), max_size=2),
)
def test_blocks_are_those_that_a_look_at_each_page_finds(
    pages: list[Page], first: int, bits: int, state: int, unreadable: set[int]
) -> None:
    fake, unknown = kernel(first, pages, bits, unreadable)
    found, unread, damaged = everything(fake, state)
    assert sorted(found) == sorted(slowly(first, pages, state, unknown))
    assert unread == len(unknown)
    assert damaged == sum(
        page.state == state and page.order > GREATEST_ORDER
        for pfn, page in enumerate(pages, first)
        if pfn not in unknown
    )


@settings(deadline=None)
@given(memory(), st.integers(0, 8))
def test_no_page_is_counted_twice_and_none_is_forgotten(
    pages: list[Page], bits: int
) -> None:
    fake, _ = kernel(0, pages, bits)
    found, _, damaged = everything(fake)
    assert (
        sum(count for _, _, count, _ in found)
        == sum(page.state == ALLOCATED for page in pages) - damaged
    )
    assert len({(pfn, order) for pfn, order, _, _ in found}) == len(found)
    assert all(
        pfn % (1 << order) == 0 and 1 <= count <= 1 << order
        for pfn, order, count, _ in found
    )


@settings(deadline=None)
@given(memory(), st.integers(0, 127), st.integers(1, 128))
def test_a_range_of_pages_has_the_blocks_of_the_records_in_it(
    pages: list[Page], start: int, count: int
) -> None:
    fake, _ = kernel(0, pages, 4)
    found = [
        row
        for blocks in for_each_block(fake.prog, ALLOCATED, start, start + count)
        for row in rows(blocks)
    ]
    assert sorted(found) == sorted(
        slowly(start, pages[start : start + count], ALLOCATED, set())
    )


# ---- by example ----------


def block(order: int, handle: int, state: int = ALLOCATED) -> list[Page]:
    """A whole block."""
    return [Page(state, order, handle) for _ in range(1 << order)]


def blocks_of(
    first: int, pages: list[Page], bits: int = 3, state: int = ALLOCATED
) -> list[Row]:
    """The blocks of some pages."""
    return everything(kernel(first, pages, bits)[0], state)[0]


def test_two_blocks_of_one_order_side_by_side_are_two() -> None:
    assert blocks_of(0, block(2, 7) + block(2, 7)) == [(0, 2, 4, 7), (4, 2, 4, 7)]


@pytest.mark.parametrize("order", [7, 8, 9, GREATEST_ORDER])
def test_a_block_ends_where_its_order_says_however_large_it_is(order: int) -> None:
    fake, _ = kernel(0, [Page(ALLOCATED, order, 7)], 3)
    assert [
        end for blocks in for_each_block(fake.prog) for end in blocks.end_pfn.tolist()
    ] == [1 << order]


def test_a_block_whose_middle_was_freed_and_allocated_anew_is_still_one() -> None:
    pages = block(3, 7)
    pages[2:4] = block(1, 8)
    pages[5] = Page(FREED, 3, 7)
    assert blocks_of(0x100, pages) == [(0x100, 3, 5, 7), (0x102, 1, 2, 8)]


def test_a_block_whose_head_was_freed_is_listed_where_it_began() -> None:
    pages = block(3, 7)
    pages[0].state = FREED
    assert blocks_of(0x100, pages) == [(0x100, 3, 7, 7)]
    assert blocks_of(0x100, pages, state=FREED) == [(0x100, 3, 1, 7)]


def test_the_first_page_gives_the_record_even_if_tails_say_otherwise() -> None:
    # Up to 6.1 __folio_copy_owner() updates only the head's record.
    pages = block(2, 7)
    pages[0].handle = 9
    assert blocks_of(0, pages) == [(0, 2, 4, 9)]


@pytest.mark.parametrize("order", [12, 16, 18])
@pytest.mark.parametrize("bits", [10, 15, 17])
def test_a_gigantic_block_that_goes_on_over_many_sections_and_reads_is_one(
    order: int, bits: int
) -> None:
    first = 1 << order if order >= bits else 1 << bits
    pages = block(order, 7)
    pages[100] = Page(ALLOCATED, 0, 8)
    found = blocks_of(first, pages + block(0, 9), bits)
    assert sorted(found) == [
        (first, order, (1 << order) - 1, 7),
        (first + 100, 0, 1, 8),
        (first + (1 << order), 0, 1, 9),
    ]


def test_of_a_gigantic_block_at_the_end_of_memory_the_pages_there_are_count() -> None:
    assert blocks_of(0, block(12, 7)[:3072], bits=10) == [(0, 12, 3072, 7)]


def test_a_section_that_is_not_there_does_not_end_a_gigantic_block() -> None:
    fake = PageOwnerKernel(section_bits=2)
    section = 4 * fake.record(True, True, order=4, handle=7)
    fake.add_sections({0: section, 1: None, 3: section})
    assert everything(fake)[0] == [(0, 4, 8, 7)]


def test_an_order_that_no_allocation_has_is_counted_as_damaged() -> None:
    pages = [
        *block(0, 7),
        Page(ALLOCATED, 0xFFFF, 8),
        Page(ALLOCATED, GREATEST_ORDER + 1, 8),
        *block(0, 9),
    ]
    assert everything(kernel(0, pages, 2)[0]) == ([(0, 0, 1, 7), (3, 0, 1, 9)], 0, 2)


def test_memory_without_a_record_has_no_blocks() -> None:
    assert everything(kernel(0, [Page() for _ in range(16)], 3)[0]) == ([], 0, 0)


def test_a_column_is_of_the_block_or_of_its_record_or_is_said_to_be_missing() -> None:
    records = np.zeros(2, [("order", "<u2"), ("handle", "<u4")])
    records["handle"] = [3, 4]
    found = Blocks(
        np.array([8], np.uint64),
        np.array([1], np.uint8),
        np.array([2]),
        records,
        np.array([1]),
    )
    assert [found.column(name).tolist() for name in ("pfn", "order", "pages")] == [
        [8],
        [1],
        [2],
    ]
    assert found.column("handle").tolist() == [4]
    with pytest.raises(LookupError, match="does not write down comm"):
        found.column("comm")

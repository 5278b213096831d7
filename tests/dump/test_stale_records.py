# SPDX-License-Identifier: GPL-2.0-or-later
"""
``owners`` and pages that the buddy allocator has though their records say allocated,
made by changing the words of a dump.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from changed_memory import Changed
from drgn import FindObjectFlags, Object, Program
from known import Ask, Row, asking

# PGTY_buddy, in the top byte.
BUDDY = 0xF0000000


@pytest.fixture
def run(opened: Changed) -> Ask:
    return asking(opened.target)


def blocks(run: Ask, order: int) -> Iterator[int]:
    """Where the blocks of an order begin of which all pages are allocated."""
    return iter(
        [
            row["pfn"]
            for row in run(f"owners --orders {order} --no-stack")
            if row["pages"] == 1 << order
        ]
    )


def make_early(changed: Changed, pfn: int, pages: int = 1) -> None:
    """Give pages the record of those that were allocated before page_owner began."""
    early = changed.prog["early_handle"].value_()
    for each in range(pfn, pfn + pages):
        changed.put_record(each, "handle", early)


def free(changed: Changed, pfn: int, order: int = 0) -> None:
    """Put a block into the buddy allocator."""
    changed.put(pfn, "_mapcount", BUDDY)
    changed.put(pfn, "_refcount", 0)
    changed.put(pfn, "private", order)


def amounts(rows: list[Row]) -> dict[int, tuple[int, int]]:
    return {row["order"]: (row["blocks"], row["pages"]) for row in rows}


@pytest.fixture
def freed(changed: Changed, run: Ask) -> tuple[int, int, int]:
    """
    A single page, a block of order 3 and the last page of another one, whose records
    are ready to be doubted.
    """
    single, large = next(blocks(run, 0)), blocks(run, 3)
    whole, part = next(large), next(large)
    make_early(changed, single)
    make_early(changed, whole, 8)
    make_early(changed, part, 8)
    return single, whole, part + 7


def put_all(changed: Changed, freed: tuple[int, int, int]) -> None:
    single, whole, tail = freed
    free(changed, single)
    free(changed, whole, 3)
    free(changed, tail)


def test_rows_leave_out_what_is_free(
    changed: Changed, run: Ask, freed: tuple[int, int, int]
) -> None:
    single, whole, tail = freed
    before = run("owners")
    put_all(changed, freed)
    expected = [row for row in before if row["pfn"] not in (single, whole)]
    (part,) = [row for row in expected if row["pfn"] == tail - 7 and row["order"] == 3]
    assert part["pages"] == 8
    part["pages"] = 7
    assert run("owners") == expected
    assert len(expected) == len(before) - 2


def test_sums_leave_out_what_is_free(
    changed: Changed, run: Ask, freed: tuple[int, int, int]
) -> None:
    before = amounts(run("owners --by order"))
    put_all(changed, freed)
    after = amounts(run("owners --by order"))
    expected = dict(before)
    expected[0] = before[0][0] - 1, before[0][1] - 1
    expected[3] = before[3][0] - 1, before[3][1] - 9
    assert after == expected


def test_a_page_that_is_not_the_first_of_its_free_block_is_free(
    changed: Changed, run: Ask
) -> None:
    allocated = {
        pfn
        for row in run("owners --no-stack")
        for pfn in range(row["pfn"], row["pfn"] + row["pages"])
    }
    pfn = next(pfn for pfn in blocks(run, 0) if pfn & 1 and pfn - 1 not in allocated)
    make_early(changed, pfn)
    free(changed, pfn - 1, 1)
    assert pfn not in blocks(run, 0)


def test_where_a_struct_page_cannot_be_read_the_record_stands(
    changed: Changed, run: Ask, freed: tuple[int, int, int]
) -> None:
    before, sums = run("owners"), run("owners --by order")
    put_all(changed, freed)
    changed.gone.update(pfn * changed.size >> 12 for pfn in freed)
    assert run("owners") == before
    assert run("owners --by order") == sums


def test_a_free_block_of_an_impossible_order_has_no_pages(
    changed: Changed, run: Ask, freed: tuple[int, int, int]
) -> None:
    before = run("owners --by order")
    free(changed, freed[0], 77)
    assert run("owners --by order") == before


def test_a_record_written_past_its_section(changed: Changed, run: Ask) -> None:
    """Of a gigantic folio's order, as from 6.12 to 6.14."""
    pfn = next(blocks(run, 0))
    changed.put_record(pfn, "order", 18)
    assert [row["pfn"] for row in run("owners --orders 18")] == [0]
    free(changed, pfn)
    assert run("owners --orders 18") == []


def test_without_the_early_handle_all_records_are_doubted(
    changed: Changed, run: Ask
) -> None:
    prog = changed.prog

    def find(
        prog: Program, name: str, flags: FindObjectFlags, filename: str | None
    ) -> Object | None:
        if name == "early_handle":
            raise LookupError(name)
        return None

    before, pfn = run("owners --no-stack"), next(blocks(run, 0))
    finders = prog.enabled_object_finders()
    prog.register_object_finder("no early_handle", find, enable_index=0)
    try:
        assert run("owners --no-stack") == before
        free(changed, pfn)
        assert run("owners --no-stack") == [
            row for row in before if row["pfn"] != pfn or row["order"]
        ]
    finally:
        prog.set_enabled_object_finders(finders)


def test_inspect_says_both_what_the_page_and_what_the_record_is(
    changed: Changed, run: Ask, freed: tuple[int, int, int]
) -> None:
    put_all(changed, freed)
    for pfn in freed:
        (row,) = run(f"inspect pfn {pfn}")
        assert (row["kind"], row["state"]) == ("free", "allocated")

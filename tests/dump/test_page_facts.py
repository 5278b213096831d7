# SPDX-License-Identifier: GPL-2.0-or-later
"""
What ``inspect`` says of one page to programs: as drgn says it, and as other commands
say it of many.
"""

from __future__ import annotations

import csv
import json
from collections import Counter

import pytest
from changed_memory import Changed
from drgn.helpers.linux.mm import compound_head, page_to_pfn, pfn_to_page, pfn_to_virt
from drgn.helpers.linux.pid import find_task
from drgn.helpers.linux.slab import slab_object_info
from known import ORDINARY, SAMPLE, Ask, Row, asking, look_at

from pagedbg.mm.page_state import page_states
from pagedbg.mm.pageblock_flags import pageblock_nr_pages
from pagedbg.target.opening import open_target
from pagedbg.target.target import Target


@pytest.fixture(scope="module")
def ask(sample: Target) -> Ask:
    return asking(sample)


@pytest.fixture(scope="module")
def every_page(ask: Ask, sample: Target) -> list[Row]:
    """What is said of all pages."""
    end = sample.prog["max_pfn"].value_()
    return ask(f"inspect pfn 0-{end - 1:#x}")


@pytest.fixture(scope="module")
def pages(every_page: list[Row]) -> dict[str, Row]:
    """A page of each kind, the last one."""
    return {row["kind"]: row for row in every_page}


def one(ask: Ask, line: str) -> Row:
    (row,) = ask(f"inspect {line}")
    return row


def number(value: int | str) -> int:
    """A number that JSON has as text where it is beyond 2**53."""
    assert isinstance(value, int) == (int(str(value), 0) <= 1 << 53)
    return int(str(value), 0)


def test_where_a_page_is_says_drgn(
    ask: Ask, sample: Target, pages: dict[str, Row]
) -> None:
    prog = sample.prog
    assert {"anon", "file", "slab", "kernel", "free"} <= pages.keys()
    for row in pages.values():
        if row["page"] is None or row["virt"] is None:
            continue
        pfn = row["pfn"]
        page = pfn_to_page(prog, pfn)
        assert number(row["page"]) == page.value_()
        assert number(row["virt"]) == pfn_to_virt(prog, pfn).value_()
        assert number(row["flags_mask"]) == page.flags.value_()
        size = pageblock_nr_pages(prog)
        assert (row["pageblock_pfn"], 1 << row["pageblock_order"]) == (
            pfn - pfn % size,
            size,
        )
        if row["kind"] != "free":
            head = compound_head(page)
            assert row["compound_head"] == page_to_pfn(head).value_()
            if row["kind"] in ("file", "shmem", "block device"):
                assert row["file_offset"] == (
                    (head.index.value_() << 12) + (pfn - row["compound_head"] << 12)
                )


def test_of_one_page_is_said_what_is_said_of_many(
    ask: Ask, pages: dict[str, Row]
) -> None:
    for row in pages.values():
        if row["page"] is not None:
            alone = one(ask, f"pfn {row['pfn']}")
            assert {name: alone[name] for name in row} == row
            assert len(alone) > len(row)


def test_pages_are_used_for_what_memory_says(ask: Ask, every_page: list[Row]) -> None:
    found: Counter[str] = Counter()
    for row in every_page:
        use = row["kind"]
        if use == "reserved":
            use = row["detail"]
            if use.startswith("Kernel "):
                use = "kernel image"
            elif use.endswith("Reserved"):
                use = "firmware"
            elif use.startswith("no memory there"):
                continue
        found[use] += 1
    expected: Counter[str] = Counter()
    for row in ask("memory"):
        reserved = row["kind"] == "reserved"
        expected[row["detail"] if reserved else row["kind"]] += row["pages"]
    assert found == expected


def test_references_of_the_head(ask: Ask, sample: Target) -> None:
    tail = next(
        state
        for state in page_states(sample.prog, 0, sample.prog["max_pfn"].value_())
        if state.compound and state.head_pfn != state.pfn
    )
    assert tail.head_pfn is not None
    head = one(ask, f"pfn {tail.head_pfn}")
    assert one(ask, f"pfn {tail.pfn}")["head_refcount"] == head["refcount"]
    assert head["head_refcount"] == head["refcount"] > 0


def test_the_object_at_an_address(ask: Ask, sample: Target) -> None:
    task = find_task(sample.prog, 1)
    address = task.comm.address_of_().value_()
    found = slab_object_info(sample.prog, address)
    assert found is not None
    row = one(ask, f"virt {address:#x}")
    assert (row["detail"], number(row["address"])) == ("task_struct", address)
    assert row["object"] == {
        "address": hex(found.address),
        "offset": address - found.address,
        "allocated": True,
        "why_unknown": None,
        # The cache writes down nobody.
        "pid": None,
        "stack": None,
    }
    assert one(ask, f"pfn {row['pfn']}")["object"] is None


def test_an_object_that_cannot_be_read_is_not_known(changed: Changed) -> None:
    address = find_task(changed.prog, 1).comm.address_of_().value_()
    ask = asking(changed.target)
    row = one(ask, f"virt {address:#x}")
    # struct slab has its cache where struct page has lru.
    changed.put(row["compound_head"], "lru", 0xFFFF_F000_0000_0000)
    damaged = one(ask, f"virt {address:#x}")
    assert damaged["kind"] == "slab"
    known = damaged["object"].pop("why_unknown")
    assert "0xfffff0000000" in known
    assert set(damaged["object"].values()) == {None}


def test_who_maps_a_page(ask: Ask, pages: dict[str, Row]) -> None:
    row = one(ask, f"pfn {pages['anon']['pfn']}")
    assert row["mapcount"] == len(row["mappings"]) > 0
    assert row["mappings_complete"] is True
    for mapping in row["mappings"]:
        number(mapping["mm"])
        there = one(ask, f"task {mapping['pid']} {mapping['address']}")
        assert there["pfn"] == row["pfn"]
    kernel = one(ask, f"pfn {pages['kernel']['pfn']}")
    assert (kernel["mappings"], kernel["mappings_complete"]) == (None, None)


def test_what_has_become_of_a_block(ask: Ask) -> None:
    blocks = ask("owners --no-stack --orders '>=1'")
    whole = [row for row in blocks if row["pages"] == 1 << row["order"]][:3]
    left = [row for row in blocks if row["pages"] < 1 << row["order"]][:20]
    assert whole
    for block in [*whole, *left]:
        order = block["order"]
        size = 1 << order
        first = block["pfn"] - block["pfn"] % size
        rows = ask(f"inspect pfn {first}+{size}")
        expected = [
            "held"
            if (row["state"], row["order"]) == ("allocated", order)
            else {"allocated": "reused", "freed": "freed"}.get(row["state"], "unknown")
            for row in rows
        ]
        at = rows[expected.index("held")]["pfn"]
        found = one(ask, f"pfn {at}")["parts"]
        assert [
            part["part"] for part in found for _ in range(part["pages"])
        ] == expected
        assert [part["start_pfn"] for part in found] == [
            first + sum(part["pages"] for part in found[:i]) for i in range(len(found))
        ]


def test_parts_of_a_block_of_every_fate(changed: Changed) -> None:
    ask = asking(changed.target)
    block = next(
        row
        for row in ask("owners --no-stack --orders '>=2'")
        if row["pages"] == 1 << row["order"]
    )
    first, order = block["pfn"], block["order"]
    changed.put_record(first + 1, "flags", 0)
    changed.put_record(first + 2, "order", 0)
    row = one(ask, f"pfn {first}")
    assert [(part["pages"], part["part"]) for part in row["parts"]] == [
        (1, "held"),
        (1, "unknown"),
        (1, "reused"),
        ((1 << order) - 3, "held"),
    ]


def test_the_history_of_a_page() -> None:
    ask = asking(open_target(str(SAMPLE)))
    events = ask("trace show")
    pfns = {row["pfn"] + 3 for row in events if row["event"] == "set"}
    some = sorted(pfns)[:: len(pfns) // 5]
    assert len(some) > 3
    for pfn in some:
        row = one(ask, f"pfn {pfn}")
        expected = [
            event
            for event in events
            if event["pfn"] <= pfn < event["pfn"] + (1 << event["order"])
        ]
        assert row["captured"] == len(expected) > 0
        assert row["events"] == expected[-20:]
        assert row["losses"] == []


def test_without_a_capture_there_is_no_history(ask: Ask) -> None:
    row = one(ask, "pfn 0x200")
    assert (row["captured"], row["events"], row["losses"]) == (None, None, None)


def test_what_is_not_on_record_is_told_apart(pages: dict[str, Row]) -> None:
    assert {row["record"] for row in pages.values()} <= {"read", "missing"}
    assert pages["anon"]["record"] == "read"
    assert pages["anon"]["handle_kind"] is None


def test_who_called_the_allocator_is_as_stacks_says(
    ask: Ask, pages: dict[str, Row]
) -> None:
    rows = [row for row in pages.values() if row["stack"]]
    stacks = ask(f"stacks {' '.join(str(row['handle']) for row in rows)}")
    named = {row["handle"]: row for row in stacks}
    for row in rows:
        for name in ("module", "function", "stack"):
            assert row[name] == named[row["handle"]][name]


def test_csv_has_what_lies_in_a_cell_as_json() -> None:
    line = "inspect pfn 0x1000 --format"
    (_, as_json, _), (_, as_csv, _) = look_at(ORDINARY, f"{line} json", f"{line} csv")
    (row,) = json.loads(as_json)
    (flat,) = csv.DictReader(as_csv.splitlines())
    assert json.loads(flat["parts"]) == row["parts"] != []

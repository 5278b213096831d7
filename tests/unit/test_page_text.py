# SPDX-License-Identifier: GPL-2.0-or-later
"""The record of a page for people: what a dump seldom has."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from pagedbg.output.page_text import page_lines
from pagedbg.sources.page_facts import BlockPart, PageFacts, PageMapping, SlabObject
from pagedbg.sources.page_history import PageHistory
from pagedbg.sources.page_rows import PageRow

# A page of a block of eight that a program holds.
PAGE = PageRow(**dict.fromkeys(PageRow._fields))._replace(  # type: ignore[arg-type]
    pfn=0x103,
    order=3,
    gfp_mask=0xCC0,
    gfp="GFP_KERNEL",
    migratetype="Unmovable",
    pid=7,
    comm="a\x1bb",
    ts_ns=5 * 10**9,
    handle=0x10,
    stack=["f+0x1/0x2"],
    state="allocated",
    head=0x100,
    kind="kernel",
    phys=0x103000,
    page=0xFFFF_EA00_0000_40C0,
    virt=0xFFFF_8880_0010_3000,
    flags_mask=0,
    refcount=1,
    mapcount=0,
    pageblock_pfn=0,
    pageblock_order=9,
    record="read",
)
FACTS = PageFacts(PAGE, 0, None, None, None, None, None, None, None)


def lines(**changes: Any) -> dict[str, str]:
    """The lines of a record by what stands before them, with some other facts."""
    of_page = {name: changes.pop(name) for name in [*changes] if name in PAGE._fields}
    facts = dataclasses.replace(FACTS, page=PAGE._replace(**of_page), **changes)
    found = list(page_lines(facts, live=False))
    assert not any("\x1b" in line for line in found)
    return {
        name: text.strip()
        for name, text in (
            (line[2:16].strip(), line[16:])
            if line.startswith("  ") and not line.startswith("   ")
            else (line, "")
            for line in found
            if line
        )
    }


def test_what_is_not_known_is_a_question_mark() -> None:
    found = lines(virt=None, flags_mask=None)
    assert found["struct page"] == "0xffffea00000040c0, direct map ?"
    assert found["memory"] == "node ?, zone ?"
    assert found["flags"] == "? (none)"
    assert found["by"] == "a\\x1bb, pid 7, tgid ?"
    assert found["when"] == "5.000000000 s, no clock to say how long ago"
    assert not {"object", "mapped by", "captured", "left of it"} & found.keys()


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (SlabObject(0x1000, 0x18, True, None), "0x1000 + 0x18, allocated"),
        (SlabObject(0x1000, 0, False, None), "0x1000 + 0x0, free"),
        (SlabObject(0x1000, 0, None, None), "0x1000 + 0x0, not known whether"),
        (SlabObject(None, None, None, "no \x1bmemory"), "not known: no \\x1bmemory"),
    ],
)
def test_objects(found: SlabObject, said: str) -> None:
    assert lines(kind="slab", object=found)["object"].startswith(said)


@pytest.mark.parametrize(
    ("mappings", "complete", "said"),
    [
        ([], False, "not found in time"),
        ([], True, "no process that could be found"),
        ([PageMapping(None, None, 0x10, 0x2000)], True, "mm_struct 0x10 at 0x2000"),
        ([PageMapping(3, "s", 0x10, 0x2000)], True, "s (pid 3) at 0x2000"),
    ],
)
def test_mappings(mappings: list[PageMapping], complete: bool, said: str) -> None:
    found = lines(
        kind="anon", mapcount=1, mappings=mappings, mappings_complete=complete
    )
    assert found["mapped by"] == said


def test_more_mappings_than_were_looked_for() -> None:
    found = lines(
        mapcount=9, mappings=[PageMapping(3, "s", 1, 2)], mappings_complete=False
    )
    assert any("more, that were not looked for" in line for line in found)


def test_what_has_become_of_a_block() -> None:
    parts = [
        BlockPart(0x100, 1, "unknown"),
        BlockPart(0x101, 2, "freed"),
        BlockPart(0x103, 1, "held"),
        BlockPart(0x104, 1, "freed"),
        BlockPart(0x105, 1, "held"),
        BlockPart(0x106, 2, "reused"),
    ]
    found = lines(parts=parts)
    assert found["block"] == "order 3, 0x100-0x107 (8 pages), this is tail 3"
    assert found["left of it"] == "2 of 8 pages: 0x103, 0x105"
    assert found["freed"] == "3 pages: 0x101-0x102, 0x104"
    assert found["reused"] == "2 pages, freed and allocated again: 0x106-0x107"
    assert found["not known"] == "1 pages, of which no record can be read: 0x100"
    assert "left of it" not in lines(parts=[BlockPart(0x100, 8, "held")])


def test_records_that_say_nothing() -> None:
    assert "owner: not tracked" in lines(record="untracked", state=None)
    for record, words in (("unreadable", "is not in the dump"), ("missing", "exist")):
        (owner,) = [
            line for line in lines(record=record, state=None) if "owner:" in line
        ]
        assert words in owner
    assert "damaged" in lines(order=21)["block"]
    assert any("never allocated" in line for line in lines(state="never"))


def test_what_was_filed_in_place_of_a_stack() -> None:
    found = lines(handle_kind="early")
    assert found["when"] == "before page_owner was ready"
    assert found["from"].startswith("(before page_owner was ready); what page_owner")
    assert lines(stack=None)["from"] == "a stack that cannot be read (0x10)"


def test_a_capture_with_no_event_of_the_page() -> None:
    found = lines(history=PageHistory(0, [], []))
    assert found["captured"] == "no event of this page"

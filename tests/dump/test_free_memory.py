# SPDX-License-Identifier: GPL-2.0-or-later
"""
``zones``, ``free``, ``pageblocks`` and ``stacks`` on dumps: against what drgn with
debug info found in them, and what the guest's kernel said shortly before.
"""

from __future__ import annotations

import json
import struct
from collections import Counter
from pathlib import Path

import proc_text
import pytest
from drgn.helpers.linux.list import list_for_each_entry
from drgn.helpers.linux.mm import follow_phys, page_to_pfn
from known import DATA, ORDINARY, SAMPLE, Ask, Oracle, asking, look_at
from make_elf import PAGE, ElfCore

from pagedbg.analysis.pageblock_sums import COUNTS
from pagedbg.mm import free_area
from pagedbg.mm.free_area import free_list_blocks, nr_free
from pagedbg.mm.migrate import migratetype_names
from pagedbg.mm.mmzone import for_each_populated_zone, zone_name
from pagedbg.mm.page_owner import special_handles
from pagedbg.sources.stack_frames import function_of
from pagedbg.target.opening import open_target
from pagedbg.target.target import Target


@pytest.fixture(scope="module")
def ask(sample: Target) -> Ask:
    """Commands on the dump of the ordinary machine."""
    return asking(sample)


@pytest.fixture(scope="module", params=["ordinary", "incident"])
def dump(request: pytest.FixtureRequest) -> tuple[Target, Oracle]:
    """Each dump, and what is known of it."""
    core = {"ordinary": ORDINARY, "incident": SAMPLE}[request.param]
    return (
        open_target(str(core)),
        Oracle(DATA / f"{request.param}.oracle.json.xz"),
    )


def said(name: str) -> str:
    """What the ordinary machine's kernel said in /proc."""
    return (DATA / f"ordinary.{name}").read_text()


# ---- zones ----------


def test_zones_are_those_that_debug_info_finds(dump: tuple[Target, Oracle]) -> None:
    target, oracle = dump
    rows = asking(target)("zones")
    names = {"zone": "name", "start_pfn": "start_pfn", "spanned": "spanned"}
    names |= {"present": "present", "managed": "managed"}
    assert [{old: row[new] for new, old in names.items()} for row in rows] == [
        {old: zone[old] for old in names.values()} for zone in oracle.zones
    ]
    for row, zone in zip(rows, oracle.zones, strict=True):
        # What the CPUs have not added to the zone's counter yet.
        blocks = sum(count << order for order, count in enumerate(zone["nr_free"]))
        assert abs(row["free"] - blocks) < 50


def test_zones_say_what_the_kernel_says(ask: Ask) -> None:
    rows = {row["zone"]: row for row in ask("zones")}
    found = proc_text.zones(said("zoneinfo"))
    assert list(found) == list(rows)
    for name, zone in found.items():
        # The dump was made a little later.
        assert abs(rows[name]["free"] - zone.pop("free")) < 1000
        assert {column: rows[name][column] for column in zone} == zone
        assert rows[name]["boost"] == 0


def test_what_the_cpus_keep_is_in_no_block(ask: Ask) -> None:
    rows = ask("zones")
    assert [row["zone"] for row in rows if row["pcp"]] == ["DMA32"]


# ---- free blocks ----------


def test_free_blocks_are_those_that_debug_info_finds(
    dump: tuple[Target, Oracle],
) -> None:
    target, oracle = dump
    rows = asking(target)("free")
    assert [(row["zone"], row["order"], row["blocks"]) for row in rows] == [
        (zone["name"], order, blocks)
        for zone in oracle.zones
        for order, blocks in enumerate(zone["nr_free"])
    ]
    assert "migratetype" not in rows[0]
    for row in rows:
        assert row["pages"] == row["blocks"] << row["order"]
        assert row["bytes"] == row["pages"] * PAGE


def test_lists_of_free_blocks_are_as_long_as_debug_info_finds(
    dump: tuple[Target, Oracle],
) -> None:
    target, oracle = dump
    rows = asking(target)("free --by migratetype")
    types = migratetype_names(target.prog)
    assert [
        (row["zone"], row["migratetype"], row["order"], row["blocks"]) for row in rows
    ] == [
        (zone["name"], name, order, lists[number])
        for zone in oracle.zones
        for number, name in enumerate(types)
        for order, lists in enumerate(zone["free_blocks"])
        if lists[number]
    ]


def test_a_list_that_is_too_long_is_not_counted_in_part(
    sample: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    *_, zone = for_each_populated_zone(sample.prog)
    order = max(range(len(zone.free_area)), key=lambda order: nr_free(zone)[order])
    lists = list(zone.free_area[order].free_list)
    whole = [free_list_blocks(each) for each in lists]
    longest = max(count or 0 for count in whole)
    assert longest > 1
    monkeypatch.setattr(free_area, "_MOST_BLOCKS", longest)
    assert [free_list_blocks(each) for each in lists] == [
        None if count == longest else count for count in whole
    ]


@pytest.mark.parametrize(
    "damage",
    ["a link into nowhere", "a link back", "a link to itself"],
)
def test_a_damaged_list_is_unknown_and_counted(
    sample: Target, tmp_path: Path, damage: str
) -> None:
    prog = sample.prog
    *_, zone = for_each_populated_zone(prog)
    order, number, head = next(
        (order, number, free_list)
        for order, area in enumerate(zone.free_area)
        for number, free_list in enumerate(area.free_list)
        if (free_list_blocks(free_list) or 0) > 2
    )
    first = head.next.value_()
    second = head.next.next.value_()
    to = {
        "a link into nowhere": 0xDEAD_0000_0000_0100,
        "a link back": head.address_of_().value_(),
        "a link to itself": second,
    }[damage]
    elf = ElfCore(prog, tmp_path / "vmcore")
    if damage == "a link back":
        # The list is shorter by all but the first block; only the head says so.
        elf.write(head.next.next.address_of_().value_(), struct.pack("<Q", first))
    else:
        elf.write(second, struct.pack("<Q", to))
    (whole,) = look_at(ORDINARY, "free --by migratetype --format json")
    (damaged,) = look_at(elf.path, "free --by migratetype --format json")
    assert damaged[0] == 0
    assert damaged[2].startswith("1 lists of free blocks cannot be followed")
    rows = json.loads(whole[1])
    for row in rows:
        if (row["zone"], row["migratetype"], row["order"]) == (
            zone_name(zone),
            migratetype_names(prog)[number],
            order,
        ):
            row |= {"blocks": None, "pages": None, "bytes": None}
    assert json.loads(damaged[1]) == rows


# ---- pageblocks ----------


def test_pageblocks_are_of_the_types_that_the_kernel_counts(ask: Ask) -> None:
    found = Counter(
        (row["zone"], row["pageblock_migratetype"]) for row in ask("pageblocks")
    )
    counted = proc_text.pageblocks(said("pagetypeinfo"))
    assert found == {key: count for key, count in counted.items() if count}


def test_a_pageblock_has_the_pages_of_its_free_blocks(
    dump: tuple[Target, Oracle],
) -> None:
    target, _ = dump
    free: Counter[int] = Counter()
    for zone in for_each_populated_zone(target.prog):
        for order, area in enumerate(zone.free_area):
            for head in area.free_list:
                for page in list_for_each_entry(
                    "struct page", head.address_of_(), "lru"
                ):
                    pfn = page_to_pfn(page).value_()
                    for each in range(pfn, pfn + (1 << order)):
                        free[each // 512] += 1
    rows = asking(target)("pageblocks")
    assert {row["start_pfn"] // 512: row["free"] for row in rows if row["free"]} == free
    assert len({row["start_pfn"] // 512 for row in rows}) == len(rows)


def test_pageblocks_are_all_pages_of_their_zones(ask: Ask) -> None:
    rows = ask("pageblocks")
    for zone in ask("zones"):
        mine = [row for row in rows if row["zone"] == zone["zone"]]
        # page frame 0 is in no zone
        assert mine[0]["start_pfn"] == zone["start_pfn"]
        assert sum(row["pages"] for row in mine) == zone["spanned"]
        assert sum(row["free"] for row in mine) <= zone["free"] + 50


def test_struct_pages_that_the_dump_left_out_make_pageblocks_unknown(
    sample: Target, tmp_path: Path
) -> None:
    prog = sample.prog
    page = prog["vmemmap_base"].value_() + 0x2800 * prog.type("struct page").size
    gone = follow_phys(prog["init_mm"].address_of_(), page).value_() // PAGE
    elf = ElfCore(prog, tmp_path / "vmcore", lambda pfn: pfn == gone)
    whole, less = (
        look_at(core, "pageblocks --format json")[0] for core in (ORDINARY, elf.path)
    )
    assert (whole[0], less[0]) == (0, 0)
    pages = PAGE // prog.type("struct page").size
    same = {row["start_pfn"]: row for row in json.loads(whole[1])}
    rows = {row["start_pfn"]: row for row in json.loads(less[1])}
    assert rows[0x2800]["unknown"] >= pages
    for start, row in rows.items():
        # What is not known is in no other column.
        assert sum(row[name] for name in COUNTS) == row["pages"]
        if start not in (0x2800, 0x2A00):
            assert row == same[start]
    lost = sum(row["unknown"] for row in rows.values())
    assert less[2].startswith(f"Of {lost} pages it is not known what they are")


# ---- stacks ----------


def test_stacks_are_those_of_the_records(
    ask: Ask, sample: Target, oracle: Oracle
) -> None:
    rows = ask("stacks")
    assert {row["handle"] for row in rows} == set(oracle.stacks)
    ids = {row["stack_id"] for row in ask("owners --by stack_id")}
    assert ids <= {row["stack_id"] for row in rows}
    shapes = {row["stack_shape"] for row in ask("owners --by stack_shape")}
    assert shapes <= {row["stack_shape"] for row in rows}
    owners = {row["handle"]: row["stack"] for row in ask("owners --state any")}
    special = special_handles(sample.prog)
    for row in rows:
        assert row["stack"] == owners.get(row["handle"], row["stack"])
        assert len(row["stack"]) == len(oracle.stacks[row["handle"]])
        if row["handle"] not in special:
            assert row["function"] == function_of(row["stack"])


def test_stacks_by_handle_are_the_same(ask: Ask) -> None:
    rows = ask("stacks")[5:8]
    handles = " ".join(f"{row['handle']:#x}" for row in rows)
    assert ask(f"stacks {handles}") == rows


def test_a_handle_without_a_stack_is_said_to_have_none() -> None:
    bad, none = look_at(SAMPLE, "stacks 0x6c60006 --format json", "stacks 0")
    assert bad[0] == 0
    (row,) = json.loads(bad[1])
    assert (row["stack"], row["stack_id"], row["function"]) == ([], None, None)
    assert "1 stack could not be read" in bad[2]
    assert none[0] == 2
    assert "is not the handle of a stack" in none[2]

# SPDX-License-Identifier: GPL-2.0-or-later
"""
``blocks`` on dumps: against a plain loop over the pages, with the records that drgn
with debug info found.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import proc_text
import pytest
from drgn.helpers.linux.mm import follow_phys
from drgn.helpers.linux.slab import for_each_slab_cache
from known import DATA, ORDINARY, SAMPLE, Oracle, look_at
from make_elf import PAGE, ElfCore

from pagedbg.analysis.pageblock_sums import COUNTS
from pagedbg.mm.page_ext import for_each_page_ext_range
from pagedbg.mm.page_state import page_states
from pagedbg.target.opening import open_target
from pagedbg.target.target import Target

MOVABLE = ("anon", "ksm", "swap cache", "file", "shmem", "block device", "movable")
SPECIAL = {
    "early_handle": "(before page_owner was ready)",
    "dummy_handle": "(allocated by page_owner itself)",
    "failure_handle": "(the stack depot was full)",
}
FIXED = ("pinned", "reclaimable", "unmovable")


class Page(NamedTuple):
    """What a page is by the columns of a pageblock, and who asked for it."""

    zone: str
    what: str
    function: str | None


class Plain:
    """What a plain loop finds in a dump."""

    def __init__(self, core: Path, answers: str) -> None:
        self.core = core
        prog = open_target(str(core)).prog
        oracle = Oracle(DATA / f"{answers}.oracle.json.xz")
        account = 1 << prog["_SLAB_RECLAIM_ACCOUNT"].value_()
        gives_back = {
            cache.name.string_().decode()
            for cache in for_each_slab_cache(prog)
            if cache.flags.value_() & account
        }
        assert {"dentry", "inode_cache"} <= gives_back
        functions = {row["handle"]: row["function"] for row in self.json("stacks")}
        functions |= {oracle.special[name]: word for name, word in SPECIAL.items()}
        self.pages: dict[int, Page] = {}
        end = max(zone["start_pfn"] + zone["spanned"] for zone in oracle.zones)
        for state in page_states(prog, 1, end):
            record = oracle.pages.get(state.pfn)
            taken = record is not None and record["state"] == "allocated"
            if state.kind == "free":
                what = "free" if "buddy" in (state.detail or "") else "pcp"
            elif state.kind in MOVABLE:
                what = "movable"
            elif state.kind == "slab" and state.detail in gives_back:
                what = "reclaimable"
            elif state.kind == "no references" and not taken:
                what = "unknown"
            else:
                what = "unmovable"
            function = (
                functions[record["handle"]] if record and taken else "(not on record)"
            )
            self.pages[state.pfn] = Page(oracle.zone(state.pfn), what, function)

    def json(self, command: str) -> list[dict[str, Any]]:
        """What a command on the dump prints as JSON."""
        ((status, out, said),) = look_at(self.core, f"{command} --format json")
        assert status == 0, said
        return json.loads(out)  # type: ignore[no-any-return]

    def blocks(self, order: int) -> dict[tuple[str, int], list[Page]]:
        """The pages of each block of an order, by its zone and its number."""
        found: dict[tuple[str, int], list[Page]] = defaultdict(list)
        for pfn, page in self.pages.items():
            found[page.zone, pfn >> order].append(page)
        return found


@pytest.fixture(scope="module", params=["ordinary", "incident"])
def plain(request: pytest.FixtureRequest) -> Plain:
    """Each dump, looked at page by page."""
    core = {"ordinary": ORDINARY, "incident": SAMPLE}[request.param]
    return Plain(core, request.param)


def holders(pages: list[Page]) -> set[str | None]:
    """Who keeps a block from being free; more than one if it is not known who does."""
    unknown = {str(i) for i, page in enumerate(pages) if page.what == "unknown"}
    return {page.function for page in pages if page.what in FIXED} | unknown


@pytest.mark.parametrize(("size", "order"), [("64K", 4), ("2M", 9), ("32M", 13)])
def test_a_block_has_what_its_pages_are(plain: Plain, size: str, order: int) -> None:
    rows = {
        (row["zone"], row["start_pfn"] >> order): row
        for row in plain.json(f"blocks --size {size}")
    }
    blocks = plain.blocks(order)
    assert rows.keys() == blocks.keys()
    for key, pages in blocks.items():
        row = rows[key]
        counts = Counter(page.what for page in pages)
        assert {name: row[name] for name in COUNTS} == {
            name: counts[name] for name in COUNTS
        }
        assert row["pages"] == len(pages)
        fixed = Counter(page.function for page in pages if page.what in FIXED)
        assert set(row["owners"]) == set(fixed)
        ranks = [fixed[function] for function in row["owners"]]
        assert ranks == sorted(ranks, reverse=True)


@pytest.mark.parametrize(("size", "order"), [("64K", 4), ("2M", 9), ("32M", 13)])
def test_holders_have_the_blocks_that_they_have_pages_in(
    plain: Plain, size: str, order: int
) -> None:
    pages: Counter[str | None] = Counter()
    where: Counter[str | None] = Counter()
    sole: Counter[str | None] = Counter()
    for block in plain.blocks(order).values():
        mine = Counter(
            page.function
            for page in block
            if page.what not in ("free", "pcp", "unknown")
        )
        pages += mine
        where.update(mine.keys())
        if len(who := holders(block)) == 1:
            sole.update(who)
    assert {
        row["function"]: (row["pageblocks"], row["pages"], row["sole_pageblocks"])
        for row in plain.json(f"blocks --size {size} --by function")
    } == {name: (where[name], pages[name], sole[name]) for name in pages}


def test_holders_by_program_have_as_many_pages_as_owners_says(plain: Plain) -> None:
    for by in ("comm", "stack", "module,function"):
        names = by.split(",")
        found, owned = (
            {
                tuple(str(row[name]) for name in names): row["pages"]
                for row in plain.json(f"{command} --by {by}")
            }
            for command in ("blocks", "owners")
        )
        nobody = {key: count for key, count in found.items() if "on record" in key[0]}
        assert len(nobody) == 1
        for key in nobody:
            del found[key]
        assert found == owned


def test_polluted_are_those_that_could_be_free_for_the_greater_part(
    plain: Plain,
) -> None:
    rows = plain.json("blocks")
    polluted = plain.json("blocks --polluted --sort unmovable")
    assert sorted(polluted, key=lambda row: row["start_pfn"]) == [
        row
        for row in rows
        if any(row[name] for name in FIXED)
        and 2 * (row["free"] + row["pcp"] + row["movable"]) >= row["pages"]
    ]
    unmovable = [row["unmovable"] for row in polluted]
    assert 0 < len(polluted) < len(rows)
    assert unmovable == sorted(unmovable, reverse=True)


def test_a_range_has_the_blocks_that_it_touches(plain: Plain) -> None:
    rows = plain.json("blocks")
    assert plain.json("blocks --pfns 0x2100+0x400") == [
        row for row in rows if row["start_pfn"] in (0x2000, 0x2200, 0x2400)
    ]
    assert plain.json("blocks --zone DMA") == [
        row for row in rows if row["zone"] == "DMA"
    ]
    assert plain.json("blocks --node 3") == []


def test_types_are_those_of_the_pageblocks(plain: Plain) -> None:
    types = {
        row["start_pfn"] >> 9: row["pageblock_migratetype"]
        for row in plain.json("blocks")
    }
    for row in plain.json("blocks --size 64K"):
        assert row["pageblock_migratetype"] == types[row["start_pfn"] >> 9]
    for row in plain.json("blocks --size 32M"):
        start = row["start_pfn"]
        inside = {types[pfn >> 9] for pfn in range(start, start + row["pages"], 511)}
        kind = row["pageblock_migratetype"]
        assert inside == {kind} if kind else len(inside) > 1


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("blocks --size 3K", "'3K' is no size of a block; write 64K, 2M or 1G"),
        ("blocks --size 0", "is no size of a block"),
        ("blocks --size 1", "a block cannot be smaller than a page"),
        ("blocks --size 99999T", "is no size of a block"),
        ("blocks --by owner", "'owner' is nothing to sum up by"),
        ("blocks --by comm --polluted", "--by lists their holders"),
        ("blocks --sort owners", "there is no column 'owners'"),
        ("blocks --zone Nowhere", "there is no zone 'Nowhere' here, only DMA"),
    ],
)
def test_what_cannot_be_asked_is_said(command: str, sentence: str) -> None:
    ((status, _, said),) = look_at(ORDINARY, command)
    assert status == 2
    assert sentence in said
    assert said.count("\n") == 1


def test_mixed_pageblocks_are_as_many_as_the_kernel_counts() -> None:
    """``pagetypeinfo_showmixedcount_print()`` in ``mm/page_owner.c``"""
    plain = Plain(ORDINARY, "ordinary")
    types = {
        row["start_pfn"] >> 9: (row["zone"], row["pageblock_migratetype"])
        for row in plain.json("blocks")
    }
    asked: dict[int, set[str]] = defaultdict(set)
    for row in plain.json("owners --no-stack"):
        for pfn in range(row["pfn"], row["pfn"] + (1 << row["order"])):
            asked[pfn >> 9].add(row["migratetype"])
    mixed = Counter(
        types[block] for block, kinds in asked.items() if kinds - {types[block][1]}
    )
    text = (DATA / "ordinary.pagetypeinfo").read_text()
    said = proc_text.pageblocks(text, "Number of mixed blocks")
    # The dump was made a little later.
    assert mixed.keys() <= said.keys()
    assert sum(said.values()) > 0
    for key, count in said.items():
        assert abs(mixed[key] - count) <= 1, key


def test_records_that_the_dump_left_out_are_counted(
    sample: Target, tmp_path: Path
) -> None:
    prog = sample.prog
    (records,) = for_each_page_ext_range(prog, 0x2B80, 0x2B81)
    at = follow_phys(prog["init_mm"].address_of_(), records.address).value_()
    elf = ElfCore(prog, tmp_path / "vmcore", lambda pfn: pfn == at // PAGE)
    whole, less = (
        look_at(core, "blocks --by comm --format json")[0]
        for core in (ORDINARY, elf.path)
    )
    assert (whole[0], less[0]) == (0, 0)
    before, after = (
        {row["comm"]: row["pages"] for row in json.loads(out)}
        for _, out, _ in (whole, less)
    )
    lost = after["(not on record)"] - before["(not on record)"]
    assert lost > 0
    # The tails of a block without __GFP_COMP look like free pages.
    assert 0 <= sum(before.values()) - sum(after.values()) < PAGE // 64
    said = re.search(r"The records of (\d+) pages in use could not be read", less[2])
    # Some of these pages had no record before.
    assert said
    assert lost <= int(said[1]) <= PAGE // 64
    assert "could not be read" not in whole[2]

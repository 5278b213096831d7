# SPDX-License-Identifier: GPL-2.0-or-later
"""
Who holds pages in a booted kernel without page_owner: allocation tags against
/proc/allocinfo, in the running guest and in the dump that it ended as, and what other
structures of the kernel name.
"""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from booted import (
    CONSOLES,
    OUT,
    PAGEDBG,
    PATIENCE,
    Answer,
    Guest,
    dump,
    give_back,
    kernels,
    modules,
    pagedbg,
)

# Kernels and what they are told besides: in 7.x each object of a slab may have its tag
# beside itself, and pages can have theirs in their flags.
KERNEL = "6.12-tags"
RARE = (("newest-tags", ""), ("newest-tags", "sysctl.vm.mem_profiling=1,compressed"))
KERNELS = (
    pytest.param((KERNEL, ""), id=KERNEL),
    *(
        pytest.param(
            each, id=f"{each[0]}{'-compressed' * bool(each[1])}", marks=pytest.mark.rare
        )
        for each in RARE
    ),
)

# Of the lines of the source, those at which more or less was allocated when we looked
# than right before and after: for the process that asked the kernel, say.
MOVED = 0.2

# How many pages a guest is asked to give back.
BALLOON = 1024

# What pagedbg says between two times that the kernel does.
ASKED = (
    "!cat /proc/allocinfo; echo ===",
    "owners --by site --format jsonl",
    "!echo ===; cat /proc/allocinfo",
)

Counters = dict[str, tuple[int, int]]
"""Bytes and calls by site."""


def allocinfo(text: str) -> Counters:
    """What the kernel says, with sites as pagedbg writes them."""
    found: Counters = {}
    for line in text.splitlines():
        match = re.fullmatch(
            r" *(-?\d+) +(\d+) (\S+:\d+)( \[\S+\])? func:(\S+)( accurate:no)? ?",
            line,
        )
        if match is None:
            assert line.startswith(("allocinfo - version", "#")), line
            continue
        size, calls, place, module, function, _ = match.groups()
        site = f"{place} {function}{module or ''}"
        before = found.get(site, (0, 0))
        found[site] = before[0] + int(size), before[1] + int(calls)
    return found


def still(before: str, after: str) -> Counters:
    """The lines of the source at which nothing happened in between."""
    first, second = allocinfo(before), allocinfo(after)
    return {site: sums for site, sums in first.items() if second.get(site) == sums}


def rows_of(answer: Answer) -> list[dict[str, Any]]:
    assert answer.status == 0, answer.stderr
    return [json.loads(line) for line in answer.stdout.splitlines()]


def counters_of(rows: list[dict[str, Any]]) -> Counters:
    return {row["site"]: (row["tag_bytes"], row["tag_calls"]) for row in rows}


@dataclasses.dataclass(frozen=True)
class Tagged:
    """A guest's dump, and what was said in it before."""

    core: Path
    live: str
    allocinfo: tuple[str, str]
    blocks: dict[str, tuple[int, int, int]]
    others: dict[str, list[int]]
    """Page frames of a page pool and of an area, and how many others have."""

    def ask(self, *arguments: str) -> Answer:
        """Ask the dump."""
        return pagedbg("--no-pager", "-c", self.core, *arguments)

    def rows(self, *commands: str) -> list[dict[str, Any]]:
        asked = [word for command in commands for word in ("-e", command)]
        return rows_of(self.ask("--format", "jsonl", *asked))


@pytest.fixture(scope="module", params=KERNELS)
def booted(request: pytest.FixtureRequest) -> tuple[str, str]:
    """A kernel, and what it is told."""
    found: tuple[str, str] = request.param
    return found


@pytest.fixture(scope="module")
def tagged(
    booted: tuple[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Tagged]:
    """A guest with blocks of a module, and with pages that a gone one has left."""
    out = tmp_path_factory.mktemp("tags")
    name, told = booted
    kernel = kernels.build(name, say=print)
    CONSOLES.mkdir(parents=True, exist_ok=True)
    with Guest(
        kernel,
        memory="384M",
        page_owner=False,
        append=f"cma=16M slub_debug=U,pagedbg_objects {told}",
        console=CONSOLES / "tags",
    ) as machine:

        def sh(script: str) -> str:
            return machine.run(["sh", "-c", script], timeout=PATIENCE).check().text

        sh(f"""
            insmod {modules.blocks_module(kernel)}
            insmod {modules.holders_module(kernel)}
            echo 32 >/sys/kernel/debug/cma/reserved/alloc
            insmod {modules.leaky_module(kernel)}
            echo rx 7 >/proc/leaky
            rmmod leaky
        """)
        asked = [word for command in ASKED for word in ("-e", command)]
        live = machine.run([PAGEDBG, *asked], timeout=PATIENCE).check().text
        held = [line.split() for line in sh("cat /proc/pagedbg_blocks").splitlines()]
        others = sh("""
            cat /proc/pagedbg_holders
            echo cma $(cat /sys/kernel/debug/cma/reserved/used)
            cd /sys/kernel/debug/slab/pagedbg_objects
            echo traces $(grep -c pagedbg_object alloc_traces)
            awk '/ age=/ { print "allocated " $1 }' alloc_traces
            echo tables $(awk '/VmPTE/ { print $2 / 4 }' /proc/1/status)
        """) + sh(PAGE_POOLS + USER_PAGES)
        said = sh("cat /proc/allocinfo; echo ===; cat /proc/allocinfo").split("===\n")
        core = dump.dump(machine, out / "vmcore", timeout=PATIENCE).core
    yield Tagged(
        core,
        live,
        (said[0], said[1]),
        {name: (int(order), int(pfn), int(pages)) for name, order, pfn, pages in held},
        _numbers(others),
    )


PAGE_POOLS = f"{sys.executable} -I {Path(__file__).with_name('page_pools.py')}"
USER_PAGES = f"""
    mkdir -p {OUT}
    truncate -s 8M /run/swap.img
    swap=$(losetup --find --show /run/swap.img)
    mkswap $swap >/dev/null
    swapon $swap
    {sys.executable} -I {Path(__file__).with_name("user_pages.py")} {OUT}/user </dev/null >{OUT}/said 2>&1 &
    until [ -s {OUT}/user ]; do kill -0 $! || {{ cat {OUT}/said >&2; exit 1; }}; sleep 0.1; done
    cat {OUT}/user
    awk '$5 ~ /^(system|udmabuf)$/ {{ print "buffer-" $5, $1 / 4096 }}' /sys/kernel/debug/dma_buf/bufinfo
"""  # noqa: E501


@pytest.fixture(scope="module")
def owned(booted: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Tagged:
    """What a guest that has both, tags and page_owner, ended as."""
    out = tmp_path_factory.mktemp("owned")
    name, told = booted
    kernel = kernels.build(name, say=print)
    with Guest(
        kernel,
        memory="384M",
        append=told,
        qemu_opts=["-device", "virtio-balloon-pci"],
        console=CONSOLES / "owned",
    ) as machine:
        give_back(machine, 384 << 20, BALLOON)
        script = f"insmod {modules.holders_module(kernel)}; cat /proc/pagedbg_holders"
        said = [
            machine.run(["sh", "-ec", each], timeout=PATIENCE).check().text
            for each in (script, USER_PAGES)
        ]
        core = dump.dump(machine, out / "vmcore", timeout=PATIENCE).core
    return Tagged(core, "", ("", ""), {}, _numbers("".join(said)))


def _numbers(text: str) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for line in text.splitlines():
        word, number = line.split()
        found.setdefault(word, []).append(int(number))
    return found


@pytest.fixture(scope="module")
def sites(tagged: Tagged) -> list[dict[str, Any]]:
    """What the dump says of each line of the source."""
    return tagged.rows("owners --by site")


def same(ours: Counters, theirs: Counters) -> None:
    """Lines at which nothing happened have the same counters, but for some."""
    assert len(theirs) > 1000
    counted = {site: sums for site, sums in theirs.items() if any(sums)}
    assert len(counted) > 200
    wrong = {
        site: (ours.get(site), sums)
        for site, sums in counted.items()
        if ours.get(site) != sums
    }
    assert len(wrong) <= MOVED * len(counted), wrong


def test_live_counters_are_those_of_allocinfo(tagged: Tagged) -> None:
    before, ours, after = tagged.live.split("===\n")
    rows = [json.loads(line) for line in ours.splitlines()]
    same(counters_of(rows), still(before, after))


def test_counters_in_the_dump_are_those_of_allocinfo(
    tagged: Tagged, sites: list[dict[str, Any]]
) -> None:
    same(counters_of(sites), still(*tagged.allocinfo))


def test_pages_are_exactly_as_many_as_their_counters_say(
    sites: list[dict[str, Any]],
) -> None:
    """Of each line that allocates pages, which its counter has and nothing else."""
    wrong: dict[str, Any] = {}
    exact = 0
    for row in sites:
        site, pages, calls = row["site"], row["pages"], row["tag_calls"]
        # One has given a half back behind the kernel's back, and nobody counts for a
        # module that is gone.
        gone = "leaky_rx_refill" in site or "a module that is gone" in site
        if not pages or "half_freed" in site or gone:
            continue
        # What vmalloc() describes an area with is counted where the area is.
        objects = calls - row["blocks"]
        beside = row["tag_bytes"] - 4096 * pages
        exact += not objects
        if not (beside == 0 if objects <= 0 else 0 < beside <= 4096 * objects):
            wrong[site] = (pages, row["tag_bytes"], row["blocks"], calls)
    assert exact > 30
    assert wrong == {}


def test_slab_objects_are_counted_where_they_have_no_pages_of_their_own(
    sites: list[dict[str, Any]],
) -> None:
    of_objects = [row for row in sites if row["tag_calls"] and not row["pages"]]
    assert len(of_objects) > 100
    assert all(row["blocks"] == row["bytes"] == 0 for row in of_objects)


def test_slab_objects_are_those_that_the_counters_have(
    tagged: Tagged, sites: list[dict[str, Any]]
) -> None:
    """Of each line: what is no page of its own is an object."""
    found: dict[str, tuple[int, int]] = {}
    for row in tagged.rows("memory --section objects"):
        if row["witness"] == "tag":
            objects, size = found.get(row["site"], (0, 0))
            found[row["site"]] = objects + row["objects"], size + row["bytes"]
    counted = {
        row["site"]: (
            row["tag_calls"] - row["blocks"],
            row["tag_bytes"] - 4096 * row["pages"],
        )
        for row in sites
        # One has given pages back behind the kernel's back.
        if row["tag_calls"] and "half_freed" not in row["site"]
    }
    counted = {site: sums for site, sums in counted.items() if any(sums)}
    assert len(counted) > 300
    # The guest was stopped wherever it was: an object may be counted or not yet.
    wrong = {
        site: (found.get(site), counted.get(site))
        for site in found.keys() | counted
        if found.get(site) != counted.get(site)
    }
    assert len(wrong) <= 2, wrong


def test_objects_by_call_path_are_as_many_as_the_kernel_says(tagged: Tagged) -> None:
    rows = tagged.rows("memory --section objects")
    tracked = [row for row in rows if row["witness"] == "track"]
    assert {row["cache"] for row in tracked} == {"pagedbg_objects"}
    # The first words of debugfs' lines are how many.
    assert sorted(row["objects"] for row in tracked) == sorted(
        tagged.others["allocated"]
    )
    assert sum(row["objects"] for row in tracked) == 39
    assert all(
        any(frame.startswith("pagedbg_object+") for frame in row["stack"])
        for row in tracked
    )


def test_a_report_has_who_allocated_slab_objects(
    tagged: Tagged, tmp_path: Path
) -> None:
    page = tmp_path / "report.html"
    answer = tagged.ask("-e", f"report {page}")
    assert answer.status == 0, answer.stderr
    assert "Slab objects by who allocated them, 15 of " in page.read_text()


def test_each_block_of_the_module_is_allocated_where_its_function_is(
    tagged: Tagged,
) -> None:
    held = {name: pfn for name, (_, pfn, pages) in tagged.blocks.items() if pages}
    rows = tagged.rows(*(f"inspect pfn {pfn}" for pfn in held.values()))
    found = [row["site"] for row in rows]
    assert len(found) > 5
    for name, site in zip(held, found, strict=True):
        assert re.fullmatch(
            rf"\S*blocks\.c:\d+ pagedbg_alloc_{name} \[pagedbg_blocks\]", site
        ), (name, site)


def test_every_page_of_a_block_without_gfp_comp_has_its_line(tagged: Tagged) -> None:
    order, pfn, pages = tagged.blocks["order3"]
    assert (order, pages) == (3, 8)
    rows = tagged.rows(f"inspect pfn {pfn}+8")
    assert len(rows) == 8 and len({row["site"] for row in rows}) == 1
    (block,) = tagged.rows(f"owners --pfns {pfn}+8 --no-stack")
    assert (block["pfn"], block["order"], block["pages"]) == (pfn, 3, 8)
    assert block["site"] == rows[0]["site"]
    assert block["comm"] is block["pid"] is block["gfp"] is block["ts_ns"] is None


def test_who_holds_pages_is_said_by_every_command(tagged: Tagged) -> None:
    def pages(command: str) -> int:
        rows = tagged.rows(command)
        return sum(row["pages"] for row in rows if row["module"] == "pagedbg_blocks")

    held = pages("owners --by module")
    assert held > 512
    assert pages("memory --by module") == held
    assert pages("blocks --by module") == held
    of_sites = tagged.rows("blocks --by module,site")
    assert held == sum(
        row["pages"] for row in of_sites if "[pagedbg_blocks]" in (row["site"] or "")
    )
    by_stack = tagged.rows("owners --module pagedbg_blocks --by stack")
    assert sum(row["pages"] for row in by_stack) == held
    known = {row["stack"][0] for row in tagged.rows("stacks")}
    assert {row["stack"][0] for row in by_stack} <= known
    unaccounted = tagged.rows("memory --section unaccounted")
    assert any(row["module"] == "pagedbg_blocks" for row in unaccounted)


def test_a_module_that_is_gone_is_said_to_be(
    tagged: Tagged, sites: list[dict[str, Any]]
) -> None:
    left = [
        row
        for row in sites
        if "leaky_rx_refill" in row["site"] or "a module that is gone" in row["site"]
    ]
    assert sum(row["pages"] for row in left) == 7


def test_what_tags_do_not_know_is_said(tagged: Tagged) -> None:
    answer = tagged.ask("-e", "owners --by comm")
    assert answer.status == 1 or answer.status == 2
    assert "page_owner is off, and allocation tags have no comm" in answer.stderr
    answer = tagged.ask("-e", "owners --by site --top 1")
    assert "page_owner is off: who holds pages is what allocation tags say" in (
        answer.stdout + answer.stderr
    )


def test_a_snapshot_keeps_it_and_two_of_them_are_compared(
    tagged: Tagged, tmp_path: Path
) -> None:
    full, plain = tmp_path / "full", tmp_path / "plain"
    answer = tagged.ask(
        *("-e", f"snapshot save --full {full}", "-e", f"snapshot save {plain}")
    )
    assert answer.status == 0, answer.stderr
    for key in ("site", "function"):
        held = {row[key]: row["pages"] for row in tagged.rows(f"owners --by {key}")}
        held = {name: pages for name, pages in held.items() if pages}
        assert len(held) > 20
        for path in (full, plain):
            asked = ("--no-pager", "--snapshot", path, "--format", "jsonl", "-e")
            kept = rows_of(pagedbg(*asked, f"owners --by {key}"))
            assert {row[key]: row["pages"] for row in kept} == held
            # Nobody holds more, or less.
            assert tagged.rows(f"diff {path} --section owners --by {key}") == []
    objects = "memory --section objects"
    asked = ("--no-pager", "--snapshot", plain, "--format", "jsonl", "-e", objects)
    assert rows_of(pagedbg(*asked)) == tagged.rows(objects)


# ---- what other structures name ----


def test_pages_of_a_page_pool_are_its_devices(tagged: Tagged) -> None:
    pfns = tagged.others["pool"]
    assert len(pfns) == 5
    for page in tagged.rows(*(f"inspect pfn {pfn}" for pfn in pfns)):
        assert re.fullmatch(r"page pool \d+ of lo", page["holder"])
        assert (page["kind"], page["witness"]) == ("page pool", "tag")
        assert "page_pool.c:" in page["site"]


def test_each_page_pool_has_as_many_pages_as_the_kernel_says(tagged: Tagged) -> None:
    said = {
        f"page pool {name.removeprefix('pool-')} of lo": pages
        for name, pages in tagged.others.items()
        if name.startswith("pool-")
    }
    assert sum(pages for (pages,) in said.values()) >= 5
    rows = tagged.rows("memory --by holder --kind 'page pool'")
    assert {row["holder"]: [row["pages"]] for row in rows} == said


def test_pages_of_vmalloc_are_their_callers(tagged: Tagged) -> None:
    pfns = tagged.others["vmalloc"]
    assert len(pfns) == 7
    for page in tagged.rows(*(f"inspect pfn {pfn}" for pfn in pfns)):
        assert re.fullmatch(
            r"pagedbg_vmalloc\+0x\w+/0x\w+ \[pagedbg_holders\]", page["vmalloc"]
        )


def test_what_was_taken_out_of_a_cma_area_is_its(tagged: Tagged) -> None:
    rows = tagged.rows("memory --by holder")
    (area,) = (row["pages"] for row in rows if row["holder"] == "CMA area reserved")
    assert [area] == tagged.others["cma"] == [32]


def test_memory_of_dma_buffers_is_theirs(tagged: Tagged) -> None:
    rows = tagged.rows("memory --by holder,kind")
    found = {row["holder"]: (row["kind"], row["pages"]) for row in rows}
    for exporter, kind in (("udmabuf", "shmem"), ("system", "kernel")):
        (held,) = (
            sums
            for holder, sums in found.items()
            if re.fullmatch(rf"DMA buffer \d+ of {exporter}", holder)
        )
        assert [held] == [
            (kind, pages) for pages in tagged.others[f"buffer-{exporter}"]
        ]
    pages = tagged.rows(*(f"inspect pfn {pfn}" for pfn in tagged.others["udmabuf"]))
    assert len(pages) == 4
    assert all(page["holder"].endswith(" of udmabuf") for page in pages)


def test_what_was_given_back_to_the_hypervisor_is_in_the_balloon(
    owned: Tagged,
) -> None:
    rows = owned.rows("memory --by holder,kind --kind offline")
    assert [(row["holder"], row["pages"]) for row in rows] == [("balloon", BALLOON)]


def test_secret_memory_is_said_to_be(tagged: Tagged) -> None:
    pfns = tagged.others["secret"]
    pages = tagged.rows(*(f"inspect pfn {pfn}" for pfn in pfns))
    assert len(pages) == 4
    assert {page["kind"] for page in pages} == {"secretmem"}
    assert all("secretmem" in page["detail"] for page in pages)
    (row,) = tagged.rows("memory --kind secretmem --by kind")
    assert row["pages"] == 4


def test_an_object_of_a_cache_that_is_told_to_says_who_allocated_it(
    tagged: Tagged,
) -> None:
    (address,), (traces,) = tagged.others["object"], tagged.others["traces"]
    assert traces > 0
    (page,) = tagged.rows(f"inspect virt {address:#x}")
    found = page["object"]
    assert (found["address"], found["allocated"]) == (f"{address:#x}", True)
    assert any(
        re.fullmatch(r"pagedbg_object\+0x\w+/0x\w+ \[pagedbg_holders\]", frame)
        for frame in found["stack"]
    )


def test_doctor_has_each_witness(tagged: Tagged) -> None:
    rows = {row["capability"]: row for row in tagged.rows("doctor")}
    found = {
        name: rows[name]["detail"]
        for name in ("slab tracks", "CMA areas")
        if rows[name]["state"] == "yes"
    }
    assert found == {
        "slab tracks": "of pagedbg_objects",
        "CMA areas": "1, each with which of its pages are taken",
    }
    for name in ("vmalloc areas", "kernel stacks", "page tables", "page pools"):
        assert rows[name]["state"] == "yes", rows[name]
    assert "a page" in rows["page_owner"]["remedy"]


def test_page_tables_are_as_many_as_their_process_has(
    booted: tuple[str, str], tagged: Tagged
) -> None:
    # The uppermost ones, pgd and p4d, are not counted, and marked in 7.x only.
    marked = 0 if booted[0] == KERNEL else 2
    rows = tagged.rows("memory --by holder --kind 'page table'")
    (tables,) = (
        row["pages"]
        for row in rows
        if re.fullmatch(r"page tables of \S+ \(pid 1\)", row["holder"])
    )
    assert tagged.others["tables"] == [tables - marked]


def test_less_than_two_pages_of_a_hundred_have_no_name(tagged: Tagged) -> None:
    answer = tagged.ask("-e", "memory")
    assert answer.status == 0, answer.stderr
    share = re.search(r"Nobody names ([\d,]+) pages, ([\d.]+)% of", answer.stdout)
    assert share and float(share[2]) < 2


# ---- what is to be said against an owner on record ----


def doubts(dumped: Tagged, how: str) -> list[tuple[str, str]]:
    """What is said of pages that are held in a way, with what names their holder."""
    pages = dumped.rows(*(f"inspect pfn {pfn}" for pfn in dumped.others[how]))
    return [(page["witness"], "; ".join(page["doubts"] or ())) for page in pages]


def test_who_had_a_page_before_it_was_moved_or_in_swap_is_not_on_record(
    owned: Tagged, tagged: Tagged
) -> None:
    moved = doubts(owned, "moved")
    assert len(moved) == 4
    assert all(
        witness == "page_owner" and said.startswith("the page was moved here (")
        for witness, said in moved
    )
    for dumped, witness in ((owned, "page_owner"), (tagged, "tag")):
        swapped = doubts(dumped, "swapped")
        assert len(swapped) == 4
        assert {each for each, _ in swapped} == {witness}
        assert all("the page was read back from swap" in said for _, said in swapped)


def test_where_page_owner_and_the_tag_disagree_both_are_shown(owned: Tagged) -> None:
    (pfn,) = owned.others["table"]
    (page,) = owned.rows(f"inspect pfn {pfn}")
    assert "pagedbg_table [pagedbg_holders]" in page["site"]
    assert any(frame.startswith("rht_deferred_worker+") for frame in page["stack"])
    assert page["doubts"] == [
        "page_owner's call path does not have pagedbg_table, which the allocation tag"
        " names"
    ]
    assert (
        f"but           {page['doubts'][0]}"
        in owned.ask("-e", f"inspect pfn {pfn}").stdout
    )


def test_nothing_is_said_where_the_compiler_has_inlined_what_a_tag_names(
    owned: Tagged,
) -> None:
    rows = owned.rows("inspect pfn 0x1000-0x5fff")
    both = [row for row in rows if row["site"] and row["witness"] == "page_owner"]
    assert len(both) > 1000
    wrong = [row for row in both if "call path" in "; ".join(row["doubts"] or ())]
    # An interrupt's allocation may have got the tag of what it came between.
    others = [row for row in wrong if row["function"] != "bucket_table_alloc"]
    assert len(others) < len(both) / 100, others

# SPDX-License-Identifier: GPL-2.0-or-later
"""
``memory`` on a dump: sums that close to the last page, against the kernel's counters,
drgn's helpers and what the guest's workload is known to have made.
"""

from __future__ import annotations

import collections
import json
import re
from typing import Any

import pytest
from changed_memory import Changed
from drgn.helpers.linux.mm import virt_to_pfn, vmalloc_to_pfn
from drgn.helpers.linux.pid import for_each_task
from drgn.helpers.linux.slab import (
    for_each_slab_cache,
    slab_cache_pages_per_slab,
    slab_cache_usage,
)
from known import DATA, ORDINARY, SAMPLE, Ask, Oracle, Row, Run, asking

from pagedbg.mm.page_array import PageDecoder
from pagedbg.mm.page_owner import special_handles
from pagedbg.schema.settings import Settings
from pagedbg.session import Session
from pagedbg.shell.command import NAMESPACE
from pagedbg.sources.memory_counters import UNCOUNTED
from pagedbg.sources.stack_frames import function_of
from pagedbg.target.opening import open_target
from pagedbg.target.target import Target

# What the kernel counts under slab, and whose pages do not say so in 6.12.
LARGE_KMALLOC = ("___kmalloc_large_node", "__kmalloc_large_node_noprof")


@pytest.fixture(scope="session")
def ask(sample: Target) -> Ask:
    """What a command says as JSON."""
    return asking(sample)


@pytest.fixture(scope="session")
def kinds(ask: Ask) -> dict[tuple[str, str | None], Row]:
    """The rows of ``memory``."""
    return {(row["kind"], row["detail"]): row for row in ask("memory")}


def pages(rows: list[Row]) -> int:
    return sum(row["pages"] for row in rows)


def test_all_kinds_are_all_of_ram(
    kinds: dict[tuple[str, str | None], Row], oracle: Oracle
) -> None:
    present = sum(zone["present"] for zone in oracle.zones)
    inside = [row for key, row in kinds.items() if key != ("reserved", "firmware")]
    assert pages(inside) == present
    for row in inside:
        assert row["bytes"] == row["pages"] * 4096
        assert abs(row["ram_share"] - 100 * row["pages"] / present) <= 0.00501


def test_free_and_reserved_memory_are_what_the_zones_say(
    kinds: dict[tuple[str, str | None], Row], oracle: Oracle
) -> None:
    free = sum(
        blocks << order
        for zone in oracle.zones
        for order, blocks in enumerate(zone["nr_free"])
    )
    assert kinds["free", None]["pages"] == free
    kept = sum(zone["present"] - zone["managed"] for zone in oracle.zones)
    reserved = [
        row
        for (kind, detail), row in kinds.items()
        if kind in ("reserved", "zero") and detail != "firmware"
    ]
    assert pages(reserved) == kept


def test_the_kernels_counters_have_the_same_pages(
    kinds: dict[tuple[str, str | None], Row], ask: Ask
) -> None:
    counted = {
        row["counter"]: row for row in kinds.values() if row["counted"] is not None
    }
    assert len(counted) >= 11
    differences = {name: row["difference"] for name, row in counted.items()}
    slab = differences.pop("NR_SLAB_RECLAIMABLE_B + NR_SLAB_UNRECLAIMABLE_B")
    # Stacks that a CPU keeps for the next task are not counted, four pages each.
    stacks = differences.pop("NR_KERNEL_STACK_KB")
    assert stacks % 4 == 0
    assert 0 <= stacks <= 2 * 2 * 4
    assert set(differences.values()) == {0}
    kernel = ask("owners --kind kernel --by stack")
    large = sum(
        row["pages"]
        for row in kernel
        if any(frame.startswith(LARGE_KMALLOC) for frame in row["stack"])
    )
    # Of what was allocated before page_owner was ready nobody knows.
    early = sum(
        row["pages"]
        for row in kernel
        if row["stack"][0].startswith("register_early_stack")
    )
    assert 0 < large <= -slab <= large + early


def test_meminfo_of_the_guest_is_near(
    kinds: dict[tuple[str, str | None], Row],
) -> None:
    text = (DATA / "ordinary.meminfo").read_text()
    said = {name: int(kib) // 4 for name, kib in re.findall(r"(\S+): +(\d+) kB", text)}
    # It was read shortly before the guest was stopped.
    for kind, name in (
        ("anon", "AnonPages"),
        ("shmem", "Shmem"),
        ("page table", "PageTables"),
        ("kernel stack", "KernelStack"),
    ):
        assert abs(kinds[kind, None]["pages"] - said[name]) < 0.15 * said[name] + 32
    assert kinds["hugetlb", None]["pages"] == said["Hugetlb"]
    assert pages(list(kinds.values())) - 18 - said["MemTotal"] == sum(
        row["pages"]
        for (kind, detail), row in kinds.items()
        if kind in ("reserved", "zero") and detail != "firmware"
    )


def test_the_stacks_of_all_tasks_are_kernel_stacks(sample: Target) -> None:
    prog = sample.prog
    kinds = {
        pfn: page.kinds[page.kind[pfn - page.first]]
        for page in PageDecoder(prog).pieces(0, prog["max_pfn"].value_())
        for pfn in range(page.first, page.first + len(page))
    }
    found = set()
    for task in for_each_task(prog):
        stack = task.stack.value_()
        found |= {
            vmalloc_to_pfn(prog, stack + offset).value_()
            for offset in range(0, 16384, 4096)
        }
    assert len(found) > 100
    assert {kinds[pfn] for pfn in found} == {"kernel stack"}
    # The others are of idle tasks, and kept for the next.
    more = sum(kind == "kernel stack" for kind in kinds.values()) - len(found)
    assert 0 <= more <= 5 * 4
    for nr, part in enumerate(("records", "stacks")):
        address = (prog["page_ext_size"], prog["stack_pools"][0])[nr]
        if part == "stacks":
            assert kinds[virt_to_pfn(address).value_()] == "stack depot"


def test_the_records_of_page_owner_were_allocated_for_them(
    ask: Ask, oracle: Oracle
) -> None:
    # By page_owner's own account: as page_ext was made before it could write.
    rows = ask("owners --kind page_ext --by function")
    assert [row["function"] for row in rows] == ["(before page_owner was ready)"]
    # A section of 32,768 pages, each with 72 bytes.
    assert pages(rows) == 32768 * 72 // 4096


def test_slab_by_cache_has_the_slabs_and_objects_of_each(
    ask: Ask, sample: Target
) -> None:
    rows = {row["cache"]: row for row in ask("memory --by cache")}
    expected: dict[str, collections.Counter[str]] = {}
    for cache in for_each_slab_cache(sample.prog):
        usage = slab_cache_usage(cache)
        if usage.num_slabs:
            sums = expected.setdefault(
                cache.name.string_().decode(), collections.Counter()
            )
            sums["pages"] += usage.num_slabs * int(slab_cache_pages_per_slab(cache))
            sums["objects"] += usage.num_objs
            sums["active"] += usage.num_objs - usage.free_objs
    assert {
        name: {key: row[key] for key in ("pages", "objects", "active")}
        for name, row in rows.items()
    } == {name: dict(sums) for name, sums in expected.items()}


def test_files_are_named_and_have_their_pages(ask: Ask) -> None:
    rows = {row["file"]: row["pages"] for row in ask("memory --by file")}
    # dd wrote it.
    assert rows["/mnt/noise"] == 16 * 64 // 4
    assert "/usr/bin/python3.11" in rows
    kinds = {row["kind"]: row["pages"] for row in ask("memory --by kind")}
    assert sum(rows.values()) == sum(
        kinds[kind] for kind in ("file", "shmem", "block device")
    )


@pytest.mark.parametrize(
    "by",
    [
        *("kind", "zone", "node", "memcg", "module", "function", "comm", "order"),
        *("pageblock_type", "pageblock", "age", "kind,zone,order", "migratetype"),
    ],
)
def test_each_sum_is_all_of_ram(by: str, ask: Ask, oracle: Oracle) -> None:
    assert pages(ask(f"memory --by {by}")) == sum(
        zone["present"] for zone in oracle.zones
    )


@pytest.mark.parametrize("by", ["comm", "pid", "module", "function", "order", "gfp"])
def test_pages_with_an_owner_are_those_of_owners(by: str, ask: Ask) -> None:
    """And what owners says is compared with drgn elsewhere."""
    chosen = f"--stack . --by {by}"
    ours = {row[by]: row["pages"] for row in ask(f"memory {chosen}")}
    theirs = {row[by]: row["pages"] for row in ask(f"owners {chosen}")}
    assert ours == theirs


@pytest.mark.parametrize("by", ["pid", "gfp", "migratetype", "comm", "function"])
def test_pages_that_nobody_is_known_to_have_allocated_are_nobodys(
    by: str, ask: Ask
) -> None:
    ours = {row[by]: row["pages"] for row in ask(f"memory --by {by}")}
    theirs = {row[by]: row["pages"] for row in ask(f"owners --by {by}")}
    total = sum(ours.values())
    assert ours.pop(None) == total - sum(theirs.values()) > 0
    assert ours == theirs


@pytest.mark.parametrize("by", ["kind", "cache", "file", "memcg", "pageblock_type"])
def test_owners_by_what_the_pages_are_has_as_many_pages(by: str, ask: Ask) -> None:
    name = {"pageblock_type": "pageblock_migratetype"}.get(by, by)
    recorded = {row[name]: row["pages"] for row in ask(f"owners --by {by}")}
    all_ = {row[name]: row["pages"] for row in ask(f"memory --stack . --by {by}")}
    if by in ("cache", "file"):
        del recorded[None]
    assert recorded == all_


def test_what_no_counter_has_is_of_its_kinds_and_names_the_driver(
    ask: Ask, kinds: dict[tuple[str, str | None], Row], oracle: Oracle
) -> None:
    rows = ask("memory --unaccounted --by kind,module,function")
    assert {row["kind"] for row in rows} <= set(UNCOUNTED)
    assert pages(rows) == sum(
        row["pages"] for (kind, _), row in kinds.items() if kind in UNCOUNTED
    )
    blocks = {
        name: int(held)
        for name, _, _, held in (
            line.split()
            for line in (DATA / "ordinary.pagedbg_blocks").read_text().splitlines()
        )
    }
    driver = {
        row["function"].removeprefix("pagedbg_alloc_"): row["pages"]
        for row in rows
        if row["module"] == "pagedbg_blocks"
    }
    assert driver == {name: held for name, held in blocks.items() if held}
    # page_owner's records by drgn, a page at a time.
    special = special_handles(open_target(str(ORDINARY)).prog)
    by_function: collections.Counter[str] = collections.Counter()
    for record in oracle.pages.values():
        if record["state"] == "allocated" and record["handle"] not in special:
            frames = [name for _, name in oracle.stacks[record["handle"]] if name]
            by_function[function_of([f"{name}+0x0/0x0" for name in frames]) or ""] += 1
    for row in rows:
        if row["function"] and row["module"]:
            assert row["pages"] <= by_function[row["function"]]


def test_the_incidents_driver_is_first_of_what_no_counter_has(pagedbg: Run) -> None:
    rows = pagedbg.json(
        "memory", "--unaccounted", "--by", "module,function", core=SAMPLE
    )
    first = rows[0]
    assert first["module"] == "leaky"
    assert (first["function"], first["pages"]) == ("leaky_rx_refill", 796)


def test_the_screen_has_all_parts_and_closes(pagedbg: Run) -> None:
    done = pagedbg("-c", SAMPLE, "memory")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Total: 32,637 pages of RAM, and beside it 18 firmware.\n" in done.stdout
    assert "does not close" not in done.stdout
    assert "explain order 4" in done.stdout
    assert "The largest block that can be had now:" in done.stdout
    assert "leaky_rx_refill" in done.stdout


def test_each_part_is_there_for_programs(ask: Ask) -> None:
    (pool,) = ask("memory --section pools")
    assert (pool["pool"], pool["pages"], pool["unused"]) == ("hugetlb", 1024, 1024)
    assert {row["zone"]: row["order"] for row in ask("memory --section largest")} == {
        "DMA": 10,
        "DMA32": 10,
    }
    processes = ask("memory --section processes")
    assert [row["comm"] for row in processes[:2]] == ["python3", "dd"]
    health = ask("memory --section health")
    assert {row["check"] for row in health} >= {"fragmentation", "slab", "unaccounted"}
    assert not any(row["unusual"] for row in health)
    assert ask("memory --section kinds") == ask("memory")
    # The kernel of this dump does not count them.
    assert ask("memory --section events") == []
    few = ask("memory --section processes --sort comm --top 2")
    assert few == sorted(processes, key=lambda row: row["comm"])[:2]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("memory --by nothing", "'nothing' is nothing to sum up by"),
        ("memory --kind nothing", "there is no kind 'nothing' here, only free, slab"),
        ("memory --section pools --by kind", "--section is a part of the screen"),
        ("memory --section health --comm x", "--comm chooses among pages"),
        ("memory --section nothing", "invalid choice"),
        ("memory --section objects", "it takes allocation tags, or slub_debug=U"),
    ],
)
def test_what_was_mistyped_is_said_in_a_sentence(
    words: str, said: str, pagedbg: Run
) -> None:
    done = pagedbg("-c", ORDINARY, "-e", words)
    assert done.returncode != 0
    assert said in done.stderr
    assert done.stdout == ""


def memory_of(changed: Changed) -> tuple[list[Any], str]:
    """The rows of ``memory`` of changed memory, and what text says below them."""
    import contextlib
    import io

    Session(changed.target, settings=Settings(pager="off")).keep()
    out, text = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out):
        NAMESPACE.run(changed.prog, "memory --format json")
    with contextlib.redirect_stdout(text):
        NAMESPACE.run(changed.prog, "memory")
    return json.loads(out.getvalue()), text.getvalue()


def test_pages_that_are_missing_are_counted_as_such(changed: Changed) -> None:
    before = pages(memory_of(changed)[0])
    # 64 struct pages of 4 KiB that the dump does not have.
    changed.gone.add(10)
    rows, text = memory_of(changed)
    after = {row["kind"]: row["pages"] for row in rows}
    assert after["not in the dump"] == 64
    assert pages(rows) == before
    assert "does not close" not in text


def test_a_counter_and_its_pages_that_differ_are_said_to(changed: Changed) -> None:
    shmem = next(row for row in memory_of(changed)[0] if row["kind"] == "anon")
    pfn = next(
        page.first + int((page.kind == page.kinds.index("anon")).argmax())
        for page in PageDecoder(changed.prog).pieces(0, changed.end)
    )
    changed.put(pfn, "mapping", 0)
    rows = {row["kind"]: row for row in memory_of(changed)[0]}
    assert shmem["difference"] == 0
    assert rows["anon"]["difference"] == -1

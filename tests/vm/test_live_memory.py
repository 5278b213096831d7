# SPDX-License-Identifier: GPL-2.0-or-later
"""
``memory`` in booted kernels against what the kernel says of its pages, and exactly in
the dump that the guest ended as.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from booted import Live, pagedbg
from numpy.typing import NDArray
from partial_slabs import partial_slabs

from pagedbg.mm.page_array import Detail, PageDecoder
from pagedbg.mm.page_state import PageState, decode_page_flags, page_states
from pagedbg.target.opening import open_target

# include/uapi/linux/kernel-page-flags.h
KPF = {
    "slab": 7,
    "buddy": 10,
    "anon": 12,
    "swapbacked": 14,
    "hugetlb": 17,
    "nopage": 20,
    "ksm": 21,
    "zero": 24,
    "page table": 26,
    "reserved": 32,
}

# Stacks that each of two CPUs keeps for the next task: NR_CACHED_STACKS of 16 KiB.
CACHED_STACKS = 2 * 2 * 4

# A stack is not counted from exit_task_stack_account() on, and is freed after one of
# RCU's grace periods: those of the processes that have just ended.
ENDING_STACKS = 16 * 4

# Pages that something else happened to in between, and that were then as before.
MOVED = 64


class Kinds:
    """Pages of which the kernel said the same before and after we looked."""

    def __init__(self, live: Live) -> None:
        assert live.answers["kinds"].status == 0, live.answers["kinds"].stderr
        with np.load(live.core.parent / "kinds.npz") as said:
            self._said = dict(said)
        self.still = np.ones(len(self._said["kind"]), np.bool_)
        for name in ("kpageflags", "kpagecount", "kpagecgroup"):
            self.still &= self._said[f"{name}_before"] == self._said[f"{name}_after"]
        self.names = self._said["kinds"].tolist()
        # What the decoder took for itself and gave back before the kernel was asked
        # again: free then, and on no list or on that of the buddy allocator.
        free = np.isin(self._said["kpageflags_after"], (0, 1 << KPF["buddy"]))
        own = free & (self._said["kind"] == self.names.index("anon"))
        self.still &= ~own
        self.own = int(np.count_nonzero(own))

    def __getitem__(self, name: str) -> NDArray[Any]:
        column: NDArray[Any] = self._said[name][self.still]
        return column

    def kind(self, *names: str) -> NDArray[np.bool_]:
        codes = [self.names.index(name) for name in names]
        return np.isin(self["kind"], codes)

    def flag(self, name: str) -> NDArray[np.bool_]:
        bit = np.uint64(1 << KPF[name])
        flagged: NDArray[np.bool_] = self["kpageflags_after"] & bit != 0
        return flagged


@pytest.fixture(scope="module")
def kinds(live: Live) -> Kinds:
    """What both said of all pages of the guest."""
    return Kinds(live)


def different(ours: NDArray[np.bool_], theirs: NDArray[np.bool_]) -> int:
    """How many pages differ; of some thousand none or hardly one has moved."""
    assert theirs.any()
    return int(np.count_nonzero(ours != theirs))


def test_most_pages_stayed_as_they_were(kinds: Kinds) -> None:
    assert kinds.still.mean() > 0.95
    assert kinds.own < 4 * MOVED


@pytest.mark.parametrize("kind", ["slab", "hugetlb", "page table"])
def test_kinds_are_those_of_kpageflags(kinds: Kinds, kind: str) -> None:
    assert different(kinds.kind(kind), kinds.flag(kind)) <= MOVED


def test_anonymous_memory_is_that_of_kpageflags(kinds: Kinds) -> None:
    # Pages of hugetlbfs may be anonymous, too, and of slabs 6.12 looks at a word that
    # means something else there.
    theirs = kinds.flag("anon") & ~kinds.flag("hugetlb") & ~kinds.flag("slab")
    assert theirs.sum() > 100 * MOVED
    assert different(kinds.kind("anon", "ksm"), theirs) <= MOVED


def test_free_pages_are_those_of_kpageflags(kinds: Kinds) -> None:
    buddy = kinds.kind("free") & (kinds["detail"] == Detail.BUDDY)
    assert different(buddy, kinds.flag("buddy")) <= MOVED
    assert kinds.kind("free").sum() > buddy.sum()


def test_page_cache_is_what_kpageflags_says_is_neither_anonymous_nor_free(
    kinds: Kinds,
) -> None:
    shmem = kinds.kind("shmem")
    assert shmem.sum() > 256
    assert kinds.flag("swapbacked")[shmem].mean() > 0.999
    file = kinds.kind("file")
    assert file.sum() > 500
    for name in ("swapbacked", "anon", "slab", "buddy", "page table"):
        assert kinds.flag(name)[file].sum() <= 2, name


def test_pages_are_mapped_as_often_as_kpagecount_says(kinds: Kinds) -> None:
    present = ~kinds.flag("nopage")
    ours, theirs = kinds["mapcount"][present], kinds["kpagecount_after"][present]
    assert (theirs > 0).sum() > 100 * MOVED
    assert np.count_nonzero(ours != theirs.astype(np.int64)) <= MOVED


def test_memory_of_the_kernel_has_no_flag_of_something_else(kinds: Kinds) -> None:
    ours = kinds.kind("kernel", "vmalloc", "kernel stack", "module", "page_ext")
    ours |= kinds.kind("stack depot", "per-CPU")
    assert ours.sum() > 1000
    for name in ("slab", "buddy", "anon", "hugetlb", "page table", "reserved"):
        assert kinds.flag(name)[ours].sum() <= 2, name


def test_pages_are_charged_to_whom_kpagecgroup_says(live: Live, kinds: Kinds) -> None:
    paths = {
        int(number): f"/{path}"
        for number, _, path in (
            line.partition(" ")
            for line in (live.core.parent / "cgroups").read_text().splitlines()
        )
    }
    user = kinds.kind("anon", "file", "shmem")
    groups, theirs = kinds["group"][user], kinds["kpagecgroup_after"][user]
    names = kinds._said["groups"].tolist()
    pairs, counts = np.unique(np.stack((groups, theirs)), axis=1, return_counts=True)
    wrong = sum(
        count
        for group, inode, count in zip(*pairs.tolist(), counts.tolist(), strict=True)
        if inode and names[int(group)] != paths.get(int(inode))
    )
    assert (theirs > 0).sum() > 100 * MOVED
    assert wrong <= MOVED


def rows_between(text: str) -> tuple[str, list[dict[str, Any]], str]:
    """What the kernel said before, our rows, and what it said after."""
    before, *lines, after = re.split(r"^(\{.*\})\n", text, flags=re.MULTILINE)
    return before, [json.loads(line) for line in lines if line], after


def test_what_is_used_live_is_what_meminfo_says(live: Live) -> None:
    answer = live.answers["where"]
    assert answer.status == 0, answer.stderr
    before, rows, after = rows_between(answer.stdout)
    kinds: dict[str, int] = {}
    for row in rows:
        kinds[row["kind"]] = kinds.get(row["kind"], 0) + row["pages"]

    def meminfo(text: str, name: str) -> int:
        found = re.search(rf"^{name}: +(\d+) kB$", text, re.MULTILINE)
        assert found
        return int(found[1]) // 4

    for kind, name in (
        ("anon", "AnonPages"),
        ("shmem", "Shmem"),
        ("hugetlb", "Hugetlb"),
        ("page table", "PageTables"),
        ("kernel stack", "KernelStack"),
    ):
        low, high = sorted((meminfo(before, name), meminfo(after, name)))
        # What CPUs have not added yet is not in there: 125 pages each at most.
        assert low - 250 <= kinds[kind] <= high + 250, name
    outside = sum(row["pages"] for row in rows if row["detail"] == "firmware")
    reserved = kinds["reserved"] - outside + 1
    total = sum(kinds.values()) - outside - reserved
    assert abs(total - meminfo(after, "MemTotal")) < 200


def test_who_asked_vmalloc_is_whom_vmallocinfo_names(live: Live) -> None:
    answer = live.answers["vmalloc"]
    assert answer.status == 0, answer.stderr
    before, rows, after = rows_between(answer.stdout)

    def vmallocinfo(text: str) -> Counter[str]:
        found: Counter[str] = Counter()
        for line in text.splitlines():
            # The address, hashed or not; size, caller, pages and what it is.
            match = re.match(r"0x\S+ +\d+ (\S+(?: \[\S+\])?) pages=(\d+) vmalloc", line)
            if match:
                found[match[1]] += int(match[2])
        return found

    first, second = vmallocinfo(before), vmallocinfo(after)
    ours = {row["vmalloc"]: row["pages"] for row in rows}
    still = {caller for caller in first if first[caller] == second[caller]}
    assert len(still) > 5
    wrong = {
        caller: (ours.get(caller), first[caller])
        for caller in still
        if ours.get(caller) != first[caller]
    }
    # Of the stack of a task that came and went in between.
    assert len(wrong) <= 1, wrong


def test_caches_live_have_the_objects_that_slabinfo_says(live: Live) -> None:
    answer = live.answers["slab"]
    assert answer.status == 0, answer.stderr
    before, rows, after = rows_between(answer.stdout)

    def slabinfo(text: str) -> dict[str, tuple[int, int]]:
        found = re.findall(r"^(\S+) +(\d+) +(\d+) +\d+ +\d+ +\d+ :", text, re.M)
        return {name: (int(total), int(active)) for name, active, total in found}

    earlier, later = slabinfo(before), slabinfo(after)
    ours = {row["cache"]: row for row in rows}
    still = {
        name: said
        for name, said in later.items()
        if earlier.get(name) == said and name in ours
    }
    assert len(still) > 40
    for name, (total, active) in still.items():
        assert ours[name]["objects"] == total, name
        # The kernel takes all objects for used that CPUs have at hand.
        assert ours[name]["active"] <= active, name


def test_swap_and_huge_pages_are_what_the_kernel_says(live: Live) -> None:
    answer = live.answers["pools"]
    assert answer.status == 0, answer.stderr
    _, rows, swaps = rows_between(answer.stdout)
    pools = {row["pool"]: row for row in rows}
    path, _, size, used, _ = swaps.splitlines()[1].split()
    swap = pools["swap"]
    assert (swap["name"], swap["pages"]) == (path, int(size) // 4)
    assert abs(swap["pages"] - swap["unused"] - int(used) // 4) <= 64
    assert pools["hugetlb"]["pages"] == 2 * 512


def test_events_are_counted_as_the_kernel_counts_them(live: Live) -> None:
    answer = live.answers["events"]
    assert answer.status == 0, answer.stderr
    if "allocstall_dma32 " not in answer.stdout:
        assert answer.stderr.count("CONFIG_VM_EVENT_COUNTERS") == 1
        return
    before, rows, after = rows_between(answer.stdout)
    low, high = (
        {name.upper(): int(count) for name, count in map(str.split, text.splitlines())}
        for text in (before, after)
    )
    # Those of compaction have other names in the kernel's text.
    ours = {row["name"]: row["times"] for row in rows if row["name"] in high}
    assert {"PGMIGRATE_SUCCESS", "THP_FAULT_ALLOC"} <= ours.keys()
    for name, count in ours.items():
        assert low[name] <= count <= high[name], name
    compacted = {row["name"]: row["times"] for row in rows}["COMPACTMIGRATE_SCANNED"]
    scanned = "COMPACT_MIGRATE_SCANNED"
    assert low[scanned] <= compacted <= high[scanned]


def unmapped(live: Live) -> int:
    """How many pages of anonymous memory in the dump are mapped nowhere."""
    prog = open_target(str(live.core)).prog
    return sum(
        int(
            np.count_nonzero(
                pages.mapcount[pages.kind == pages.kinds.index("anon")] == 0
            )
        )
        for pages in PageDecoder(prog).pieces(0, prog["max_pfn"].value_())
    )


def test_the_dump_closes_to_the_last_page(live: Live) -> None:
    answer = pagedbg("-c", live.core, "memory", "--format", "json")
    assert answer.status == 0, answer.stderr
    rows = json.loads(answer.stdout)
    zones = json.loads(pagedbg("-c", live.core, "zones", "--format", "json").stdout)
    inside = [row for row in rows if row["detail"] != "firmware"]
    present = sum(row["present"] for row in zones)
    assert sum(row["pages"] for row in inside) == present
    differences = {
        row["counter"]: row["difference"] for row in rows if row["counted"] is not None
    }
    slab = differences.pop("NR_SLAB_RECLAIMABLE_B + NR_SLAB_UNRECLAIMABLE_B")
    stacks = differences.pop("NR_KERNEL_STACK_KB")
    kinds = {row["kind"]: row["pages"] for row in rows}
    # There pages of a large kmalloc() say so.
    assert slab == 0 if live.kernel.series == "7.3" else -kinds["kernel"] < slab < 0
    assert stacks % 4 == 0
    assert 0 <= stacks <= CACHED_STACKS + ENDING_STACKS
    # Pages that nobody maps any more, and that a CPU still has to put on a list.
    assert -2 <= differences.pop("NR_ANON_MAPPED") <= unmapped(live) + 2
    # What a CPU was just doing when it was stopped.
    assert sum(map(abs, differences.values())) <= 4, differences


def test_flags_mean_what_the_pages_are_used_for(live: Live) -> None:
    prog = open_target(str(live.core)).prog
    states = list(page_states(prog, 0, prog["max_pfn"].value_()))

    def names(state: PageState) -> set[str]:
        assert state.flags is not None
        said = decode_page_flags(prog, state.flags, state.kind, state.second)
        return set(filter(None, said.split("|")))

    # What a slab's being on such a list is called there.
    word = {"6.1": "", "6.12": "node_partial"}.get(live.kernel.series, "partial")
    slabs = [state for state in states if state.kind == "slab" and not state.second]
    assert not any("workingset" in names(state) for state in slabs)
    named = {state.pfn for state in slabs if word in names(state)}
    # A CPU may have been about to put one there.
    assert len(named ^ (partial_slabs(prog) if word else set())) <= 2
    second = [state for state in states if state.second and state.flags is not None]
    assert len(second) > 100
    for state in second:
        assert names(state) <= {
            *("has_hwpoisoned", "large_rmappable", "partially_mapped", "double_map"),
            *(["anon_exclusive"] if state.kind == "anon" else []),
        }, state


def test_what_is_left_of_a_block_is_what_its_pages_are_used_for(live: Live) -> None:
    answer = pagedbg(
        *("-c", live.core, "owners", "--module", "pagedbg_pollute"),
        *("--by", "function,kind", "--format", "json"),
    )
    assert answer.status == 0, answer.stderr
    rows = [
        row
        for row in json.loads(answer.stdout)
        if row["function"] in {piece.owner for piece in live.pieces}
    ]
    # What was given back of a block is free, and its first page with it.
    assert {(row["function"], row["kind"]) for row in rows} == {
        (piece.owner, "slab" if piece.owner == "pollute_object" else "kernel")
        for piece in live.pieces
    }


def sole_pageblocks(core: Path) -> dict[str, int]:
    """How many pageblocks each function alone keeps from being free in a dump."""
    answer = pagedbg("-c", core, "blocks", "--by", "function", "--format", "jsonl")
    assert answer.status == 0, answer.stderr
    rows = map(json.loads, answer.stdout.splitlines())
    return {row["function"]: row["sole_pageblocks"] for row in rows}


def test_a_dump_without_user_pages_has_the_same_kinds(
    live: Live, tmp_path: Path
) -> None:
    core = tmp_path / "filtered"
    subprocess.run(
        ["makedumpfile", "-l", "-d", "31", live.core, core],
        check=True,
        capture_output=True,
    )
    sums = []
    for each in (live.core, core):
        rows = json.loads(pagedbg("-c", each, "memory", "--format", "json").stdout)
        sums.append({row["kind"]: row["pages"] for row in rows if not row["detail"]})
    # What a page of a file is, its struct address_space tells, if it was not left out.
    unknown = sums[1].get("unknown", 0) - sums[0].get("unknown", 0)
    assert 0 <= sums[0]["shmem"] - sums[1]["shmem"] <= unknown
    for kind in ("free", "slab", "anon", "hugetlb", "page table"):
        assert sums[0][kind] == sums[1][kind], kind
    answer = pagedbg("-c", core, "memory")
    assert answer.status == 0, answer.stderr
    # Old versions of makedumpfile leave out pages of a new kernel's own.
    if "does not close" in answer.stdout:
        assert "could not be read" in answer.stdout
    explained = [
        pagedbg("-c", each, "explain", "order", "10", "--gfp", "0x40000")
        for each in (live.core, core)
    ]
    assert explained[0] == explained[1]
    assert "Free blocks by order" in explained[0].stdout
    # Whoever is with pages that are not known is not said to be alone.
    of_all, of_core = sole_pageblocks(live.core), sole_pageblocks(core)
    assert of_all.keys() == of_core.keys()
    assert all(of_core[name] <= count for name, count in of_all.items())


def test_the_dump_says_the_same_with_debug_info(live: Live) -> None:
    for command in (
        "memory --format json",
        "memory --by cache --format json",
        "memory --by file,memcg --format json",
        "memory --section pools --format json",
    ):
        without = pagedbg("-c", live.core, "-e", command)
        with_dwarf = pagedbg("-c", live.core, "-s", live.kernel.vmlinux, "-e", command)
        assert (without.status, with_dwarf.status) == (0, 0), without.stderr
        assert without.stdout == with_dwarf.stdout

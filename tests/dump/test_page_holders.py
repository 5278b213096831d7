# SPDX-License-Identifier: GPL-2.0-or-later
"""
Whom the kernel's structures name as the holder of a page: against what the kernel has
counted and where drgn finds the pages; and with structures that are damaged.
"""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest
from drgn import Program
from drgn.helpers.linux.mm import follow_pfn, virt_to_pfn
from drgn.helpers.linux.pid import for_each_task
from known import ORDINARY, Ask, asking

from pagedbg.mm.page_array import PageDecoder
from pagedbg.mm.page_holders import PageHolders
from pagedbg.mm.page_tables import page_table_pfns
from pagedbg.target.opening import open_target
from pagedbg.target.target import Target


def holders_of(prog: Program) -> tuple[PageHolders, dict[int, str]]:
    """Each page's holder by name."""
    decoder = PageDecoder(prog)
    holders = PageHolders(prog, lambda: decoder.kernel_uses)
    found: dict[int, str] = {}
    for pages in decoder.pieces(0, prog["max_pfn"].value_()):
        numbers = holders.find(pages)
        for at in np.flatnonzero(numbers).tolist():
            found[pages.first + at] = str(holders.name(int(numbers[at])))
    return holders, found


@pytest.fixture
def fresh() -> Target:
    """A dump that a test may change."""
    return open_target(str(ORDINARY))


@pytest.fixture(scope="module")
def ask() -> Ask:
    return asking(open_target(str(ORDINARY)))


@pytest.fixture(scope="module")
def ordinary() -> tuple[Program, PageHolders, dict[int, str]]:
    prog = open_target(str(ORDINARY)).prog
    return prog, *holders_of(prog)


def test_each_task_has_its_stack(
    ordinary: tuple[Program, PageHolders, dict[int, str]],
) -> None:
    prog, holders, found = ordinary
    assert holders.unread == []
    seen = 0
    for task in for_each_task(prog):
        pid, comm = task.pid.value_(), task.comm.string_().decode()
        for page in range(4):
            at = task.stack.value_() + 4096 * page
            pfn = follow_pfn(prog["init_mm"].address_of_(), at).value_()
            assert found[pfn] == f"stack of {comm} (pid {pid})"
            seen += 1
    assert seen > 100


def test_page_tables_are_as_many_as_the_kernel_has_counted(
    ordinary: tuple[Program, PageHolders, dict[int, str]],
) -> None:
    prog, _, found = ordinary
    counts = Counter(
        int(match[1])
        for name in found.values()
        if (match := re.fullmatch(r"page tables of .* \(pid (\d+)\)", name))
    )
    seen: set[int] = set()
    for task in for_each_task(prog):
        mm = task.mm.read_()
        if not mm or mm.value_() in seen:
            continue
        seen.add(mm.value_())
        counted = mm.pgtables_bytes.counter.value_() // 4096
        levels = [len(tables) for tables in page_table_pfns(prog, mm)]
        # The uppermost ones, pgd and p4d, are neither counted nor marked.
        assert sum(levels[-3:]) == counted
        assert counts[task.pid.value_()] == sum(levels)
    assert len(seen) > 3


def test_a_tree_of_tasks_that_leads_back_is_said_and_the_rest_answers(
    fresh: Target,
) -> None:
    prog = fresh.prog
    tree = prog["init_pid_ns"].idr.idr_rt
    node = tree.xa_head.value_() & ~3
    slots = prog.type("struct xa_node").member("slots")
    at = node + slots.offset
    loop = (node | 2).to_bytes(8, "little")
    prog.add_memory_segment(at, 8, lambda address, count, offset, _: loop, False)
    holders, found = holders_of(prog)
    assert "the list of tasks" in holders.unread
    assert any(name == "page tables of the kernel" for name in found.values())


def test_a_pipe_has_what_was_written_to_it(
    ordinary: tuple[Program, PageHolders, dict[int, str]],
) -> None:
    _, holders, found = ordinary
    assert holders.unread == []
    # dd fills one that nobody reads: 64 KiB.
    pipes = Counter(name for name in found.values() if name.startswith("pipe "))
    assert list(pipes.values()) == [16]


def test_structures_that_are_damaged_are_said_and_the_rest_answers(
    fresh: Target,
) -> None:
    prog = fresh.prog

    def damage(at: int, value: int, size: int) -> None:
        data = value.to_bytes(size, "little")
        prog.add_memory_segment(
            at, size, lambda address, count, offset, _: data[offset:][:count], False
        )

    # A table that is larger than memory, and a list that goes round.
    damage(prog["m_hash_mask"].address_, 0xFFFFFFFF, 4)
    first = prog["ftrace_pages_start"].read_()
    damage(first.next.address_, first.value_(), 8)
    holders, found = holders_of(prog)
    assert set(holders.unread) == {"hash tables", "the tracer's functions"}
    named = set(found.values())
    assert {"BTF vmlinux", "trace buffers", "functions that can be traced"} <= named


def test_page_tables_that_lead_back_come_to_an_end(fresh: Target) -> None:
    prog = fresh.prog
    task = next(task for task in for_each_task(prog) if task.mm)
    top = task.mm.pgd.value_()
    pfn = virt_to_pfn(prog, top).value_()
    loop = np.full(512, pfn << 12 | 0x67, "<u8").tobytes()

    def given(address: int, count: int, offset: int, physical: bool) -> bytes:
        return loop[offset : offset + count]

    prog.add_memory_segment(top, 4096, given, False)
    prog.add_memory_segment(pfn << 12, 4096, given, True)
    tables = [level.tolist() for level in page_table_pfns(prog, task.mm)]
    assert all(level == [pfn] for level in tables) and 4 <= len(tables) <= 5


def test_sums_by_holder_and_by_witness_are_of_all_pages(ask: Ask) -> None:
    by_witness = {row["witness"]: row["pages"] for row in ask("memory --by witness")}
    kinds = ask("memory --section kinds")
    beside = sum(
        row["pages"]
        for row in kinds
        if (row["kind"], row["detail"]) == ("reserved", "firmware")
    )
    assert sum(by_witness.values()) == sum(row["pages"] for row in kinds) - beside
    assert {"page_owner", "mem_section", "stack_depot"} <= by_witness.keys()
    areas = {row["vmalloc"]: row["pages"] for row in ask("memory --by vmalloc")}
    (whole,) = ask("memory --kind vmalloc,module --by witness")[:1]
    assert sum(areas.values()) >= whole["pages"] > 0
    assert any("load_module" in str(caller) for caller in areas)

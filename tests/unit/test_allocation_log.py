# SPDX-License-Identifier: GPL-2.0-or-later
"""
What is read out of the kernel's log of allocations that failed: logs of three kernels,
and the same cut, mixed and damaged.
"""

from __future__ import annotations

import json
import lzma
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pagedbg.analysis.allocation_log import (
    FAILURE,
    OOM_KILL,
    STALL,
    LogLine,
    Report,
    reports,
)

DATA = Path(__file__).parent / "data"
KERNELS = ("6.1", "6.12", "7.3")
ZONES = ("DMA", "DMA32", "Normal", "Movable")
PAGE = 4096


def log_of(kernel: str) -> list[LogLine]:
    """
    The log of a guest in which order 9 failed, a memory cgroup and the OOM killer each
    took a victim, and somebody asked to be shown the memory.
    """
    with lzma.open(DATA / f"failures-{kernel}.jsonl.xz", "rt") as lines:
        return [LogLine(*json.loads(line)) for line in lines]


LOGS = {kernel: log_of(kernel) for kernel in KERNELS}


def found(lines: list[LogLine]) -> list[Report]:
    return reports(lines, ZONES, PAGE).found


def messages(text: str, caller: int = 1) -> Iterator[LogLine]:
    """A log as dmesg prints it, without times."""
    for number, line in enumerate(text.strip().splitlines()):
        yield LogLine(number, caller, line.strip())


@pytest.mark.parametrize("kernel", KERNELS)
def test_reports_are_told_apart_and_whole(kernel: str) -> None:
    failed, *_, of_memcg, asked = found(LOGS[kernel])
    assert (failed.kind, failed.order, failed.gfp) == (FAILURE, 9, "GFP_KERNEL")
    assert (failed.comm, failed.gfp_mask) == ("sh", 0xCC0)
    assert any("request_try+" in frame for frame in failed.stack)
    assert not any(frame.startswith("?") for frame in failed.stack)
    assert (of_memcg.kind, of_memcg.order, of_memcg.comm) == (OOM_KILL, 0, "python3")
    assert (of_memcg.constraint, of_memcg.memcg) == ("CONSTRAINT_MEMCG", "/small")
    assert of_memcg.mem_info is None
    assert of_memcg.victim_pid == of_memcg.pid
    assert (asked.kind, asked.order, asked.victim) == (OOM_KILL, -1, "sleep")
    assert all(report.complete for report in (failed, of_memcg, asked))
    # The memory that was shown at last is no report.
    assert reports(LOGS[kernel], ZONES, PAGE).beheaded == 0


@pytest.mark.parametrize("kernel", KERNELS)
def test_zones_are_those_of_the_text_and_sum_up(kernel: str) -> None:
    failed = found(LOGS[kernel])[0]
    assert failed.mem_info is not None
    text = "\n".join(line.text or "" for line in LOGS[kernel])
    dma, dma32 = failed.mem_info.zones
    assert (dma.name, dma32.name) == ("DMA", "DMA32")
    for zone in (dma, dma32):
        match = re.search(rf"Node 0 {zone.name} free:(\d+)kB", text)
        assert match and zone.free == int(match[1]) // 4
        match = re.search(rf"Node 0 {zone.name}: .* = (\d+)kB", text)
        assert match
        assert sum(n << o for o, n in enumerate(zone.blocks)) == int(match[1]) // 4
        for blocks, types in zip(zone.blocks, zone.types, strict=True):
            assert bool(blocks) == bool(types)
        assert zone.wmark_min < zone.wmark_low < zone.wmark_high
    assert len(dma.lowmem_reserve) == len(ZONES)
    assert dma.lowmem_reserve[2] > dma.lowmem_reserve[0] == 0
    # A kernel that is short of memory frees some while it writes.
    assert abs(failed.mem_info.counters["free"] - dma.free - dma32.free) < 1000
    assert failed.mem_info.counters["RAM"] == 81789


@pytest.mark.parametrize("kernel", KERNELS)
def test_zones_of_a_kernel_without_nodes_are_those_of_node_0(kernel: str) -> None:
    # show_node() of CONFIG_NUMA=n writes nothing before the zone.
    bare = [
        line._replace(text=line.text and re.sub(r"^Node 0 (?=DMA)", "", line.text))
        for line in LOGS[kernel]
    ]
    assert bare != LOGS[kernel]
    assert found(bare) == found(LOGS[kernel])


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_stack_of_arm64_is_read_as_that_of_x86(kernel: str) -> None:
    said = {"Call Trace:": "Call trace:"}
    arm = [
        line._replace(text=said.get(line.text or "", line.text))
        for line in LOGS[kernel]
        if line.text not in ("<TASK>", "</TASK>", " <TASK>", " </TASK>")
    ]
    assert len(arm) < len(LOGS[kernel])
    report, same = found(arm)[0], found(LOGS[kernel])[0]
    assert report.stack == same.stack != []


def test_a_stall_is_a_report_with_its_duration() -> None:
    new, old = found(
        [
            *messages(
                "kworker/u8:1: page allocation stall for 12 secs: order:4,"
                " mode:0x40dc0(GFP_KERNEL|__GFP_COMP|__GFP_ZERO) nodemask=0-1,"
                "cpuset=/,mems_allowed=0-1\nMem-Info:"
            ),
            *messages(
                "a: b: page allocation stalls for 10230ms, order:0, mode:0x14201ca"
                "(GFP_HIGHUSER_MOVABLE|__GFP_COLD), nodemask=(null)"
            ),
        ]
    )
    assert (new.kind, new.order, new.stalled_ms) == (STALL, 4, 12000)
    assert (new.comm, new.nodemask) == ("kworker/u8:1", "0-1")
    assert (old.kind, old.order, old.stalled_ms) == (STALL, 0, 10230)
    assert not new.complete
    assert [new.allows(node) for node in range(3)] == [True, True, False]
    assert old.allows(7)


def test_vmalloc_fails_without_an_order_or_with_one() -> None:
    size, pages = found(
        [
            *messages(
                "insmod: vmalloc error: size 1073741824, vm_struct allocation failed,"
                " mode:0xcc0(GFP_KERNEL), nodemask=(null),cpuset=/,mems_allowed=0"
            ),
            *messages(
                "insmod: vmalloc error: size 4096, page order 9, failed to allocate"
                " pages, mode:0xcc2(GFP_KERNEL|__GFP_HIGHMEM), nodemask=(null)"
            ),
        ]
    )
    assert (size.kind, size.order) == (FAILURE, None)
    assert (pages.kind, pages.order) == (FAILURE, 9)


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_report_whose_beginning_was_overwritten_is_counted(kernel: str) -> None:
    lines = LOGS[kernel]
    whole = reports(lines, ZONES, PAGE)
    head = next(i for i, line in enumerate(lines) if "mode:0x" in (line.text or ""))
    cut = reports(lines[head + 1 :], ZONES, PAGE)
    assert cut.found == whole.found[1:]
    assert cut.beheaded == 1


@pytest.mark.parametrize("kernel", KERNELS)
def test_tasks_that_log_at_the_same_time_are_told_apart(kernel: str) -> None:
    lines = LOGS[kernel]
    other = [line._replace(caller=line.caller + (1 << 31)) for line in lines]
    both = [line for pair in zip(lines, other, strict=True) for line in pair]
    assert found(both) == [each for each in found(lines) for _ in range(2)]


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_line_in_parts_is_one_line(kernel: str) -> None:
    parts = []
    for line in LOGS[kernel]:
        text = line.text or ""
        at = text.find(" (UM") + 1 or len(text)
        parts.append(line._replace(text=text[:at]))
        # Somebody else logs in between.
        parts.append(LogLine(line.ts_ns, 0, "eth0: link is up"))
        if text[at:]:
            parts.append(line._replace(text=text[at:], continues=True))
    assert any(line.continues for line in parts)
    assert found(parts) == found(LOGS[kernel])


def test_a_report_that_is_cut_is_not_complete() -> None:
    lines = LOGS["6.12"]
    end = next(i for i, line in enumerate(lines) if "pages reserved" in str(line.text))
    (report,) = found(lines[:end])
    assert report.mem_info is not None
    assert not report.complete
    lost = [
        line._replace(text=None) if "Node 0 DMA32 free:" in str(line.text) else line
        for line in lines
    ]
    report = found(lost)[0]
    assert report.mem_info is not None
    assert [zone.name for zone in report.mem_info.zones] == ["DMA"]
    assert (report.lost, report.complete) == (1, False)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_damage_invents_no_numbers(data: st.DataObject) -> None:
    lines = list(LOGS[data.draw(st.sampled_from(KERNELS))])
    for _ in range(data.draw(st.integers(1, 30))):
        at = data.draw(st.integers(0, len(lines) - 1))
        text = lines[at].text or ""
        place = data.draw(st.integers(0, len(text)))
        match data.draw(st.sampled_from(["drop", "lose", "cut", "swap", "insert"])):
            case "drop":
                del lines[at]
            case "lose":
                lines[at] = lines[at]._replace(text=None)
            case "cut":
                lines[at] = lines[at]._replace(text=text[:place])
            case "swap":
                other = data.draw(st.integers(0, len(lines) - 1))
                lines[at], lines[other] = lines[other], lines[at]
            case "insert":
                more = data.draw(st.text(max_size=20))
                lines[at] = lines[at]._replace(
                    text=text[:place] + more + text[place:], continues=True
                )
    digits = {
        int(number)
        for line in lines
        for number in re.findall(r"\d+", line.text or "")
        if len(number) < 30
    }
    for report in reports(lines, ZONES, PAGE).found:
        for zone in report.mem_info.zones if report.mem_info else ():
            assert zone.name in ZONES
            assert len(zone.blocks) == len(zone.types)
            # Parts of a line may be joined to one number.
            assert zone.free * 4 in digits or any(line.continues for line in lines)


TEXT = st.one_of(
    st.text(max_size=60),
    st.sampled_from(
        [
            "Mem-Info:",
            "Call Trace:",
            " <TASK>",
            "x: page allocation failure: order:4, mode:0xcc0(GFP_KERNEL), nodemask=",
            "x invoked oom-killer: gfp_mask=0x0(), order=0, oom_score_adj=0",
            "Node 0 DMA free:1kB min:99999999999999999999kB low:1kB high:1kB",
            "Node 0 DMA: 1*4kB (U) 1*8kB () = 12kB",
            "lowmem_reserve[]: 0 -1 99999999999999999999",
            "99999999999999999999 pages reserved",
            "oom-kill:constraint=CONSTRAINT_MEMCG,,oom_memcg=\x1b[2J,task_memcg=",
            "Out of memory: Killed process 1 (\x1b[2J) total-vm:0kB, anon-rss:0kB,"
            " file-rss:0kB, shmem-rss:0kB",
        ]
    ),
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.builds(
            LogLine,
            st.integers(0, 1 << 63),
            st.integers(0, 2),
            st.none() | TEXT,
            st.booleans(),
        ),
        max_size=30,
    )
)
def test_any_text_is_read_without_a_complaint(lines: list[LogLine]) -> None:
    result = reports(lines, ZONES, PAGE)
    assert len(result.found) <= len(lines)
    for report in result.found:
        assert report.kind in (FAILURE, OOM_KILL, STALL)
        assert len(report.stack) <= 128

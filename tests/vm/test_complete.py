# SPDX-License-Identifier: GPL-2.0-or-later
"""
Nothing is missed: what is recorded while something goes on is, event by event, what
kprobe events of the kernel's own tracing have seen at the same functions.

Each back end records the same work, once for each kernel.
"""

from __future__ import annotations

import itertools
import json
import re
import shlex
import sys
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from booted import KERNELS, OUT, PAGEDBG, Machine, boot, modules

from pagedbg.capture.directory import Capture
from pagedbg.schema import event_record
from pagedbg.schema.loss import LossKind

BACKENDS = ("bpf", "kmod")

# Rings that hold all.
SLOTS = 262144

TRACING = "/sys/kernel/tracing"

# Since v6.10: all stacks that page_owner has filed for allocations, since boot.
STACKS = "/sys/kernel/debug/page_owner_stacks/show_stacks"

# A frame of a BPF trampoline, or of a program.
OF_BPF = re.compile(r"\bbpf_(trampoline_\d|prog_[0-9a-f]{16})")

# cf54f310d0d3 ("mm/hugetlb: use __GFP_COMP for gigantic folios", v6.12) makes one
# allocation of such a page, and __set_page_owner() runs past the records of its first
# section, until "mm: page_ext: add an iteration API for page extensions" (v6.15).
PANICS_BY_GIGANTIC_PAGES = ("6.12",)

# What is done, by name: every line by a shell of its own, so that it is told by its
# pids from what pagedbg does itself. Where a kernel cannot do it nothing happens.
WORK = {
    "find": "ls -lR /etc >/dev/null; find /usr/share/doc -maxdepth 1 >/dev/null",
    "dd": "dd if=/dev/zero of=/run/big bs=1M count=8 status=none; rm /run/big",
    "module": "insmod $CHURN",
    "churn": (
        "echo alloc 3 10 >/proc/pagedbg_churn; echo split 5 >/proc/pagedbg_churn;"
        " echo free 10 >/proc/pagedbg_churn; echo irq 2 20 >/proc/pagedbg_churn"
    ),
    "forks": "for i in $(seq 15); do (:); done",
    "hugetlb": "echo 3 >/proc/sys/vm/nr_hugepages; echo 0 >/proc/sys/vm/nr_hugepages",
    # Every other page of some has to be free, or nothing may have to be moved. Where
    # they lie so that it moves none, there are more.
    "compaction": (
        "mkdir /run/holes; for i in $(seq 10); do mkdir /run/holes/$i;"
        " head -c 8M /dev/zero | split -a 3 -b 4k - /run/holes/$i/;"
        " rm /run/holes/$i/*[acegikmoqsuwy]; echo 1 >/proc/sys/vm/compact_memory;"
        f" grep -q 'copy *[1-9]' {TRACING}/kprobe_profile && break; done;"
        " rm -r /run/holes"
    ),
    "gigantic page": (
        "[ $GIGANTIC ] && cd /sys/kernel/mm/hugepages/hugepages-1048576kB"
        " && echo 1 >nr_hugepages && cat nr_hugepages >$OUT/gigantic"
        " && echo 0 >nr_hugepages"
    ),
    "THP split": (
        "dd if=/dev/zero bs=8M count=1 status=none | { sleep 1; cat >/dev/null; } &"
        " sleep 0.5; echo 1 >/sys/kernel/debug/split_huge_pages; wait"
    ),
    "memory": (
        "for m in $(ls -d /sys/devices/system/memory/memory* | sort -V | tail -n 8); do"
        " if echo offline >$m/state; then echo $m >$OUT/offline;"
        " echo online >$m/state; break; fi; done"
    ),
    "memcg": (
        "mkdir /run/cg; mount -t cgroup2 none /run/cg;"
        " echo +memory >/run/cg/cgroup.subtree_control; mkdir /run/cg/small;"
        " echo 1M >/run/cg/small/memory.max; (echo 0 >/run/cg/small/cgroup.procs;"
        " head -c 8M /dev/zero | tail -c 8M >/dev/null)"
    ),
}

# By event, the arguments that tell which page it is about, and its order.
PROBES = {
    "set": ("set", "page=$arg1:u64 order=$arg2:u16"),
    "reset": ("reset", "page=$arg1:u64 order=$arg2:u16"),
    "split": ("split", "page=$arg1:u64"),
    "copy": ("copy", "page=$arg1:u64 from=$arg2:u64"),
    "set migrate": ("migrate", "page=$arg1:u64"),
}


# The processes of pagedbg itself, and their threads, of which nothing is recorded.
OWN = "python3"

HIT = re.compile(
    r"^ *(?P<comm>.*)-(?P<pid>\d+) +\[.*?: (?P<what>\w+): .*?page=(?P<page>\d+)"
    r"(?: order=(?P<order>\d+))?(?: from=(?P<from>\d+))?",
    re.MULTILINE,
)

Events = Counter[tuple[str, int, int]]


class Oracle(NamedTuple):
    """
    Hits of the functions, by event, pfn and order: ``all`` of them, and those of pages
    that are ``certain`` not to be pagedbg's own. Who had allocated what was there
    before is not known. Tracing tells a process by the last name that it had, so that
    those that are looked at are told by their pids: ``workers``.
    """

    all: Events
    certain: Events
    workers: set[int]


class Recorded(NamedTuple):
    """What was done, and what both have seen of it."""

    capture: Capture
    oracle: Oracle
    missed: int
    gigantic: int | None
    pids: dict[str, tuple[int, int]]
    stacks: list[str]


def oracle_of(trace: str, facts: dict[str, Any], pids: range) -> Oracle:
    """What those processes did."""
    found = Oracle(Counter(), Counter(), set())
    names = {word: event for event, (word, _) in PROBES.items()}
    memmap, size = facts["addresses"]["memmap"], facts["constants"]["SIZEOF_PAGE"]
    owners: dict[int, str] = {}
    for match in HIT.finditer(trace):
        event = names[match["what"]]
        pfn = (int(match["page"]) - memmap) // size
        order = int(match["order"]) if match["order"] else -1
        if event == "set":
            owners.update((pfn + i, match["comm"]) for i in range(1 << min(order, 10)))
        elif event == "copy":
            owner = owners.get((int(match["from"]) - memmap) // size, OWN)
            owners.update((pfn + i, owner) for i in range(1 << 9))
        if int(match["pid"]) in pids and not match["comm"].startswith(("kworker", OWN)):
            found.workers.add(int(match["pid"]))
            found.all[event, pfn, order] += 1
            if owners.get(pfn, OWN) != OWN:
                found.certain[event, pfn, order] += 1
    return found


def recorded_of(capture: Capture, pids: Collection[int]) -> Events:
    """What was recorded of some processes."""
    events = capture.events()
    events = events[np.isin(events["pid"], list(pids))]
    return Counter(
        (name, pfn, order if name in ("set", "reset") else -1)
        for event, pfn, order in events[["event", "pfn", "order"]].tolist()
        if (name := event_record.EVENT_NAMES[event]) in PROBES
    )


def record(machine: Machine, backend: str, gigantic: bool) -> dict[str, Any]:
    """Do all of the work while both look; what there is to know afterwards."""
    facts: dict[str, Any] = json.loads(
        machine.run([sys.executable, Path(__file__).with_name("describe.py")])
        .check()
        .text
    )
    probes = "\n".join(
        f"p:complete/{word} {facts['functions'][event]} {arguments}"
        for event, (word, arguments) in PROBES.items()
    )
    work = "\n".join(
        f"sh -c {shlex.quote(f'echo $$ >$OUT/{number}; {done}')} 2>>$OUT/said"
        for number, done in enumerate(WORK.values())
    )
    machine.write(OUT / "probes", probes + "\n")
    machine.write(OUT / "work", work)
    events = f"{TRACING}/events/complete/enable"
    machine.write(
        OUT / "script",
        f"""
trace set --all
trace start --backend {backend} --slots {SLOTS} --size 1G --output {OUT}/capture
!echo 40960 >{TRACING}/buffer_size_kb; cat {OUT}/probes >{TRACING}/kprobe_events
!echo 1 >{events}; sh {OUT}/work; sleep 1; sh -c 'echo $$ >{OUT}/last'
!echo 0 >{events}
trace stop
""",
    )
    machine.sh(f"""
export OUT={OUT} GIGANTIC={"1" if gigantic else ""} CHURN={modules.churn_module(machine.kernel)}
mount -t tracefs none {TRACING} 2>/dev/null
echo always >/sys/kernel/mm/transparent_hugepage/enabled
{PAGEDBG} --no-pager -x $OUT/script >$OUT/printed 2>&1 || {{ cat $OUT/printed >&2; exit 1; }}
cp {TRACING}/trace {TRACING}/kprobe_profile $OUT
cp {STACKS} $OUT/stacks 2>/dev/null || :
""")  # noqa: E501
    return facts


@pytest.fixture(scope="module", params=KERNELS)
def kernel(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=BACKENDS)
def recorded(
    request: pytest.FixtureRequest,
    kernel: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Recorded:
    out, backend = tmp_path_factory.mktemp("complete"), request.param
    with boot(
        kernel,
        f"complete-{backend}",
        memory="5G",
        append="hugetlb_cma=1G",
        out=out,
    ) as machine:
        facts = record(machine, backend, kernel not in PANICS_BY_GIGANTIC_PAGES)
    starts = [int((out / str(n)).read_text()) for n in range(len(WORK))]
    starts.append(int((out / "last").read_text()))
    profile = (out / "kprobe_profile").read_text()
    return Recorded(
        Capture(out / "capture"),
        oracle_of((out / "trace").read_text(), facts, range(starts[0], starts[-1])),
        sum(int(line.split()[-1]) for line in profile.splitlines()),
        int(count.read_text()) if (count := out / "gigantic").exists() else None,
        dict(zip(WORK, itertools.pairwise(starts), strict=True)),
        stacks.read_text().split("\n\n") if (stacks := out / "stacks").exists() else [],
    )


def test_every_hit_of_a_function_is_recorded_once(recorded: Recorded) -> None:
    events = recorded_of(recorded.capture, recorded.oracle.workers)
    assert recorded.capture.meta.attach in ("combined", "trampoline", "module")
    assert {loss.kind for loss in recorded.capture.losses} <= {LossKind.MISSED}
    missed = recorded.capture.meta.counts.missed
    assert (recorded.oracle.certain - events).total() <= missed
    assert (events - recorded.oracle.all).total() <= recorded.missed
    hits: Counter[str] = Counter()
    for (event, _, _), count in events.items():
        hits[event] += count
    assert hits["set"] > 3000
    assert all(hits[event] for event in PROBES), hits


def test_page_owner_files_no_stack_that_goes_through_what_records(
    recorded: Recorded,
) -> None:
    if not recorded.stacks:
        pytest.skip("this kernel does not list them")
    assert sum("__alloc" in stack for stack in recorded.stacks) > 300
    assert [stack for stack in recorded.stacks if OF_BPF.search(stack)] == []


def test_a_gigantic_page_of_the_contiguous_allocator_is_recorded(
    recorded: Recorded,
) -> None:
    if recorded.gigantic is None:
        pytest.skip("this kernel panics by itself when it allocates one")
    if not recorded.gigantic:
        pytest.skip("the guest had no room for one")
    pids = range(*recorded.pids["gigantic page"])
    events = recorded_of(recorded.capture, pids)
    pages = {
        name: sum(
            count << order
            for (event, _, order), count in events.items()
            if event == name
        )
        for name in ("set", "reset")
    }
    assert pages["set"] >= 1 << 18
    assert pages["reset"] >= 1 << 18

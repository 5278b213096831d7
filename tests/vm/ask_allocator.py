# SPDX-License-Identifier: GPL-2.0-or-later
"""
Inside a guest: foretell what the allocator does, ask it right after, and print both as
JSON lines. The module pagedbg_request asks the allocator, and brings memory into the
states in which it is asked.

    python ask_allocator.py [NODE]...
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from page_kinds import read

from pagedbg.analysis.allocation_attempt import Outcome, attempt
from pagedbg.mm.page_alloc import (
    ZoneState,
    fragmentation_index,
    unusable_free_index,
)
from pagedbg.mm.zone_state import zone_state
from pagedbg.schema.settings import Settings
from pagedbg.session import Session
from pagedbg.shell.command import NAMESPACE
from pagedbg.sources.allocator import machine_of, typed_request, zones_for
from pagedbg.target.opening import open_target

REQUEST = Path("/proc/pagedbg_request")
EXTFRAG = Path("/sys/kernel/debug/extfrag")
CGROUPS = Path("/sys/fs/cgroup")

GONE_PAGES = 64

# As often as memory may move while it is looked at, and so many pages may all the same.
ATTEMPTS, FEW = 10, 20

ORDERS = (0, 3, 4, 9, 10)
GFP = (
    "GFP_NOWAIT",
    "GFP_ATOMIC",
    "GFP_ATOMIC|__GFP_NOMEMALLOC",
    "GFP_NOWAIT|__GFP_MEMALLOC",
    "GFP_NOWAIT|__GFP_RECLAIMABLE",
    "GFP_NOWAIT|__GFP_MOVABLE|__GFP_HIGHMEM",
    "GFP_NOWAIT|GFP_DMA",
    "GFP_NOWAIT|GFP_DMA32|__GFP_MOVABLE",
    "GFP_NOWAIT|__GFP_THISNODE",
    "GFP_KERNEL|__GFP_NORETRY",
)
NORETRY = 0x12CC0
"""GFP_KERNEL|__GFP_NORETRY|__GFP_NOWARN"""
NOWAIT = 0x2800
"""GFP_NOWAIT: __GFP_KSWAPD_RECLAIM|__GFP_NOWARN"""
LOUD = 0x800
"""__GFP_KSWAPD_RECLAIM"""
SILENT = 0x2000
"""__GFP_NOWARN alone: nobody is woken, who would make a block meanwhile."""

KPF_BUDDY = 1 << 10
"""include/uapi/linux/kernel-page-flags.h"""

session = Session(open_target(), settings=Settings(pager="off"))
session.keep()
prog = session.prog


def tell(command: str) -> None:
    """Have the module do something."""
    REQUEST.write_text(command)


def say(**what: Any) -> None:
    print(json.dumps(what), flush=True)


def ask(line: str) -> list[dict[str, Any]]:
    """What a command of pagedbg answers."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        NAMESPACE.run(prog, f"{line} --format json")
    return json.loads(out.getvalue())  # type: ignore[no-any-return]


def foretold(order: int, gfp: str, node: int) -> Outcome:
    request = typed_request(prog, order, f"{gfp}|__GFP_NOWARN")
    zones = [zone_state(zone) for zone in zones_for(prog, request, node)]
    return attempt(request, zones, machine_of(prog))


def place(outcome: Outcome) -> str | None:
    zone = outcome.zone
    return None if zone is None else f"{zone.node} {zone.name}"


def tried(order: int, mask: int, node: int) -> str | None:
    """Where the kernel finds a block."""
    tell(f"try {order} {mask:#x} {node}")
    first = REQUEST.read_text().splitlines()[0]
    return None if first == "none" else first.rpartition(" ")[0]


def cases(state: str, nodes: list[int]) -> Iterator[dict[str, Any]]:
    """Each case of the table: what was foretold, and what the kernel did."""
    for node in nodes:
        for gfp in GFP:
            for order in ORDERS:
                before = foretold(order, gfp, node)
                for _ in range(ATTEMPTS):
                    found = tried(order, before.request.gfp_mask, node)
                    after = foretold(order, gfp, node)
                    if place(after) == place(before):
                        break
                    before = after
                yield {
                    "state": state,
                    "node": node,
                    "gfp": gfp,
                    "order": order,
                    "foretold": place(before),
                    "waits": before.request.may_reclaim,
                    "found": found,
                    "zones": [
                        (each.zone.name, each.zone.free, each.need, each.result)
                        for each in before.attempts
                    ],
                }


def indices(zone: ZoneState, file: str) -> list[int]:
    """What the kernel prints for a zone, in thousandths."""
    for line in (EXTFRAG / file).read_text().splitlines():
        node, _, name, *numbers = line.replace(",", "").removeprefix("Node ").split()
        if (int(node), name) == (zone.node, zone.name):
            return [round(float(number) * 1000) for number in numbers]
    raise LookupError(zone.name)


def compare_indices(state: str, nodes: list[int]) -> None:
    """The kernel's indices, and ours."""
    request = typed_request(prog, 0, "GFP_HIGHUSER_MOVABLE")
    for asked in zones_for(prog, request, nodes[0]):
        for _ in range(ATTEMPTS):
            before = zone_state(asked)
            theirs = [
                indices(before, file) for file in ("unusable_index", "extfrag_index")
            ]
            buddyinfo = Path("/proc/buddyinfo").read_text()
            after = zone_state(asked)
            if before.blocks == after.blocks:
                break
        else:
            continue
        orders = range(len(before.blocks))
        say(
            kind="indices",
            state=state,
            zone=f"{before.node} {before.name}",
            ours=[
                [unusable_free_index(before.blocks, order) for order in orders],
                [fragmentation_index(before.blocks, order) for order in orders],
            ],
            theirs=theirs,
            blocks=before.blocks,
            buddyinfo=buddyinfo,
        )


def look(state: str, nodes: list[int]) -> None:
    """Go through the table in a state of memory."""
    for case in cases(state, nodes):
        say(kind="case", **case)
    compare_indices(state, nodes)


def free_blocks(order: int) -> NDArray[np.bool_]:
    """Which blocks of an order are free, as the kernel says of their pages."""
    flags = np.frombuffer(read("/proc/kpageflags"), np.uint64)
    free = flags & np.uint64(KPF_BUDDY) != 0
    whole = free[: len(free) >> order << order].reshape(-1, 1 << order)
    return whole.all(axis=1)  # type: ignore[no-any-return]


def hold_the_rest() -> None:
    """Hold the blocks, too, that whoever was woken by others' requests has made."""
    time.sleep(0.2)
    tell(f"hold 4 {SILENT:#x} 1000000")


def pages_on_lists() -> int:
    """How many pages the CPUs keep on lists of their own."""
    text = Path("/proc/zoneinfo").read_text()
    return sum(map(int, re.findall(r"^ +count: +(\d+)$", text, re.MULTILINE)))


def into_pieces() -> None:
    """
    Hold all blocks of 16 pages, and let go of all but the first page of each. What the
    kernel can put together of others is held, too.
    """
    tell(f"hold 4 {NORETRY:#x} 1000000")
    tell("thin 16")
    tell(f"hold 4 {NORETRY:#x} 1000000")
    hold_the_rest()


def foretell_and_let_go(node: int) -> Iterator[dict[str, Any]]:
    """
    Who is said to be in the way, and what has become free when that owner let go. All
    free memory is in these blocks: where others allocate meanwhile, or pages of theirs
    are moved or taken back, it is another number, and all is done again.
    """
    question = f"explain order 4 --gfp GFP_NOWAIT --node {node}"
    for turn in range(ATTEMPTS):
        if turn:
            into_pieces()
        # What memory it takes to ask is had before.
        ask(question)
        rows = ask(question)
        before = free_blocks(4)
        tell("drop")
        on_lists = pages_on_lists()
        blocks = int(np.count_nonzero(free_blocks(4) & ~before))
        # A page that a CPU keeps on a list of its own may keep a block from being free.
        most = max([0, *(row["at_once"] for row in owners_of(rows)[:1])])
        agrees = most - on_lists - FEW <= blocks <= 1.2 * most + FEW
        if verdict_of(rows)["result"] == "fails" and most > FEW and agrees:
            break
    yield {
        "kind": "in the way",
        "verdict": verdict_of(rows),
        "owners": owners_of(rows),
    }
    yield {
        "kind": "let go",
        "verdict": verdict_of(ask(question)),
        "blocks": blocks,
        "agrees": agrees,
        "turns": turn + 1,
    }


def complain(node: int) -> dict[str, Any]:
    """
    Leave just what must stay free, for those who may not use reserves, and have the
    kernel complain of an allocation. What it reports of memory it looks up after the
    allocation failed: kswapd, who is awake, may have freed some by then.
    """
    for _ in range(ATTEMPTS):
        tell(f"hold 0 {NOWAIT:#x} 10000000")
        tell(f"try 10 {LOUD:#x} {node}")
        listed = ask("explain")
        last = ask(f"explain {len(listed)}")
        if "memory became free meanwhile" not in verdict_of(last)["finding"]:
            break
    return {"listed": listed, "last": last}


def write_and_go() -> None:
    """
    Make a memory cgroup that is no more while what it was charged for is still there.
    """
    (CGROUPS / "cgroup.subtree_control").write_text("+memory")
    group = CGROUPS / "gone"
    group.mkdir()
    write = f"dd if=/dev/zero of=/run/gone bs=4k count={GONE_PAGES} status=none"
    subprocess.run(["sh", "-c", f"echo 0 >{group}/cgroup.procs; {write}"], check=True)
    group.rmdir()


def owners_of(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["topic"] == "owners"]


def verdict_of(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return next(row for row in rows if row["topic"] == "verdict")


def main(nodes: list[int]) -> None:
    """Go through all states."""
    # kcompactd runs when it is woken, and not every half second as well.
    Path("/proc/sys/vm/compaction_proactiveness").write_text("0")
    # The CPUs keep as little on lists of their own as they can.
    Path("/proc/sys/vm/percpu_pagelist_high_fraction").write_text("1000000")
    # Movable zones may be full of files that were read. Without these, there are cases
    # of the table in these zones, too.
    Path("/proc/sys/vm/drop_caches").write_text("1")
    zoneinfo = Path("/proc/zoneinfo").read_text()
    say(kind="map", zoneinfo=zoneinfo, cells=ask("map --cell 2M"))
    look("as it is", nodes)
    into_pieces()
    look("in pieces", nodes)
    for answer in foretell_and_let_go(nodes[0]):
        say(**answer)
    complaints = complain(nodes[0])
    look("short", nodes)
    tell("drop")
    say(kind="log", **complaints)
    write_and_go()
    say(kind="gone", files=ask("memory --kind shmem --by memcg,file"))


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or [0])

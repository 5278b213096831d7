# SPDX-License-Identifier: GPL-2.0-or-later
"""
A kernel whose pages are larger than 4 KiB: what is said of its dump is what the kernel
has said of its pages at that moment.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from booted import LAB, Machine, boot, dump, kernels, pagedbg
from numpy.typing import NDArray

from pagedbg.mm.page_array import Detail, PageDecoder
from pagedbg.target.opening import open_target

pytestmark = pytest.mark.rare

LOOK = Path(__file__).with_name("held_still.py")
MEMORY = 640 << 20

# Kernels of the lab, and the sizes of their pages.
KERNELS = (("stock-newest-arm64-16k", 16384), ("arm64-64k-6.12", 65536))

# By themselves they are of 32 and of 512 MiB.
HUGE_PAGES = "default_hugepagesz=2M"

# What the workload leaves behind starts a process each second.
FREEZE = """
cd /sys/fs/cgroup/service
echo 1 >cgroup.freeze
until grep -q "frozen 1" cgroup.events; do sleep 0.1; done
"""

COMMANDS = (
    *("status", "doctor", "memory", "zones", "free", "blocks", "pageblocks", "map"),
    *("explain order 4", "log"),
)

# include/uapi/linux/kernel-page-flags.h
SLAB, BUDDY, ANON, HUGE, PGTABLE = 7, 10, 12, 17, 26


class Dumped(NamedTuple):
    """A dump, the size of its pages, and where it stands what the kernel has said."""

    core: Path
    page_size: int
    out: Path

    def flags(self, when: str) -> NDArray[np.uint64]:
        return np.fromfile(self.out / f"kpageflags-{when}", np.uint64)


def dump_while_held(machine: Machine, core: Path, out: Path) -> None:
    """Dump a guest between two looks of its own."""
    look, dumped = os.pipe()

    def on_output(stream: str, data: bytes) -> None:
        assert (stream, data) == ("stdout", b"dump\n"), data
        machine.guest.qmp("dump-guest-memory", paging=False, protocol=f"file:{core}")
        os.write(dumped, b"\n")

    try:
        machine.run(["python3", LOOK, out], stdin=look, on_output=on_output).check()
    finally:
        os.close(look)
        os.close(dumped)
    dump.mend_program_headers(core)


@pytest.fixture(scope="module", params=KERNELS, ids=lambda each: each[0])
def dumped(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Dumped:
    kernel, page_size = request.param
    out = tmp_path_factory.mktemp("large")
    try:
        kernels.build(kernel, say=print)
    except kernels.LabError as error:
        pytest.skip(f"no {kernel} here: {error}")
    memory = f"{MEMORY >> 20}M"
    with boot(kernel, "large", memory=memory, rw=[out], append=HUGE_PAGES) as machine:
        machine.run(["sh", LAB / "workloads/ordinary.sh"]).check()
        machine.sh(FREEZE)
        dump_while_held(machine, out / "core", out)
    return Dumped(out / "core", page_size, out)


def rows(dumped: Dumped, *lines: str) -> list[list[dict[str, Any]]]:
    """What commands say of the dump."""
    answers = [dumped.out / f"{number}.json" for number in range(len(lines))]
    words = [
        word
        for line, path in zip(lines, answers, strict=True)
        for word in ("-e", f"{line} --format json -o {path}")
    ]
    done = pagedbg("-c", dumped.core, *words)
    assert done.status == 0, done
    return [json.loads(path.read_text()) for path in answers]


def test_every_command_answers(dumped: Dumped) -> None:
    (status,), *others = rows(dumped, *COMMANDS)
    assert (status["machine"], status["page_size"]) == ("aarch64", dumped.page_size)
    assert all(others)
    memory = others[COMMANDS.index("memory") - 1]
    assert sum(row["pages"] for row in memory) == MEMORY // dumped.page_size
    free = [row for row in memory if row["kind"] == "free"]
    assert free and {row["difference"] for row in free} == {0}


def test_free_blocks_are_those_of_buddyinfo(dumped: Dumped) -> None:
    (free,) = rows(dumped, "free")
    said = {
        words[3]: list(map(int, words[4:]))
        for words in map(str.split, (dumped.out / "buddyinfo-after").open())
    }
    found: dict[str, list[int]] = {}
    for row in free:
        found.setdefault(row["zone"], []).append(row["blocks"])
    assert found == said


def test_kinds_of_pages_are_those_of_kpageflags(dumped: Dumped) -> None:
    before, after = dumped.flags("before"), dumped.flags("after")
    prog = open_target(str(dumped.core)).prog
    pieces = [*PageDecoder(prog).pieces(0, prog["max_pfn"].value_())]
    still = (before == after)[: prog["max_pfn"].value_()]
    there = still & (after[: len(still)] != 1 << 20)
    # What is asked and what answers takes few of them.
    assert still.mean() > 0.99
    said = after[: len(still)][there]
    kind = np.concatenate([piece.kind for piece in pieces])[there]
    detail = np.concatenate([piece.detail for piece in pieces])[there]

    def ours(name: str) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = kind == pieces[-1].kinds.index(name)
        return found

    def theirs(bit: int) -> NDArray[np.bool_]:
        return said >> np.uint64(bit) & np.uint64(1) == 1

    pairs = {
        "free": (ours("free") & (detail == Detail.BUDDY), theirs(BUDDY)),
        "slab": (ours("slab"), theirs(SLAB)),
        "hugetlb": (ours("hugetlb"), theirs(HUGE)),
        "page table": (ours("page table"), theirs(PGTABLE)),
        "anon": (ours("anon"), theirs(ANON) & ~theirs(HUGE) & ~theirs(SLAB)),
    }
    for name, (found, flagged) in pairs.items():
        assert flagged.any(), name
        assert np.count_nonzero(found != flagged) == 0, name

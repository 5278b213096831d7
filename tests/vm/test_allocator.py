# SPDX-License-Identifier: GPL-2.0-or-later
"""
What ``explain order`` foretells in booted kernels, against what their allocators do
right after, and its figures against what the kernel prints.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import forkserver
import proc_text
import pytest
from booted import KERNELS, boot, modules

ASK = Path(__file__).with_name("ask_allocator.py")

# Two nodes, and a zone of movable pages on each; and from which node it is asked.
NUMA = {"6.12": ("numa=fake=2 movablecore=128M", "1")}

Answer = dict[str, Any]


@pytest.fixture(scope="module", params=KERNELS)
def answers(request: pytest.FixtureRequest) -> list[Answer]:
    """What ask_allocator.py says in a guest."""
    append, node = NUMA.get(request.param, ("", "0"))
    with boot(request.param, "allocator", memory="512M", append=append) as machine:
        machine.run(["insmod", modules.request_module(machine.kernel)]).check()
        machine.serve()
        text = machine.run([forkserver.programs() / "python", ASK, node]).check().text
    return [json.loads(line) for line in text.splitlines()]


def of_kind(answers: list[Answer], kind: str) -> list[Answer]:
    return [answer for answer in answers if answer["kind"] == kind]


def test_the_allocator_does_what_was_foretold(answers: list[Answer]) -> None:
    cases = of_kind(answers, "case")
    assert len(cases) > 100
    for case in cases:
        # Whoever waits for memory to be reclaimed may find some that was not free.
        if case["foretold"] is not None or not case["waits"]:
            assert case["found"] == case["foretold"], case


def test_the_table_has_all_that_there_is_to_foretell(answers: list[Answer]) -> None:
    cases = of_kind(answers, "case")
    for state in ("in pieces", "short"):
        found = {case["found"] for case in cases if case["state"] == state}
        assert None in found and len(found) > 1
    zones = {case["found"] for case in cases}
    assert "0 DMA" in zones and zones & {"0 DMA32", "1 DMA32"}
    if any(zone and zone.startswith("1 ") for zone in zones):
        assert any(zone and zone.endswith("Movable") for zone in zones)
    results = {result for case in cases for *_, result in case["zones"]}
    assert {"gives", "could give", "short", "in pieces"} <= results


def test_indices_and_blocks_are_the_kernels(answers: list[Answer]) -> None:
    found = of_kind(answers, "indices")
    assert {answer["state"] for answer in found} >= {"as it is", "in pieces"}
    for answer in found:
        assert answer["ours"] == answer["theirs"], answer["zone"]
        node, zone = answer["zone"].split()
        (line,) = [
            words[4:]
            for words in map(str.split, answer["buddyinfo"].splitlines())
            if (words[1], words[3]) == (f"{node},", zone)
        ]
        assert list(map(int, line)) == answer["blocks"]


def test_a_map_has_each_zone_of_each_node_where_the_kernel_has_it(
    answers: list[Answer], request: pytest.FixtureRequest
) -> None:
    (found,) = of_kind(answers, "map")
    theirs = proc_text.zones_of_nodes(found["zoneinfo"])
    ours: dict[tuple[int, str], list[Answer]] = {}
    for cell in found["cells"]:
        ours.setdefault((cell["node"], cell["zone"]), []).append(cell)
    assert ours.keys() == theirs.keys()
    for place, cells in ours.items():
        zone, pages = theirs[place], sum(cell["pages"] for cell in cells)
        assert cells[0]["start_pfn"] == zone["start_pfn"], place
        # What firmware keeps has a struct page, and is not present.
        assert pages >= zone["present"], place
        assert pages + sum(cell["absent"] for cell in cells) == zone["spanned"], place
    kernel = request.node.callspec.params["answers"]
    assert len({node for node, _ in ours}) == (2 if kernel in NUMA else 1)


def test_who_is_in_the_way_is_named_and_lets_go(answers: list[Answer]) -> None:
    (held,) = of_kind(answers, "in the way")
    (freed,) = of_kind(answers, "let go")
    assert held["verdict"]["result"] == "fails"
    first = held["owners"][0]
    assert (first["module"], first["function"]) == (
        "pagedbg_request",
        "pagedbg_request_hold",
    )
    assert "pagedbg_request_hold [pagedbg_request]" in held["verdict"]["finding"]
    assert freed["verdict"]["result"] == "succeeds"
    assert first["blocks"] >= first["at_once"] > 20
    assert freed["agrees"], (first["at_once"], freed)


def test_a_memory_cgroup_that_is_no_more_is_said_to_be_offline(
    answers: list[Answer], request: pytest.FixtureRequest
) -> None:
    kernel = request.node.callspec.params["answers"]
    (gone,) = of_kind(answers, "gone")
    (file,) = [row for row in gone["files"] if (row["file"] or "").endswith("/gone")]
    assert file["pages"] == 64
    # In 7.x the parent of a memory cgroup that goes is charged in its place.
    assert file["memcg"] == ("/" if kernel == "newest" else "/gone (offline)")


def test_what_the_kernel_complained_of_is_explained(answers: list[Answer]) -> None:
    (log,) = of_kind(answers, "log")
    assert log["listed"]
    for report in log["listed"]:
        assert (report["failure"], report["order"], report["gfp_mask"]) == (
            "allocation failure",
            10,
            0x800,
        )
        assert (report["module"], report["complete"]) == ("pagedbg_request", True)
    (verdict,) = [row for row in log["last"] if row["topic"] == "verdict"]
    assert verdict["result"] == "fails"
    assert re.match(
        r"An order-10 allocation by python\S* failed in \w+", verdict["finding"]
    )

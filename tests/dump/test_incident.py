# SPDX-License-Identifier: GPL-2.0-or-later
"""
The bundled dump: a driver has left a page in so many places that no 16 pages lie
together, and what there is to find it out by is in the dump.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from drgn.helpers.linux.printk import get_dmesg
from known import DATA, SAMPLE, Oracle, Run

from pagedbg.capture.recovery.recover import find_recorders
from pagedbg.mm.page_owner_bulk import page_owners_of_pfns
from pagedbg.schema.event_record import SET, SPLIT
from pagedbg.schema.owner_record import ALLOCATED
from pagedbg.target.opening import open_target
from pagedbg.target.target import Target

ORDER = 4
LEAK = "leaky_rx_refill"


@pytest.fixture(scope="module")
def incident() -> Target:
    """The dump, opened without debug info."""
    return open_target(str(SAMPLE))


@pytest.fixture(scope="module")
def known() -> Oracle:
    """What drgn says of it with debug info."""
    return Oracle(DATA / "incident.oracle.json.xz")


@pytest.fixture(scope="module")
def leaked(known: Oracle) -> np.ndarray:
    """The pages that were forgotten, as drgn knows them."""
    stacks = {
        handle
        for handle, frames in known.stacks.items()
        if LEAK in {name for _, name in frames}
    }
    return np.array(
        [
            pfn
            for pfn, page in known.pages.items()
            if page["state"] == "allocated" and page["handle"] in stacks
        ]
    )


def test_the_log_ends_with_the_failure(incident: Target) -> None:
    log = get_dmesg(incident.prog).decode()
    assert f"page allocation failure: order:{ORDER}, mode:0xcc0(GFP_KERNEL)" in log
    assert "Kernel panic - not syncing: leaky: no receive buffer" in log


def test_most_memory_is_free_and_in_small_pieces(known: Oracle) -> None:
    free = sum(
        count << order
        for zone in known.zones
        for order, count in enumerate(zone["nr_free"])
    )
    assert free > sum(zone["managed"] for zone in known.zones) / 2
    for zone in known.zones:
        assert not any(zone["nr_free"][ORDER:])


def test_what_was_forgotten_is_a_page_of_each_buffer(
    incident: Target, leaked: np.ndarray
) -> None:
    assert len(leaked) > 500
    assert len(np.unique(leaked >> ORDER)) == len(leaked)
    neighbours = (leaked[:, None] + np.arange(1, 1 << ORDER)).ravel().astype(np.uint64)
    assert (
        np.mean(page_owners_of_pfns(incident.prog, neighbours)["state"] == ALLOCATED)
        < 0.1
    )


def test_the_owners_of_the_driver_are_the_leak_and_what_is_not_sent_yet(
    pagedbg: Run, leaked: np.ndarray
) -> None:
    rows = {
        row["function"]: row
        for row in pagedbg.json(
            "owners", "--module", "leaky", "--by", "function", core=SAMPLE
        )
    }
    assert rows[LEAK]["blocks"] == rows[LEAK]["pages"] == len(leaked)
    assert 0 < rows["leaky_tx_buffer"]["blocks"] <= 8


def test_the_flight_recorder_saw_the_buffers_that_were_split_and_of_which_a_page_stayed(
    incident: Target, leaked: np.ndarray
) -> None:
    (recorder,), _ = find_recorders(incident)
    events = np.concatenate([ring.records for _, ring in recorder.rings()])
    assert set(events["order"][np.isin(events["event"], (SET, SPLIT))]) == {ORDER}
    split = events["pfn"][events["event"] == SPLIT]
    assert len(split) > 100
    assert np.isin(split, leaked).mean() > 0.9


def test_status_says_what_it_died_of() -> None:
    (row,) = Run().json("status", core=SAMPLE)
    assert row["panic"] == "leaky: no receive buffer"
    assert 64.8e9 < row["panic_ns"] < 64.9e9
    (row,) = Run().json("status")
    assert (row["panic"], row["panic_ns"]) == (None, None)


# ---- what is listed, sorted and summed up ----------


def correlated(*options: str) -> list[dict[str, Any]]:
    """The rows of ``correlate`` on what the dump has recorded."""
    done = Run()("-c", SAMPLE, "--format", "jsonl", "correlate", *options)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def allocations() -> list[dict[str, Any]]:
    """Each allocation that was captured."""
    return correlated()


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("column", ["free_comm", "lifetime_ns", "ts_ns"])
def test_correlate_sorts_by_what_it_shows_and_the_unknown_last(
    allocations: list[dict[str, Any]], column: str, descending: bool
) -> None:
    # Of text, and only of it, the least comes first.
    turned = descending == (column == "free_comm")
    values = [row[column] for row in allocations]
    known = sorted((v for v in values if v is not None), reverse=descending)
    found = correlated(f"--sort={'-' if turned else ''}{column}", "--no-stack")
    assert [row[column] for row in found] == [
        *known,
        *[None] * (len(values) - len(known)),
    ]


def test_correlate_sums_up_what_it_lists(allocations: list[dict[str, Any]]) -> None:
    held = ("live", "migrated", "split")
    sums: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0, 0])
    for row in allocations:
        key = (tuple(row["stack"]), row["comm"], row["gfp"], row["state"])
        sums[key][0] += 1
        sums[key][1] += row["held"] if row["state"] in held else row["pages"]
    found = correlated("--by", "stack,comm,gfp,state")
    assert {
        (tuple(row["stack"]), row["comm"], row["gfp"], row["state"]): [
            row["blocks"],
            row["pages"],
        ]
        for row in found
    } == sums
    assert [row["bytes"] for row in found] == sorted(
        (4096 * pages for _, pages in sums.values()), reverse=True
    )

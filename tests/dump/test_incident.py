# SPDX-License-Identifier: GPL-2.0-or-later
"""
The bundled dump: a driver has left a page in so many places that no 16 pages lie
together, and what there is to find it out by is in the dump.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drgn.helpers.linux.printk import get_dmesg
from known import DATA, SAMPLE, Oracle, Run, asking

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


def test_events_and_allocations_have_the_ids_that_stacks_gives(
    incident: Target, allocations: list[dict[str, Any]]
) -> None:
    ask = asking(incident)
    events = ask("trace show")
    named = {row["handle"]: row for row in ask("stacks")}
    both = [row for row in [*events, *allocations] if row["handle"] in named]
    assert len({row["handle"] for row in both}) > 1
    same = ("stack_id", "stack_shape", "stack")
    for row in both:
        stack = named[row["handle"]]
        assert [row[name] for name in same] == [stack[name] for name in same]
    without = ask("trace show --no-stack")
    assert not set(same) & without[0].keys() and len(without) == len(events)


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


@pytest.mark.parametrize("column", ["stack_id", "stack_shape"])
def test_correlate_sums_up_by_the_ids_of_stacks(
    allocations: list[dict[str, Any]], column: str
) -> None:
    found = correlated("--by", column)
    assert {row[column]: row["blocks"] for row in found} == Counter(
        row[column] for row in allocations
    )


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


# ---- what is counted ----------


@pytest.mark.parametrize("key", ["event", "order", "cpu", "comm", "time"])
def test_a_histogram_counts_the_events_that_are_listed(
    incident: Target, key: str
) -> None:
    ask = asking(incident)
    events = ask("trace show --no-stack --orders 4")
    rows = ask(f"trace show --histogram {key} --orders 4")
    if key == "time":
        times = [event["time_ns"] for event in events]
        assert [row["event_count"] for row in rows] == [
            sum(row["at_least"] <= time < row["below"] for time in times)
            for row in rows
        ]
        assert sum(row["event_count"] for row in rows) == len(events) > 1000
    else:
        counted = {row[key]: row["event_count"] for row in rows}
        assert counted == Counter(event[key] for event in events)


def test_a_histogram_counts_the_lifetimes_that_are_listed(
    incident: Target, allocations: list[dict[str, Any]]
) -> None:
    rows = asking(incident)("correlate --lifetimes --histogram")
    lasted = [row["lifetime_ns"] for row in allocations if row["state"] == "freed"]
    assert [row["count"] for row in rows] == [
        sum(row["at_least"] <= time < row["below"] for time in lasted) for row in rows
    ]
    assert sum(row["count"] for row in rows) == len(lasted) > 1000
    assert all(row["below"] == 2 * row["at_least"] for row in rows)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "correlate --histogram",
            "--histogram is of all lifetimes that filters choose",
        ),
        ("correlate --lifetimes --histogram --by comm", "without --by"),
        ("trace show --histogram pfn", "choose from"),
        ("trace show --histogram cpu --format classic", "choose one"),
        ("trace show --histogram cpu -o a.svg", ".svg is for stacks"),
    ],
)
def test_a_histogram_that_cannot_be_is_one_sentence(
    pagedbg: Run, line: str, said: str
) -> None:
    done = pagedbg("-c", SAMPLE, *line.split())
    assert done.returncode in (1, 2) and not done.stdout
    assert said in done.stderr and len(done.stderr.splitlines()) == 1


def test_over_time_the_end_is_what_is_leaked(
    pagedbg: Run, allocations: list[dict[str, Any]], tmp_path: Path
) -> None:
    page = tmp_path / "held.html"
    done = pagedbg("-c", SAMPLE, "correlate", "-o", page)
    assert done.returncode == 0, done.stderr
    # What was lost, and what it was compared with, is on the page, too.
    assert "Compared with the pages as they are in sample.vmcore" in page.read_text()
    (cells,) = re.findall(r'id="cells">(.*)</script>', page.read_text())
    told = json.loads(cells)
    named = told["calls"]["names"]
    held: Counter[str] = Counter()
    for path, cells in zip(told["stacks"], told["cells"], strict=True):
        held[named[path[0]]] += sum(pages for _, until, pages in cells if until < 0)
    leaked = Counter[str]()
    for row in correlated("--leaked", "--by", "function"):
        leaked[f"{row['function']} [leaky]"] += row["pages"]
    assert +held == leaked
    assert told["begin"] <= min(row["ts_ns"] for row in allocations)

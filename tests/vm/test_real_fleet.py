# SPDX-License-Identifier: GPL-2.0-or-later
"""
A fleet of guests tells which driver leaks, from where, and since when. Spark is asked
the same by ``make test-fleet``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import real_fleet
from booted import pagedbg
from real_fleet import AFTER, BEFORE, FRAMES

PAGE = 4096


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lake, saved = (tmp_path_factory.mktemp(name) for name in ("lake", "saved"))
    real_fleet.fill_lake(lake, saved)
    return lake


def rows(question: str, lake: Path, *words: str) -> list[dict[str, Any]]:
    done = pagedbg("fleet", question, lake, *words, "--format", "json")
    assert done.status == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def first(question: str, lake: Path, *words: str) -> dict[str, Any]:
    """
    What comes first of the kernel's own memory. What programs hold is as much, and
    comes by call paths that have other functions in another kernel.
    """
    (row,) = rows(question, lake, *words, "--kind", "kernel", "--top", "1")
    return row


def names_it(row: dict[str, Any]) -> bool:
    """Whether the stack of a row is that by which pages are lost."""
    return any(frame.startswith("leaky_rx_refill+") for frame in row["stack"])


def test_the_kernel_has_brought_a_driver_that_leaks(lake: Path) -> None:
    driver = first("since", lake, "6.12*", "--by", "module")
    assert driver["module"] == "leaky"
    stack = first("since", lake, "6.12*")
    assert names_it(stack)
    assert (stack["hosts_more"], stack["hosts_less"]) == (1, 0)
    # Of two days, on the second of which as much again was lost.
    assert stack["bytes_per_host"] == driver["bytes_per_host"] == FRAMES * 1.5 * PAGE
    assert stack["share_within"] == stack["share_between"] > 0


def test_it_leaks_on_one_host_and_goes_on(lake: Path) -> None:
    more = first("diff", lake, "--before", BEFORE, "--after", AFTER)
    assert names_it(more)
    assert more["delta_bytes"] == FRAMES * PAGE
    assert (more["hosts_more"], more["hosts_less"]) == (1, 0)
    (grown,) = rows("trend", lake, "--module", "leaky")
    assert names_it(grown)
    assert grown["straightness"] == 100
    assert (grown["first_bytes"], grown["last_bytes"]) == (0, 2 * FRAMES * PAGE)
    (host,) = rows("hosts", lake, "--stack", "leaky_rx_refill")
    assert host["host"] == "web1"
    assert host["release"].startswith("6.12.")
    assert host["bytes"] == 2 * FRAMES * PAGE


def test_what_a_clock_says_that_was_set_is_left_out(lake: Path) -> None:
    done = pagedbg("fleet", "status", lake)
    (note,) = [line for line in done.stdout.splitlines() if "left out" in line]
    assert note.startswith(real_fleet.SET)
    assert note.endswith("its clock was set: it is left out.")

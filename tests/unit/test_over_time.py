# SPDX-License-Identifier: GPL-2.0-or-later
"""
Stacks over time: what is held of a range is what the allocations say, and the page
shows it in a browser, whatever names are in it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from browser import looked_at
from hypothesis import given, settings
from hypothesis import strategies as st

from pagedbg.analysis.held_over_time import HeldOverTime
from pagedbg.output.over_time_page import over_time_page
from pagedbg.schema.allocation import (
    ALLOCATION,
    FREED,
    LIVE,
    SPLIT_UP,
    UNKNOWN,
)
from pagedbg.schema.stacks_over_time import StacksOverTime

FIRST, LAST = 1_000, 1_599


class Made(NamedTuple):
    """An allocation: who made it and when, of which order, and what became of it."""

    handle: int
    ts: int
    order: int
    state: int
    held: int = 0
    freed: int = -1


@st.composite
def allocations(draw: st.DrawFn) -> Made:
    """One that could be."""
    handle, order = draw(st.integers(1, 70)), draw(st.integers(0, 4))
    ts = draw(st.integers(FIRST, LAST))
    later = st.integers(ts, LAST)
    state = draw(st.sampled_from((LIVE, FREED, SPLIT_UP, UNKNOWN)))
    if state == LIVE:
        return Made(handle, ts, order, state, 1 << order)
    if state == SPLIT_UP:
        held = draw(st.integers(1, 1 << order))
        return Made(handle, ts, order, state, held, draw(later | st.just(-1)))
    return Made(handle, ts, order, state, 0, draw(later) if state == FREED else -1)


def over_time(*parts: list[Made]) -> StacksOverTime:
    """What is made of allocations that come in parts."""
    made = HeldOverTime(FIRST, LAST, 4096)
    for part in parts:
        rows = np.zeros(len(part), ALLOCATION)
        for row, each in zip(rows, part, strict=True):
            row["handle"], row["ts_nsec"], row["order"] = (
                each.handle,
                each.ts,
                each.order,
            )
            row["state"], row["held"], row["freed_ns"] = (
                each.state,
                each.held,
                each.freed,
            )
        made.add(rows)
    return made.made(lambda handle: [f"asker_{handle}+0x1/0x2", "outer+0x1/0x2"])


@settings(deadline=None)
@given(st.lists(st.lists(allocations(), max_size=40), min_size=1, max_size=3))
def test_what_a_range_holds_is_what_the_allocations_say(
    parts: list[list[Made]],
) -> None:
    found = over_time(*parts)
    assert (found.begin, found.width, found.stretches) == (1000, 10, 60)
    every = [each for part in parts for each in part]
    for first, last in ((0, 59), (0, 30), (17, 41), (59, 59)):
        start, end = 1000 + 10 * first, 1000 + 10 * (last + 1)
        expected = 0
        for each in every:
            if not start <= each.ts < end:
                continue
            expected += each.held
            if each.freed >= end and each.state in (FREED, SPLIT_UP):
                expected += (1 << each.order) - each.held
        assert expected == sum(
            pages
            for cells in found.cells
            for begun, until, pages in cells
            if first <= begun <= last and (until < 0 or until > last)
        )
    unknown = sum((1 << each.order) - each.held for each in every if each.freed < 0)
    assert bool(found.said) == (unknown > 0)
    if unknown:
        assert found.said[0].startswith(f"{unknown:,} pages are left out")


def test_of_many_stacks_the_smallest_are_one() -> None:
    made = [Made(handle, 1000, 0, LIVE, 1) for handle in range(1, 70)]
    found = over_time(made, [Made(69, 1200, 4, LIVE, 16)])
    assert len(found.stacks) == 61 == len(found.cells)
    assert found.stacks[0][0] == "asker_69+0x1/0x2"
    assert found.stacks[-1] == ["(9 other stacks)"]
    assert found.cells[-1] == [(0, -1, 9)]


def test_without_allocations_there_is_a_page() -> None:
    page = over_time_page(over_time([]), "t", inverted=False, allocator=False)
    assert "</html>" in page


# ---- in a browser ----------

ATTACK = "</script><script>document.title='run'</script>"

DATA = StacksOverTime(
    0,
    1_000_000_000,
    4,
    4096,
    [
        ["post_alloc_hook+0x1/0x2", "refill+0x1/0x2 [leaky]", "poll+0x1/0x2 [leaky]"],
        ["fault+0x1/0x2", "a_function_whose_name_is_" + "long_" * 40],
        [ATTACK, "<b>outer</b>\u2028"],
    ],
    # The leak grows; faults come and go; the attacker's page stays.
    [[(0, -1, 10), (1, -1, 10), (3, -1, 10)], [(0, 2, 50), (2, 3, 7)], [(1, -1, 1)]],
    ["5 pages are left out <b>."],
)

DRIVER = """
<script>
const seen = {};
addEventListener("error", event => { seen.error = event.message; });
const names = () => [...calls.querySelectorAll("button")].map(each => each.textContent);
const look = () => ({ range: range.textContent, names: names(),
  functions: [...document.querySelectorAll("tbody tr")].map(
    each => each.cells[0].textContent + " " + each.cells[1].textContent),
  bright: [...times.children].map(each => each.className) });
seen.all = look();
seen.heights = [...times.children].map(bar => [...bar.children].reduce(
  (sum, part) => sum + part.getBoundingClientRect().height, 0) / times.clientHeight);
seen.titles = [...times.children].map(bar => bar.title);
seen.legend = [...legend.children].map(each => each.textContent);
until.value = 1;
until.dispatchEvent(new Event("input"));
seen.early = look();
from.value = 2;
from.dispatchEvent(new Event("input"));
seen.later = look();
const edge = times.getBoundingClientRect();
const point = (kind, share) => times.dispatchEvent(new PointerEvent(kind,
  { bubbles: true, clientX: edge.left + share * edge.width }));
point("pointerdown", 0.3);
point("pointermove", 0.7);
point("pointerup", 0.7);
point("pointermove", 0.1);
seen.dragged = look();
[...calls.querySelectorAll("button")].find(
  each => each.textContent === "refill [leaky]").click();
seen.said = said.textContent;
seen.wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
seen.title = document.title;
seen.fetched = performance.getEntriesByType("resource").length;
document.body.dataset.seen = JSON.stringify(seen);
</script>
"""


@pytest.mark.once
@pytest.mark.parametrize("width", [360, 800, 1600])
def test_a_range_shows_what_is_still_held_at_its_end(
    tmp_path: Path, width: int
) -> None:
    page = over_time_page(DATA, f"correlate {ATTACK}", inverted=False, allocator=False)
    seen: Any = looked_at(page, tmp_path, DRIVER, width)
    assert "error" not in seen
    assert seen["all"]["range"] == "0 s to 4 s: 31 pages, 124.0 KiB"
    assert "refill [leaky] 30" in seen["all"]["functions"]
    assert "post_alloc_hook" not in seen["all"]["names"]
    assert "fault" not in seen["all"]["names"] and ATTACK in seen["all"]["names"]
    assert seen["all"]["bright"] == ["in"] * 4
    # 60, 71, 28 and 31 pages.
    assert seen["heights"] == pytest.approx([60 / 71, 1, 28 / 71, 31 / 71], abs=0.02)
    assert seen["titles"][1] == "2 s: 71 pages, 284.0 KiB"
    assert seen["legend"] == ["fault", "refill [leaky]", ATTACK]
    early = seen["early"]
    assert early["range"] == "0 s to 2 s: 71 pages, 284.0 KiB"
    assert early["functions"][0] == "fault 50" and early["bright"] == [
        "in",
        "in",
        "",
        "",
    ]
    # The end follows where it would lie before the beginning.
    assert seen["later"]["range"] == "2 s to 3 s: 7 pages, 28.0 KiB"
    # The second and the third, and nothing once the button is up.
    assert seen["dragged"]["range"] == "1 s to 3 s: 18 pages, 72.0 KiB"
    assert seen["dragged"]["bright"] == ["", "in", "in", ""]
    assert seen["said"] == "refill [leaky]: 10 pages, 40.0 KiB, 55.6%"
    assert seen["wide"] <= 0
    assert seen["title"] == f"correlate {ATTACK}"
    assert seen["fetched"] == 0

# SPDX-License-Identifier: GPL-2.0-or-later
"""
``top``: rates are those of the events, the screen fits into any window, and in a
terminal its keys do what it says while a capture grows.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_meta import meta
from rich.cells import cell_len
from test_prompt import Terminal

from pagedbg.analysis.holder_rates import HolderRates
from pagedbg.capture.files import STACKS
from pagedbg.capture.this_boot import boot_id
from pagedbg.capture.writer import CaptureWriter
from pagedbg.schema import event_record
from pagedbg.schema.capture_meta import Kernel, Process
from pagedbg.schema.event_record import COPY, NO_RECORD, RECORD, RESET, SET
from pagedbg.shell.top_screen import TopScreen, TopSource, TopState

STACK = {
    1: ["post_alloc_hook+0x1/0x2", "refill+0x1/0x2 [leaky]", "poll+0x1/0x2 [leaky]"],
    2: ["post_alloc_hook+0x1/0x2", "do_fault+0x1/0x2"],
    3: ["post_alloc_hook+0x1/0x2", "send+0x1/0x2 [leaky]"],
}


def records(*events: tuple[int, int, int], first: int = 1) -> Any:
    """Whole records of events: what happened, the order, the handle."""
    found = np.zeros(len(events), RECORD)
    for number, (event, order, handle) in enumerate(events):
        found[number]["seq"], found[number]["pfn"] = first + number, 16 * number
        found[number]["time_nsec"] = 1000 * (first + number)
        found[number]["event"], found[number]["order"] = event, order
        found[number]["handle"] = handle
    found["check"] = event_record.check_of(found)
    return found


EVENTS = st.lists(
    st.tuples(
        st.sampled_from((SET, RESET, COPY)), st.integers(0, 10), st.integers(1, 4)
    )
)


@settings(deadline=None)
@given(st.lists(EVENTS, min_size=1, max_size=8))
def test_rates_are_those_of_the_last_seconds(parts: list[list[Any]]) -> None:
    rates = HolderRates(0.0)
    for second, part in enumerate(parts, 1):
        rates.add(records(*part))
        rates.tick(float(second))
    grown, lately = Counter[int](), {SET: Counter[int](), RESET: Counter[int]()}
    begun = max(len(parts) - 5, 0)
    for second, part in enumerate(parts):
        for event, order, handle in part:
            if event != COPY:
                grown[handle] += (1 << order) * (1 if event == SET else -1)
                if second >= begun:
                    lately[event][handle] += 1 << order
    seconds = len(parts) - begun
    found = {each.holder: each for each in rates.rates(str)}
    assert {int(name): each.grown for name, each in found.items()} == grown
    for name, each in found.items():
        assert each.handles == (int(name),)
        assert each.allocated == pytest.approx(lately[SET][int(name)] / seconds)
        assert each.freed == pytest.approx(lately[RESET][int(name)] / seconds)
    assert rates.events == sum(map(len, parts))
    assert rates.moved == sum(1 << o for p in parts for e, o, _ in p if e == COPY)


def test_stacks_of_one_holder_are_one() -> None:
    rates = HolderRates(0.0)
    rates.add(records((SET, 0, 1), (SET, 2, 3), (RESET, 2, 3)))
    rates.tick(1.0)
    (found,) = rates.rates(lambda handle: "leaky")
    assert found == ("leaky", 5.0, 4.0, 1, (3, 1))


def test_what_could_not_be_read_is_nobodys_and_counted() -> None:
    rates = HolderRates(0.0)
    events = records((RESET, 3, 9), (RESET, 0, 1))
    events["flags"][0] = NO_RECORD
    rates.add(events)
    assert [each.holder for each in rates.rates(str)] == ["1"]
    assert rates.unknown == 1


# ---- the screen ----------


def screen(events: Any, said: tuple[str, ...] = (), goes_on: bool = True) -> TopScreen:
    """A screen a second after some events."""

    def drain(rates: HolderRates) -> bool:
        rates.add(events)
        return goes_on

    found = TopScreen(
        TopSource(
            drain, lambda handle: STACK.get(handle, ()), lambda rates: said, 4096
        ),
        TopState(),
        1.0,
    )
    found._rates = HolderRates(0.0)
    found.take(1.0)
    return found


BUSY = records(*[(SET, 0, 1)] * 300, *[(SET, 4, 2), (RESET, 4, 2)] * 200, (SET, 9, 3))


def rows(top: TopScreen, columns: int = 100, lines: int = 20) -> list[str]:
    return [line for _, line in top.lines(columns, lines)]


def order(top: TopScreen) -> list[str]:
    """The holders, from above."""
    return [line.split()[-1] for line in rows(top)[1:] if line.strip()][:3]


def test_it_says_who_allocates_and_frees_how_fast() -> None:
    heading, *body = rows(screen(BUSY, ("801 events.",)))
    assert heading.split() == ["alloc/s", "free/s", "grown", "function"]
    assert [line.split() for line in body[:3]] == [
        ["12.5", "MiB", "12.5", "MiB", "0", "B", "do_fault"],
        ["2.0", "MiB", "0", "B", "2.0", "MiB", "send"],
        ["1.2", "MiB", "0", "B", "1.2", "MiB", "refill"],
    ]
    assert body[-2] == "801 events."


@pytest.mark.parametrize(
    ("key", "first"),
    [("a", "do_fault"), ("g", "send"), ("f", "do_fault"), ("n", "do_fault")],
)
def test_a_key_sorts(key: str, first: str) -> None:
    top = screen(BUSY)
    top.press(key)
    assert order(top)[0] == first


def test_b_changes_who_a_holder_is() -> None:
    top = screen(BUSY)
    top.press("b")
    assert [line.split("  ")[-1] for line in rows(top)[1:3]] == [
        "(the kernel itself)",
        "leaky",
    ]
    top.press("b")
    assert "0x2 do_fault" in rows(top)[1]


def test_a_row_unfolds_to_its_stack() -> None:
    top = screen(BUSY)
    top.lines(100, 20)
    top.move(1)
    top.press(" ")
    shown = rows(top)
    at = next(i for i, line in enumerate(shown) if line.endswith("send"))
    assert shown[at + 1 : at + 3] == [f"    {frame}" for frame in STACK[3]]
    top.press(" ")
    assert len([line for line in rows(top) if "post_alloc_hook" in line]) == 0


def test_a_filter_looks_at_names_and_frames() -> None:
    top = screen(BUSY)
    for key in "/LEAKY":
        top.press(key)
    assert {each.holder for each in top.shown()} == {"send", "refill"}
    for key in "x":
        top.press(key)
    assert rows(top)[1] == "Nothing fits."


def test_it_says_when_the_trace_has_ended_and_when_nothing_happened() -> None:
    top = screen(records(), goes_on=False)
    shown = rows(top)
    assert shown[1] == "No event yet." and "The trace has ended." in shown


@pytest.mark.parametrize("columns", [20, 40, 59, 80, 200])
@pytest.mark.parametrize("lines", [5, 24])
def test_it_fits_into_any_window(columns: int, lines: int) -> None:
    top = screen(BUSY, ("801 events, of which this is said at length.",))
    top.press("g")
    shown = rows(top, columns, lines)
    assert len(shown) == lines
    # By what it is sorted is seen, whatever else is.
    assert "grown" in shown[0]
    assert all(cell_len(line) <= columns for line in shown[1:-1])
    # What is said is not cut.
    assert lines == 5 or "801 events, of which this is said at length." in " ".join(
        shown
    )
    # The one that the keys are about is, too.
    top.move(2)
    assert any(style == "class:chosen" for style, _ in top.lines(columns, lines))


@pytest.mark.parametrize("columns", [40, 48, 59, 60, 80])
def test_in_a_narrow_window_names_are_told_apart(columns: int) -> None:
    names = ["pagedbg_churn_alloc", "pagedbg_churn_pairs", "pagedbg_churn_split"]
    top = screen(BUSY)
    top._source = top._source._replace(
        stack=lambda handle: [f"{names[handle - 1]}+0x5/0x40 [pagedbg_churn]"]
    )
    assert sorted(order(top)) == sorted(
        line.split()[-1] for line in rows(top, columns)[1:4]
    )


def test_a_name_cannot_drive_the_terminal() -> None:
    STACK[7] = ["\x1b[2J+0x1/0x2"]
    top = screen(records((SET, 0, 7)))
    top.lines(100, 20)
    top.press(" ")
    assert not any("\x1b" in line for line in rows(top))
    del STACK[7]


# ---- in a terminal ----------


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[CaptureWriter]:
    """A capture that this process records."""
    made = CaptureWriter(tmp_path / "capture")
    made.begin(meta())
    (made.path / STACKS).write_text(
        "".join(
            json.dumps({"handle": handle, "stack": stack}) + "\n"
            for handle, stack in STACK.items()
        )
    )
    yield made


@pytest.fixture
def opened(writer: CaptureWriter, tmp_path: Path) -> Callable[..., Terminal]:
    def begin(**more: Any) -> Terminal:
        return Terminal(
            tmp_path, "--capture", str(writer.path), "-e", "top -n 0.1", **more
        )

    return begin


def test_it_is_drawn_while_the_capture_grows_and_q_ends_it(
    writer: CaptureWriter, opened: Callable[..., Terminal]
) -> None:
    terminal = opened()
    terminal.expect("No event yet.")
    writer.append(records(*[(SET, 4, 1)] * 50))
    terminal.expect("refill")
    writer.append(records(*[(SET, 4, 2)] * 500, first=51))
    terminal.expect("do_fault")
    terminal.child.send("\r")
    # The one that was chosen stays it, whoever is above.
    terminal.expect("refill+0x1/0x2 [leaky]")
    terminal.child.send("/no such holder\r")
    terminal.expect("Nothing fits.")
    terminal.child.send("\x1b")
    terminal.expect("do_fault")
    terminal.child.send("q")
    assert terminal.left() == 0


def test_ctrl_c_ends_it_in_a_narrow_window(
    writer: CaptureWriter, opened: Callable[..., Terminal]
) -> None:
    terminal = opened(columns=40, lines=8)
    terminal.expect("No event yet.")
    terminal.child.sendcontrol("c")
    assert terminal.left() == 0


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"recorder": Process(os.getpid(), 1)}, "no trace is running"),
        ({"ring": True}, "keeps its events in the rings"),
        (
            {"kernel": Kernel("6.12.0", "", boot_id(), 4096, False)},
            "a free does not say whose pages it gives back",
        ),
    ],
)
def test_what_cannot_be_followed_is_one_sentence(
    tmp_path: Path, more: dict[str, Any], said: str
) -> None:
    made = CaptureWriter(tmp_path / "capture")
    made.begin(meta(**more))
    terminal = Terminal(tmp_path, "--capture", str(made.path), "-e", "top")
    terminal.expect(said)
    assert terminal.left() == 1

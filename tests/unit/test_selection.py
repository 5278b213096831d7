# SPDX-License-Identifier: GPL-2.0-or-later
"""
Filters choose what a plain loop over the rows would, with the names of a capture:
blocks and records alike.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_meta import meta

from pagedbg.analysis.selection import Selection
from pagedbg.analysis.undrawn import Undrawn, positive, text
from pagedbg.capture.directory import Capture
from pagedbg.capture.files import STACKS
from pagedbg.capture.writer import CaptureWriter
from pagedbg.errors import PagedbgError, UsageError
from pagedbg.schema.allocation import ALLOCATION
from pagedbg.schema.batch import Records
from pagedbg.schema.blocks import Blocks
from pagedbg.schema.capture_meta import Ended, Process
from pagedbg.schema.owner_record import decode_comm
from pagedbg.schema.recorded_names import RecordedNames, Zone
from pagedbg.shell.filter_options import FILTERS, NOT_RECORDED_BY
from pagedbg.shell.parser import Parser
from pagedbg.sources.capture_names import CaptureNames

NOW = 100 * 10**9
RECORDER = 3
NAMES = RecordedNames(
    gfp=[(0xCC0, "GFP_KERNEL"), (0x8, "__GFP_MOVABLE"), (0x10, "__GFP_RECLAIMABLE")],
    migratetype=["Unmovable", "Movable", "Reclaimable"],
    zones=[
        Zone(0, "DMA", 0, 100),
        Zone(0, "Normal", 100, 1000),
        Zone(1, "Normal", 1000, 2000),
    ],
)
STACK_OF = {
    1: ["kmalloc+0x1/0x2", "leak+0x3/0x4 [leaky]", "write+0x5/0x6"],
    2: ["alloc_pages+0x1/0x2", "fault+0x3/0x4"],
}
COMMS = ["bash", "kworker/0:1", "", "sixteen letters"]


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> CaptureNames:
    """Those of a capture that has ended."""
    path = tmp_path_factory.mktemp("captured") / "capture"
    writer = CaptureWriter(path)
    writer.begin(
        meta(
            names=NAMES,
            recorder=Process(RECORDER, 0),
            ended=Ended(NOW, "", "trace stop", NOW),
        )
    )
    writer.close()
    (path / STACKS).write_text(
        "".join(
            json.dumps({"handle": handle, "stack": stack}) + "\n"
            for handle, stack in STACK_OF.items()
        )
    )
    return CaptureNames(Capture(path), None)


def filters(*words: str) -> argparse.Namespace:
    """Filters as a command line has them."""
    parser = Parser("owners", add_help=False)
    parser.add_arguments([NOT_RECORDED_BY, FILTERS])
    return parser.parse_args(list(words))


row = st.fixed_dictionaries(
    {
        "pfn": st.integers(0, 2200),
        "order": st.integers(0, 3),
        "gfp_mask": st.sampled_from([0xCC0, 0x8, 0xCC8, 0x10, 0]),
        "handle": st.integers(0, 3),
        "pid": st.integers(0, 4),
        "tgid": st.integers(0, 4),
        "comm": st.sampled_from(COMMS),
        "ts_nsec": st.integers(0, NOW),
    }
)

Row = dict[str, Any]


def allocations(rows: list[Row]) -> Any:
    """The rows as records."""
    found = np.zeros(len(rows), ALLOCATION)
    for number, each in enumerate(rows):
        for name, value in each.items():
            if name == "comm":
                value = np.frombuffer(value.encode().ljust(16, b"\0"), np.uint64)
            found[number][name] = value
    return found


def zone_of(pfn: int) -> str | None:
    """The zone of a page."""
    return next((z.zone for z in NAMES.zones if z.start_pfn <= pfn < z.end_pfn), None)


TESTS: dict[tuple[str, ...], Callable[[Row], bool]] = {
    ("--orders", ">=2"): lambda row: row["order"] >= 2,
    ("--pfns", "102-900"): lambda row: (
        row["pfn"] <= 900 and row["pfn"] + (1 << row["order"]) > 102
    ),
    ("--gfp", "gfp_kernel"): lambda row: row["gfp_mask"] & 0xCC0 == 0xCC0,
    ("--pid", "1,3"): lambda row: row["pid"] in (1, 3) or row["tgid"] in (1, 3),
    ("--age", ">50s"): lambda row: NOW - row["ts_nsec"] >= 50 * 10**9,
    ("--migratetype", "movable"): lambda row: row["gfp_mask"] & 0x18 == 8,
    ("--comm", "k*,bash"): lambda row: row["comm"][:1] in ("k", "b"),
    ("--zone", "normal"): lambda row: zone_of(row["pfn"]) == "Normal",
    ("--node", "1"): lambda row: 1000 <= row["pfn"] < 2000,
    ("--stack", "fault|lost"): lambda row: row["handle"] == 2,
    ("--no-self",): lambda row: row["tgid"] != RECORDER,
    ("--module", "leaky"): lambda row: row["handle"] == 1,
}


@settings(max_examples=100)
@given(st.lists(row, max_size=30), st.sets(st.sampled_from(sorted(TESTS)), max_size=3))
def test_the_filters_choose_what_a_plain_loop_does(
    names: CaptureNames, rows: list[Row], asked: set[tuple[str, ...]]
) -> None:
    choose = Selection(filters(*(word for pair in asked for word in pair)), names)
    expected = [all(TESTS[pair](row) for pair in asked) for row in rows]
    records = allocations(rows)
    assert choose(Records(records)).tolist() == expected
    # A second batch has nothing but values that are known.
    assert choose(Records(records[::-1])).tolist() == expected[::-1]
    blocks = Blocks(
        records["pfn"], records["order"], np.ones(len(rows), np.int64), records
    )
    assert choose(blocks).tolist() == expected
    every_other = blocks.take(np.arange(0, len(rows), 2))
    assert choose(every_other).tolist() == expected[::2]


def test_a_value_is_asked_for_once_however_many_rows_have_it(
    names: CaptureNames,
) -> None:
    asked: Counter[str] = Counter()
    args = filters("--stack", ".")
    args.stack = lambda stack: asked.update(stack) or True
    choose = Selection(args, names)
    for _ in range(3):
        choose(Records(allocations([{"handle": 1}, {"handle": 2}, {"handle": 1}])))
    assert asked == Counter([*STACK_OF[1], *STACK_OF[2]])


def test_the_owner_of_an_events_page_is_its_own_member(names: CaptureNames) -> None:
    events = np.zeros(2, [("pid", "<u4"), ("owner_pid", "<u4"), ("owner_tgid", "<u4")])
    events["pid"], events["owner_pid"] = [1, 2], [2, 1]
    choose = Selection(filters("--pid", "1"), names)
    assert choose(Records(events, owner="owner_")).tolist() == [False, True]


@pytest.mark.parametrize(
    "words",
    [("--gfp", "GFP_NONE"), ("--migratetype", "nope"), ("--zone", "nope")],
)
def test_words_that_the_kernel_has_not_are_refused(
    names: CaptureNames, words: tuple[str, str]
) -> None:
    with pytest.raises(UsageError, match=words[0]):
        Selection(filters(*words), names)


def test_ages_need_the_time_of_now(names: CaptureNames) -> None:
    capture = Capture(names.capture.path)
    capture.meta.ended = None
    with pytest.raises(PagedbgError, match="does not say what time it is"):
        Selection(filters("--age", ">1s"), CaptureNames(capture, None))


# ---- columns that are sorted before they are drawn ----------

COLUMNS: dict[str, Callable[[Any, CaptureNames], Undrawn]] = {
    "pfn": lambda rows, names: Undrawn(rows["pfn"]),
    "freed_ns": lambda rows, names: positive(rows["freed_ns"]),
    "gfp": lambda rows, names: Undrawn(rows["gfp_mask"], word=names.gfp),
    "comm": lambda rows, names: text(rows["comm"], lambda c: names.comm(c) or None),
}


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("descending", [False, True])
@settings(max_examples=20)
@given(st.lists(row, max_size=20), st.none() | st.integers(1, 5))
def test_rows_are_in_the_order_in_which_their_values_are_drawn(
    names: CaptureNames,
    column: str,
    descending: bool,
    rows: list[Row],
    top: int | None,
) -> None:
    records = allocations(rows)
    records["freed_ns"] = [each["pid"] - 1 for each in rows]
    undrawn = COLUMNS[column](records, names)
    values = undrawn.draw()
    assert (
        values
        == {
            "pfn": [each["pfn"] for each in rows],
            "freed_ns": [each["pid"] - 1 if each["pid"] else None for each in rows],
            "gfp": [names.gfp(each["gfp_mask"]) for each in rows],
            "comm": [decode_comm(each) or None for each in records["comm"]],
        }[column]
    )
    known = [i for i, value in enumerate(values) if value is not None]
    # A sort keeps the order of equals, turned round as well.
    known.sort(key=values.__getitem__, reverse=descending)
    unknown = [i for i, value in enumerate(values) if value is None]
    assert undrawn.order(descending, top).tolist() == [*known, *unknown][:top]

# SPDX-License-Identifier: GPL-2.0-or-later
"""The pictures of a report: a treemap, and events over time."""

from __future__ import annotations

import itertools

import pytest

from pagedbg.output.palette import contrast, ink_on, rgb
from pagedbg.output.timeline import Happened, timeline
from pagedbg.output.treemap import Part, treemap
from pagedbg.schema.picture import Box

WEIGHTS = (600, 300, 200, 60, 60, 30, 10, 1)


def area(box: Box) -> float:
    # With the gap that is drawn beside it.
    return (box.width + 2) * (box.height + 2)


def parts() -> list[Part]:
    return [Part(f"p{i}", weight, str(weight), "g") for i, weight in enumerate(WEIGHTS)]


def test_a_part_of_a_treemap_is_as_large_as_its_share() -> None:
    picture = treemap(parts(), "t")
    whole = picture.width * picture.height
    for box, weight in zip(picture.boxes, WEIGHTS, strict=True):
        expected = whole * weight / sum(WEIGHTS)
        assert area(box) == pytest.approx(expected, rel=0.02, abs=30)


def test_parts_of_a_treemap_lie_beside_each_other() -> None:
    picture = treemap(parts(), "t")
    for one, other in itertools.combinations(picture.boxes, 2):
        assert (
            one.x + one.width <= other.x
            or other.x + other.width <= one.x
            or one.y + one.height <= other.y
            or other.y + other.height <= one.y
        ), (one, other)
    for box in picture.boxes:
        assert box.x >= 0 and box.x + box.width <= picture.width
        assert box.y >= 0 and box.y + box.height <= picture.height


def test_a_name_that_is_too_long_is_cut_and_an_amount_has_a_name() -> None:
    long = "reserved, what is called at length"
    picture = treemap(
        [Part("a", 5000, "5000", "a"), Part(long, 1000, "1000", "b")], "t"
    )
    named = [label.text for label in picture.labels if label.bold]
    assert len(named) == 2 and named[1].endswith("…") and long.startswith(named[1][:-1])
    assert [label.text for label in picture.labels if not label.bold] == [
        "5000",
        "1000",
    ]


def test_what_is_written_on_a_colour_is_read() -> None:
    for color in map(rgb, range(16, 256)):
        ink = {"black": "#000000", "white": "#ffffff"}[ink_on(color)]
        assert contrast(color, ink) >= 4.5, color


def test_contrast_is_what_wcag_says() -> None:
    # The lightest grey that is read on white, and the next.
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.005)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)


def test_what_is_nothing_has_no_place() -> None:
    assert treemap([], "t").boxes == []
    picture = treemap([Part("a", 0, "0", "a"), Part("b", 1, "1", "b")], "t")
    assert [box.title for box in picture.boxes] == ["b: 1"]


def test_bars_count_all_events() -> None:
    events = [Happened(10**9 + i * 10**6, "set") for i in range(500)]
    events += [Happened(10**9 + i * 10**7, "reset") for i in range(50)]
    picture = timeline(events, [], "t")
    for kind, count in (("set", 500), ("reset", 50)):
        counts = [
            int(box.title.split()[0])
            for box in picture.boxes
            if f" {kind} from" in box.title
        ]
        assert len(counts) > 10 and sum(counts) == count
    assert all(box.x + box.width <= picture.width for box in picture.boxes)


def test_a_failure_that_is_far_away_is_not_drawn() -> None:
    events = [Happened(10**12 + i, "set") for i in range(3)]
    for time, drawn in ((10**12 + 1, True), (10**12 + 10**8, True), (10**11, False)):
        picture = timeline(events, [Happened(time, "OOM kill")], "t")
        found = [box for box in picture.boxes if box.title.startswith("OOM kill at")]
        assert len(found) == drawn
        assert all(box.x + box.width <= picture.width for box in picture.boxes)


def test_one_event_is_drawn() -> None:
    picture = timeline([Happened(5, "set")], [], "t")
    assert [box.title for box in picture.boxes if box.title] == [
        "1 set from 0.000000005 s, 1e-06 ms"
    ]

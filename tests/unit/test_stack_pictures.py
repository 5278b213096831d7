# SPDX-License-Identifier: GPL-2.0-or-later
"""
Stacks as pictures and for other programs: what they have adds up, and no name becomes
markup, script or another frame.
"""

from __future__ import annotations

import io
import json
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from typing import Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagedbg.errors import UsageError
from pagedbg.output.call_tree import Call, call_tree
from pagedbg.output.file_formats import (
    ENDINGS,
    StackOptions,
    file_format,
    file_writer,
)
from pagedbg.output.icicle import icicle
from pagedbg.schema.table import Column, Table

SVG = "{http://www.w3.org/2000/svg}"

ALLOCATION = ("get_page_from_freelist+0x141d/0x15a0", "__alloc_pages_noprof+0x1/0x2")
REFILL = (*ALLOCATION, "leaky_rx_refill+0x15/0x40 [leaky]", "leaky_rx_poll+0x1/0x2")
FAULT = (*ALLOCATION, "vma_alloc_folio_noprof+0x1/0x2", "handle_mm_fault+0x3/0x9")
WRITE = (*REFILL, "ksys_write+0x5/0x9")

ATTACKS = (
    "</script><script>alert(1)</script>",
    "<!--",
    "]]>",
    "\"'><img src=x onerror=alert(1)>",
    "a\u2028b\u2029c",
    "&lt;b&gt;",
    "x;y z\n1 2",
    "\x1b]0;x\x07",
    "\ud800",
    "TITLE DATA",
)


def table(rows: list[tuple[tuple[str, ...], int]]) -> Table:
    columns = [
        Column("stack", "stack"),
        Column("pages", "int"),
        Column("bytes", "bytes"),
    ]
    return Table.of(columns, [(stack, pages, pages * 4096) for stack, pages in rows])


ROWS = [(REFILL, 5), (FAULT, 3), (WRITE, 2), (REFILL, 1), ((), 4)]


def written(
    ending: str,
    rows: list[tuple[tuple[str, ...], int]] = ROWS,
    title: str = "owners",
    **options: bool,
) -> str:
    pieces = file_writer(table(rows), ending, title, StackOptions(**options))()
    return b"".join(pieces).decode()


def names(call: Call) -> dict[str, int]:
    return {each.name: each.weight for each in call.sorted}


def test_a_tree_begins_with_who_asked_the_allocator() -> None:
    tree = call_tree(table(ROWS), inverted=False, allocator=False)
    assert (tree.root.weight, tree.bytes, tree.unit) == (15, 15 * 4096, "pages")
    assert names(tree.root) == {
        "leaky_rx_refill [leaky]": 8,
        "(no stack)": 4,
        "handle_mm_fault": 3,
    }
    assert tree.amount(tree.root.calls["handle_mm_fault"]) == "3 pages, 12.0 KiB, 20.0%"


def test_inverted_it_begins_with_the_outermost_frames() -> None:
    tree = call_tree(table(ROWS), inverted=True, allocator=True)
    assert names(tree.root) == {
        "leaky_rx_poll": 6,
        "(no stack)": 4,
        "handle_mm_fault": 3,
        "ksys_write": 2,
    }
    (refill,) = tree.root.calls["leaky_rx_poll"].sorted
    assert names(refill) == {"__alloc_pages_noprof": 6}


def test_a_stack_of_nothing_but_the_allocator_keeps_its_outermost_frame() -> None:
    tree = call_tree(table([(ALLOCATION, 7)]), inverted=False, allocator=False)
    assert names(tree.root) == {"__alloc_pages_noprof": 7}


def test_boxes_of_an_icicle_are_as_wide_as_what_they_have() -> None:
    tree = call_tree(table(ROWS), inverted=False, allocator=False)
    boxes = {box.title.split(":")[0]: box for box in icicle(tree, "t").boxes}
    whole = boxes["all"].width + 0.5
    for name, pages in names(tree.root).items():
        assert boxes[name].width + 0.5 == pytest.approx(whole * pages / 15, abs=0.02)
        assert boxes[name].y > boxes["all"].y


def test_what_is_too_narrow_is_counted() -> None:
    many = [(FAULT, 10**6), *(((f"f{i}+0x1/0x2",), 1) for i in range(30))]
    picture = icicle(call_tree(table(many), inverted=False, allocator=False), "t")
    assert any("30 calls that are too narrow" in each.text for each in picture.labels)


def test_an_svg_says_what_each_box_is() -> None:
    root = ET.fromstring(written("svg"))
    titles = [each.text for each in root.iter(f"{SVG}title")]
    assert "leaky_rx_refill [leaky]: 8 pages, 32.0 KiB, 53.3%" in titles
    assert root.find(f"{SVG}title").text == "owners"  # type: ignore[union-attr]


def test_a_png_is_a_picture_of_that_size() -> None:
    from PIL import Image

    (data,) = file_writer(table(ROWS), "png", "owners", StackOptions())()
    picture = icicle(call_tree(table(ROWS), inverted=False, allocator=False), "owners")
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        assert image.size == (2 * picture.width, 2 * picture.height)
        assert len(image.getcolors(1 << 20)) > 3  # type: ignore[arg-type]


def test_folded_lines_are_read_back() -> None:
    found = {}
    for line in written("folded").splitlines():
        path, _, weight = line.rpartition(" ")
        found[tuple(path.split(";"))] = int(weight)
    outer = "__alloc_pages_noprof", "get_page_from_freelist"
    refill = "leaky_rx_poll", "leaky_rx_refill [leaky]", *outer
    assert found == {
        refill: 6,
        ("handle_mm_fault", "vma_alloc_folio_noprof", *outer): 3,
        ("ksys_write", *refill): 2,
        ("(no stack)",): 4,
    }


@pytest.mark.once
def test_folded_lines_are_read_by_who_draws_them() -> None:
    from gprof2dot import SAMPLES, TOTAL_SAMPLES, CollapseParser

    profile = CollapseParser(io.StringIO(written("folded"))).parse()
    found = {
        each.name: (each[SAMPLES], each[TOTAL_SAMPLES])
        for each in profile.functions.values()
    }
    assert profile[SAMPLES] == 6 + 3 + 2 + 4
    assert found["get_page_from_freelist"] == (6 + 3 + 2, 6 + 3 + 2)
    assert found["leaky_rx_refill [leaky]"] == (0, 6 + 2)
    assert found["handle_mm_fault"] == (0, 3)
    assert found["(no stack)"] == (4, 4)


# ---- https://github.com/jlfwong/speedscope: src/lib/file-format-spec.ts ----


class Frame(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    file: str = ""
    line: int = 0
    col: int = 0


class Shared(msgspec.Struct, forbid_unknown_fields=True):
    frames: list[Frame]


class Sampled(msgspec.Struct, forbid_unknown_fields=True):
    type: Literal["sampled"]
    name: str
    unit: Literal[
        "none", "nanoseconds", "microseconds", "milliseconds", "seconds", "bytes"
    ]
    startValue: int
    endValue: int
    samples: list[list[int]]
    weights: list[int]


class SpeedscopeFile(msgspec.Struct, forbid_unknown_fields=True):
    schema: Literal["https://www.speedscope.app/file-format-schema.json"] = (
        msgspec.field(name="$schema")
    )
    shared: Shared
    profiles: list[Sampled]
    name: str = ""
    activeProfileIndex: int = 0
    exporter: str = ""


def speedscope(text: str) -> dict[tuple[str, ...], int]:
    """What a file has, checked as speedscope's own reader does."""
    file = msgspec.json.decode(text, type=SpeedscopeFile)
    (profile,) = file.profiles
    assert len(profile.samples) == len(profile.weights)
    assert profile.endValue - profile.startValue == sum(profile.weights)
    frames = [frame.name for frame in file.shared.frames]
    assert profile.unit == "bytes"
    return {
        tuple(frames[number] for number in sample): weight
        for sample, weight in zip(profile.samples, profile.weights, strict=True)
    }


def test_speedscope_reads_the_same() -> None:
    found = speedscope(written("speedscope.json"))
    assert found["(no stack)",] == 4 * 4096
    assert (
        found[
            "ksys_write",
            "leaky_rx_poll",
            "leaky_rx_refill [leaky]",
            "__alloc_pages_noprof",
            "get_page_from_freelist",
        ]
        == 2 * 4096
    )
    assert sum(found.values()) == 15 * 4096


# ---- hostile names ----


class Elements(HTMLParser):
    """The elements of a page, and what its scripts are."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.scripts: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.tags[-1:] == ["script"]:
            self.scripts[-1] += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self.tags.append("/script")


PLAIN = Elements(written("html", [(("f",), 1)], "t"))


def check_page(names: tuple[str, ...], title: str) -> None:
    """A page has the elements and the script of any other, and the names as data."""
    page = Elements(written("html", [(names, 3)], title))
    assert page.tags == PLAIN.tags
    data, script = page.scripts
    assert script == PLAIN.scripts[1]
    assert len(json.loads(data)["names"]) == 1 + len(set(map(str, names)))
    assert data.isascii() and not re.search("[<>&]", data)


@pytest.mark.parametrize("name", ATTACKS)
def test_no_name_becomes_markup_or_script(name: str) -> None:
    check_page((name,), name)
    root = ET.fromstring(written("svg", [((name,), 3)], name))
    tags = {element.tag.removeprefix(SVG) for element in root.iter()}
    assert tags == {"svg", "title", "style", "rect", "text"}
    assert all(each.isprintable() for each in root.itertext() if each.strip())
    folded = written("folded", [((name, "f+0x1/0x2"), 3)])
    assert re.fullmatch(r"f;[^;\n]+ 3\n", folded)
    assert len(speedscope(written("speedscope.json", [((name,), 3)]))) == 1


@given(st.text(min_size=1).filter(lambda text: "\ud800" not in text), st.text())
def test_nor_does_any_other(name: str, title: str) -> None:
    check_page((name,), title)
    ET.fromstring(written("svg", [((name,), 3)], title))


# ---- which files ----


@pytest.mark.parametrize(
    ("path", "ending"),
    [
        ("a.svg", "svg"),
        ("dir.svg/a", None),
        ("A.SVG", "svg"),
        ("a.speedscope.json", "speedscope.json"),
        ("a.json", None),
        ("a.svg.txt", None),
        ("svg", None),
    ],
)
def test_the_ending_chooses_the_file(path: str, ending: str | None) -> None:
    assert file_format(path) == ending


@pytest.mark.parametrize("ending", ENDINGS)
def test_without_stacks_there_is_no_such_file(ending: str) -> None:
    without = Table.of([Column("comm"), Column("pages", "int")], [("sh", 3)])
    with pytest.raises(UsageError, match=r"is for stacks.*--by stack"):
        file_writer(without, ending, "t", StackOptions())


@pytest.mark.parametrize("ending", ENDINGS)
def test_nothing_at_all_is_drawn_as_nothing(ending: str) -> None:
    pieces = list(file_writer(table([]), ending, "t", StackOptions())())
    assert pieces or ending == "folded"

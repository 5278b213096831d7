# SPDX-License-Identifier: GPL-2.0-or-later
"""
A report in a browser: whatever names are in it nothing runs, nothing is fetched,
nothing is wider than the window, and it can be used with a keyboard.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from browser import PALE, looked_at

from pagedbg.output.call_tree import call_tree
from pagedbg.output.report import Listing, MemoryReport, Section
from pagedbg.output.report_page import report_page
from pagedbg.output.timeline import Happened, timeline
from pagedbg.output.treemap import Part, treemap
from pagedbg.schema.table import Column, Table

ATTACK = "</script><script>document.title='run'</script>"

NAMES = (
    ATTACK,
    "<img src=x onerror=alert(1)>",
    "</title><svg onload=alert(1)>",
    "\"><b onmouseover='x()'>",
    "TITLE BODY DATA",
    "\u2028\u202ealert(1)\x1b[31m",
    "w" * 400,
)
"""What a hostile dump may call its processes, files, functions."""

COLUMNS = (Column("comm"), Column("pages", "int"), Column("stack", "stack"))

# What is done in the page, and what is seen then: put behind its own script.
DRIVER = (
    f"{PALE}<script>"
    + """
const note = {};
addEventListener("error", event => { note.error = event.message; });
addEventListener("securitypolicyviolation", event => {
  note.error = event.blockedURI;
});
note.links = [...document.querySelectorAll("nav a")].map(each => {
  each.click();
  return location.hash.slice(1);
});
note.missing = note.links.filter(each => !document.getElementById(each));
// What is unfolded is no wider than the window, either.
for (const each of document.querySelectorAll("summary")) each.click();
for (const each of document.querySelectorAll("#calls button")) each.click();
document.getElementById("out").click();
search.value = "leaky";
search.dispatchEvent(new Event("input"));
note.found = found.textContent;
note.cells = [...document.querySelectorAll("td")].map(each => each.textContent);
note.scrolled = [...document.querySelectorAll(".wide")].every(
  each => each.tabIndex === 0 && each.getAttribute("aria-label"));
note.headings = [...document.querySelectorAll("h1, h2")].map(each => each.tagName);
for (const each of document.querySelectorAll("details")) each.open = false;
dispatchEvent(new Event("beforeprint"));
note.printed = document.querySelectorAll("details:not([open])").length;
dispatchEvent(new Event("afterprint"));
note.folded = document.querySelectorAll("details[open]").length;
for (const each of document.querySelectorAll("details")) each.open = true;
note.wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
note.width = innerWidth;
note.background = getComputedStyle(document.body).backgroundColor;
note.color = getComputedStyle(document.body).color;
note.pale = pale();
note.looked = pale.looked;
note.drawn = document.querySelectorAll("svg rect").length;
note.strange = document.querySelectorAll("img, b, iframe").length;
note.scripts = document.querySelectorAll("script").length;
note.title = document.title;
note.fetched = performance.getEntriesByType("resource").length;
document.body.dataset.seen = JSON.stringify(note);
</script>
"""
)

ROWS = [
    (name, 100 + number, (f"{name}+0x1/0x2 [leaky]", "write+0x1/0x2"))
    for number, name in enumerate(NAMES)
]


def hostile() -> MemoryReport:
    """A report with such names wherever there is a name."""
    section = Section(
        "owners",
        f"Who holds {NAMES[1]}",
        f"Counted by {NAMES[2]}.",
        list(NAMES),
        list(NAMES),
        list(NAMES),
        [(name, name) for name in NAMES],
        [
            Listing(NAMES[0], COLUMNS, ROWS),
            Listing(NAMES[3], COLUMNS, ROWS, folded=True),
        ],
        [
            treemap([Part(name, 1000, name, name) for name in NAMES], NAMES[0]),
            timeline(
                [Happened(10**9 + i, name) for i, name in enumerate(NAMES)],
                [Happened(10**9 + 5, NAMES[0])],
                NAMES[0],
            ),
        ],
        call_tree(Table.of(COLUMNS, ROWS), inverted=False, allocator=False),
        list(NAMES),
    )
    return MemoryReport(f"Memory of {ATTACK}", NAMES[1], [section])


def test_no_name_becomes_markup() -> None:
    page = report_page(hostile())
    for tag in ("<img", "<b ", "<svg onload", "document.title='run'</script>"):
        assert tag not in page
    for character in "\u2028\u202e\x1b":
        assert character not in page
    assert page.count("</script>") == 3  # the data, the icicle's, the report's


@pytest.mark.once
@pytest.mark.parametrize(("width", "dark"), [(360, False), (800, True), (1600, False)])
def test_every_control_works_in_a_browser(
    tmp_path: Path, width: int, dark: bool
) -> None:
    seen = looked_at(report_page(hostile()), tmp_path, DRIVER, width, dark=dark)
    assert "error" not in seen
    assert seen["links"] == ["findings", "owners", "unread", "methods"]
    assert seen["missing"] == []
    # Each of 106 pages and less on a path with such a function: all of them.
    assert seen["found"] == f"{sum(row[1] for row in ROWS)} pages, 100.0%"
    assert {*NAMES[:5]} <= set(seen["cells"])
    assert seen["scrolled"] and seen["headings"] == ["H1", *["H2"] * 4]
    assert (seen["printed"], seen["folded"]) == (0, 0)
    assert seen["wide"] <= 0 and seen["width"] == width
    light, black = "rgb(255, 255, 255)", "rgb(13, 17, 23)"
    assert seen["background"] == (black if dark else light)
    assert seen["color"] != seen["background"]
    assert seen["drawn"] >= 2 * len(NAMES)
    assert seen["pale"] == [] and seen["looked"] > 100
    assert seen["strange"] == 0
    # The data, the icicle's, the report's, and two of this test's.
    assert seen["scripts"] == 5
    assert seen["title"] == f"Memory of {ATTACK}"
    assert seen["fetched"] == 0


def test_a_page_of_many_call_paths_is_small() -> None:
    rows = [
        (f"p{i}", 1 + i % 7, [f"f{i // 4**n % 64}+0x1/0x2" for n in range(30)])
        for i in range(20_000)
    ]
    tree = call_tree(Table.of(COLUMNS, rows), inverted=False, allocator=False)
    section = Section("owners", "Who", "Counted.", calls=tree)
    assert 10_000 < len(report_page(MemoryReport("t", "m", [section]))) < 3_000_000


def test_what_could_not_be_read_is_said_once() -> None:
    sections = [
        Section(name, name.title(), "Counted.", unread=["12 pages are missing."])
        for name in ("memory", "map")
    ]
    page = report_page(MemoryReport("t", "m", sections))
    assert page.count("<li>Memory, Map: 12 pages are missing.</li>") == 1
    assert "Everything that was looked for could be read." in report_page(
        MemoryReport("t", "m", [])
    )

# SPDX-License-Identifier: GPL-2.0-or-later
"""
The page of stacks in a browser: every control does what it says, nothing is fetched,
nothing is too wide, and no name runs.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from browser import looked_at

from pagedbg.output.call_tree import call_tree
from pagedbg.output.icicle_page import icicle_page
from pagedbg.schema.table import Column, Table

pytestmark = pytest.mark.once

ATTACK = "</script><script>document.title='run'</script>"

ROWS = (
    (("refill+0x1/0x2 [leaky]", "poll+0x1/0x2 [leaky]", "write+0x1/0x2"), 60),
    (("refill+0x1/0x2 [leaky]", "poll+0x1/0x2 [leaky]", "ioctl+0x1/0x2"), 20),
    (("fault+0x1/0x2", "a_function_whose_name_is_" + "long_" * 40), 15),
    ((ATTACK, "<b>outer</b>"), 5),
)

# What is done in the page, and what is seen then: put behind its own script.
DRIVER = """
<script>
const seen = {};
const buttons = () => [...calls.querySelectorAll("button")];
const names = () => buttons().map(each => each.textContent);
const button = text => buttons().find(each => each.textContent === text);
addEventListener("error", event => { seen.error = event.message; });
addEventListener("securitypolicyviolation", event => {
  seen.error = event.blockedURI;
});
seen.all = names();
seen.widths = Object.fromEntries(buttons().map(each => [each.textContent,
  each.getBoundingClientRect().width / calls.getBoundingClientRect().width]));
seen.functions = [...document.querySelectorAll("tbody tr")].map(
  each => each.cells[0].textContent);
button("fault").dispatchEvent(new Event("mouseenter"));
seen.pointed = said.textContent;
const press = key => {
  document.activeElement.dispatchEvent(
    new KeyboardEvent("keydown", { key, bubbles: true }));
  return document.activeElement.textContent;
};
seen.stops = buttons().filter(each => each.tabIndex === 0).map(
  each => each.textContent);
button("all").focus();
seen.reached = ["Down", "Down", "Down", "Right", "Up", "Right", "Up", "Right"].map(
  each => press(`Arrow${each}`));
button("poll [leaky]").click();
seen.closer = names();
seen.said = said.textContent;
seen.hash = location.hash;
seen.focused = document.activeElement.textContent;
seen.left = press("Escape");
seen.back = said.textContent;
search.value = "LEAKY";
search.dispatchEvent(new Event("input"));
seen.hits = buttons().filter(each => each.className === "hit").map(
  each => each.textContent);
seen.found = found.textContent;
document.getElementById("out").click();
seen.out = said.textContent;
seen.wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
seen.title = document.title;
seen.fetched = performance.getEntriesByType("resource").length;
document.body.dataset.seen = JSON.stringify(seen);
</script>
"""

SEEN = """
<script>
document.body.dataset.seen =
  JSON.stringify({ said: said.textContent, search: search.value });
</script>
"""


@pytest.fixture(scope="module")
def page() -> str:
    """A page of some stacks, one of which is an attack."""
    columns = [Column("stack", "stack"), Column("pages", "int")]
    tree = call_tree(Table.of(columns, ROWS), inverted=False, allocator=False)
    return icicle_page(tree, f"owners {ATTACK}")


@pytest.mark.parametrize("width", [360, 800, 1600])
def test_every_control_does_what_it_says(page: str, tmp_path: Path, width: int) -> None:
    seen = looked_at(page, tmp_path, DRIVER, width)
    assert "error" not in seen
    long = ROWS[2][0][1]
    assert sorted(seen["all"]) == sorted(
        [
            *("all", "refill [leaky]", "poll [leaky]", "write", "ioctl"),
            *("fault", long, ATTACK, "<b>outer</b>"),
        ]
    )
    for name, share in (("all", 1), ("refill [leaky]", 0.8), ("ioctl", 0.2)):
        assert seen["widths"][name] == pytest.approx(share, abs=0.02)
    assert {"refill [leaky]", ATTACK} < set(seen["functions"])
    assert seen["pointed"] == "fault: 15 pages, 15.0%"
    assert sorted(seen["closer"]) == sorted(
        ["all", "refill [leaky]", "poll [leaky]", "write", "ioctl"]
    )
    assert seen["said"] == "poll [leaky]: 80 pages, 80.0%"
    assert seen["hash"] == "#at=0.0"
    # With the keyboard: one stop, from where arrows lead on; nothing is lost.
    assert seen["stops"] == ["all"]
    assert seen["reached"] == [
        *("refill [leaky]", "poll [leaky]", "write", "ioctl", "poll [leaky]"),
        *("poll [leaky]", "refill [leaky]", "fault"),
    ]
    assert (seen["focused"], seen["left"]) == ("poll [leaky]", "refill [leaky]")
    assert seen["back"] == "refill [leaky]: 80 pages, 80.0%"
    assert seen["hits"] == ["refill [leaky]", "poll [leaky]"]
    assert seen["found"] == "80 pages, 80.0%"
    assert seen["out"] == "all: 100 pages, 100.0%"
    assert seen["wide"] <= 0
    assert seen["title"] == f"owners {ATTACK}"
    assert seen["fetched"] == 0


def test_a_link_opens_what_was_seen(page: str, tmp_path: Path) -> None:
    seen = looked_at(page, tmp_path, SEEN, fragment="#at=0.0&search=io")
    assert seen == {"said": "poll [leaky]: 80 pages, 80.0%", "search": "io"}

# SPDX-License-Identifier: GPL-2.0-or-later
"""A map of several nodes, one of which lies in a hole of another."""

from __future__ import annotations

import numpy as np

from pagedbg.analysis.page_map import PageMap, Stretch
from pagedbg.output.map_picture import map_picture
from pagedbg.output.map_text import MapText
from pagedbg.schema.table import Window

# Cells of 16 pages, how many of each are slab and anon.
CELLS = {
    (0, "DMA32", 0, 96): [(16, 0), (0, 16), (0, 0), (0, 0), (16, 0), (15, 1)],
    (1, "DMA32", 32, 64): [(0, 16), (9, 7)],
    (1, "Normal", 96, 130): [(16, 0), (1, 15), (2, 0)],
}

HEADINGS = [
    "node 0, zone DMA32: 0x0 to 0x5f",
    "node 1, zone DMA32: 0x20 to 0x3f",
    "node 1, zone Normal: 0x60 to 0x81",
]


def two_nodes(order: int) -> PageMap:
    """The map of these cells."""
    stretches = [
        Stretch(
            *place, order, np.array(cells, np.int32), np.zeros(len(cells), np.int32)
        )
        for place, cells in CELLS.items()
    ]
    pages = [sum(cell[i] for cells in CELLS.values() for cell in cells) for i in (0, 1)]
    return PageMap("kind", order, ["slab", "anon"], pages, stretches)


def test_each_zone_of_each_node_has_lines_of_its_own() -> None:
    spans = [(start, end) for _, _, start, end in CELLS]
    text = MapText(two_nodes, spans, 4, "lines", 4096, [])
    lines = list(text.lines(Window(40, 24, color=False, unicode=False)))
    assert lines[0:6:2] == HEADINGS
    # Where node 1 lies node 0 has nothing.
    assert [line.split(maxsplit=1) for line in lines[1:6:2]] == [
        ["0x0", "sa  ss"],
        ["0x20", "as"],
        ["0x60", "sas"],
    ]


def test_each_zone_of_each_node_has_its_place_in_a_picture() -> None:
    picture = map_picture(two_nodes(4), "lines", 4096, "kinds", [])
    headings = [label for label in picture.labels if label.text.startswith("node ")]
    assert [label.text for label in headings] == HEADINGS
    cells = [box for box in picture.boxes if box.title]
    assert [box.title.partition(":")[0] for box in cells] == [
        *("0x0-0xf", "0x10-0x1f", "0x20-0x2f", "0x30-0x3f", "0x40-0x4f", "0x50-0x5f"),
        *("0x20-0x2f", "0x30-0x3f"),
        *("0x60-0x6f", "0x70-0x7f", "0x80-0x81"),
    ]
    said = [box.title.partition(": ")[2] for box in cells]
    assert said[2] == "no memory" and said[6] == "anon 16"
    # Each below its heading, and above the next one.
    for number, place in enumerate(CELLS.values()):
        own, cells = cells[: len(place)], cells[len(place) :]
        assert all(box.y > headings[number].y for box in own)
        assert all(box.y < label.y for box in own for label in headings[number + 1 :])

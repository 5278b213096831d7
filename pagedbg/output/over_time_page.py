# SPDX-License-Identifier: GPL-2.0-or-later
"""
Stacks over time as a page: who held how much when, and for a range that is chosen, what
was allocated in it and is still held at its end.
"""

from __future__ import annotations

import html
from collections import Counter

from pagedbg.output.call_tree import Call, CallTree, call_path
from pagedbg.output.icicle import color_of
from pagedbg.output.icicle_page import ICICLE_STYLE, icicle_part
from pagedbg.output.page_files import page_file, script_data, whole_page
from pagedbg.output.palette import color_names, rgb
from pagedbg.output.printable import printable
from pagedbg.schema.stacks_over_time import StacksOverTime

__all__ = ("over_time_page",)

# More colours could not be told apart.
_MOST_HOLDERS = 8
_OTHERS, _GREY = "others", 244

_ALL, _STYLE = "all", "over_time.css"


def over_time_page(
    over_time: StacksOverTime, title: str, *, inverted: bool, allocator: bool
) -> str:
    """
    Return the page; it fetches nothing, and names in it stay text.

    :param inverted: as of :func:`pagedbg.output.call_tree.call_tree`
    :param allocator: likewise
    """
    paths = [
        call_path(frames, inverted=inverted, allocator=allocator)
        for frames in over_time.stacks
    ]
    askers = [
        call_path(frames, inverted=False, allocator=False)[0]
        for frames in over_time.stacks
    ]
    sums: Counter[str] = Counter()
    for asker, cells in zip(askers, over_time.cells, strict=True):
        sums[asker] += sum(pages for *_, pages in cells)
    holders = [name for name, _ in sums.most_common(_MOST_HOLDERS)]
    shades = [rgb(color) for color in color_names(holders, None)]
    if len(sums) > len(holders):
        holders.append(_OTHERS)
        shades.append(rgb(_GREY))
    numbers = {_ALL: 0}
    stacks = [
        [numbers.setdefault(printable(name), len(numbers)) for name in path]
        for path in paths
    ]
    data = {
        "begin": over_time.begin,
        "width": over_time.width,
        "stretches": over_time.stretches,
        "page": over_time.page_size,
        "stacks": stacks,
        "cells": over_time.cells,
        "holders": [printable(name) for name in holders],
        "holder": [
            holders.index(name if name in holders else _OTHERS) for name in askers
        ],
        "shades": shades,
        "calls": {
            "names": list(numbers),
            "colors": [color_of(name) for name in numbers],
        },
    }
    # What its call paths are the script says, for the range that is chosen.
    nothing = CallTree(Call(_ALL), "pages", 0)
    return whole_page(
        "over_time.html",
        html.escape(printable(title)),
        (ICICLE_STYLE, _STYLE),
        SAID=html.escape(" ".join(map(printable, over_time.said))),
        PART=icicle_part(nothing),
        CELLS=script_data(data),
        SCRIPT=page_file("over_time.js"),
    )

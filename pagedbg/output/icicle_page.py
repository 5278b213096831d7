# SPDX-License-Identifier: GPL-2.0-or-later
"""A tree of calls as a page that is zoomed into and searched, in one file."""

from __future__ import annotations

import html
from typing import Any

from pagedbg.output.call_tree import Call, CallTree
from pagedbg.output.icicle import color_of
from pagedbg.output.page_files import filled, page_file, script_data, whole_page
from pagedbg.output.palette import ink_on
from pagedbg.output.printable import printable

__all__ = ("ICICLE_STYLE", "icicle_page", "icicle_part")

ICICLE_STYLE = "icicle.css"
"""The file of the styles that :func:`icicle_part` needs, beside those of a page."""


def icicle_page(tree: CallTree, title: str) -> str:
    """Return the page; it fetches nothing, and names in it stay text."""
    return whole_page(
        "icicle.html",
        html.escape(printable(title)),
        (ICICLE_STYLE,),
        PART=icicle_part(tree),
    )


def icicle_part(tree: CallTree, least: int = 0) -> str:
    """
    Return the part of a page that shows a tree; a page has room for one.

    :param least: what weighs less is left out
    """
    names: dict[str, int] = {}

    def number(name: str) -> int:
        return names.setdefault(printable(name), len(names))

    # Without recursion: a damaged dump may have stacks of any depth.
    root: list[Any] = []
    ahead: list[tuple[Call, list[Any]]] = [(tree.root, root)]
    while ahead:
        call, into = ahead.pop()
        # The lightest come last: the places of those that stay do not change.
        shown = [each for each in call.sorted if each.weight >= least]
        calls: list[list[Any]] = [[] for _ in shown]
        into += [number(call.name), call.weight, calls]
        ahead += zip(shown, calls, strict=True)
    colors = [color_of(name) for name in names]
    data = {
        "unit": tree.unit,
        "bytes": tree.bytes,
        "names": list(names),
        "colors": colors,
        "inks": [ink_on(color) for color in colors],
        "root": root,
    }
    return filled(
        "icicle_part.html", DATA=script_data(data), SCRIPT=page_file("icicle.js")
    )

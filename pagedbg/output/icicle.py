# SPDX-License-Identifier: GPL-2.0-or-later
"""A tree of calls as an icicle: boxes as wide as what they have, callers below."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from pagedbg.output.call_tree import Call, CallTree
from pagedbg.output.palette import ink_on
from pagedbg.schema.picture import Box, Label, Picture

__all__ = ("icicle",)

_WIDTH, _MARGIN = 1200, 10
_LINE, _TOP = 18, 48
# A character's width, and what is too narrow to be seen.
_CHARACTER, _NARROWEST = 7.6, 0.5

_COLORS = ("#d1603d", "#c9782f", "#b98b2b", "#c65353", "#a8763e", "#cf6f52")
_MODULE_COLORS = ("#3f7cac", "#4a6fa5", "#3d8b8b", "#5a6ea8")


def icicle(tree: CallTree, title: str) -> Picture:
    """
    Draw a tree. Calls that are narrower than half a pixel are left out, and counted.

    :param title: what is seen
    """
    room = _WIDTH - 2 * _MARGIN
    scale = room / max(tree.root.weight, 1)
    boxes, labels, left_out, depth = [], [], 0, 0
    for call, level, before in _calls(tree.root):
        width = call.weight * scale
        if width < _NARROWEST:
            left_out += 1
            continue
        depth = max(depth, level)
        color = color_of(call.name)
        x, y = _MARGIN + before * scale, _TOP + level * _LINE
        amount = tree.amount(call)
        boxes.append(
            Box(
                round(x, 2),
                y,
                round(max(width - 0.5, 0.3), 2),
                _LINE - 1,
                color,
                f"{call.name}: {amount}",
            )
        )
        text = f"{call.name}: {amount}" if level == 0 else call.name
        fitting = int((width - 6) / _CHARACTER)
        if fitting >= 3:
            cut = text if len(text) <= fitting else text[: fitting - 1] + "…"
            labels.append(Label(round(x + 3, 2), y + 13, cut, ink_on(color)))
    bottom = _TOP + (depth + 1) * _LINE + 16
    labels.append(Label(_MARGIN, 20, title, bold=True))
    said = f"A box is as wide as the {tree.unit} of the call path that ends there."
    if left_out:
        said += f" {left_out:,} calls that are too narrow are left out."
    labels.append(Label(_MARGIN, 38, said, "faint"))
    return Picture(_WIDTH, bottom, title, boxes, labels)


def color_of(name: str) -> str:
    """The colour of a function: always the same, and another hue for modules."""
    colors = _MODULE_COLORS if name.endswith("]") else _COLORS
    return colors[zlib.crc32(name.encode(errors="replace")) % len(colors)]


def _calls(root: Call) -> Iterator[tuple[Call, int, int]]:
    """Each call with its depth, and with what lies on its left."""
    ahead = [(root, 0, 0)]
    while ahead:
        call, level, before = ahead.pop()
        yield call, level, before
        for each in call.sorted:
            ahead.append((each, level + 1, before))
            before += each.weight

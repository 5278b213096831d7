# SPDX-License-Identifier: GPL-2.0-or-later
"""A picture as what it consists of, whatever kind of file it is written into."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

Ink = Literal["text", "faint", "black", "white"]
"""What text is written in: that of the page, fainter, or one of two on boxes."""


@dataclasses.dataclass(frozen=True)
class Box:
    """A rectangle in a colour (``#rrggbb``), and what it says when it is pointed at."""

    x: float
    y: float
    width: float
    height: float
    color: str
    title: str = ""


@dataclasses.dataclass(frozen=True)
class Label:
    """A line of text. ``x`` is where it begins, ``y`` the line that it stands on."""

    x: float
    y: float
    text: str
    ink: Ink = "text"
    bold: bool = False


@dataclasses.dataclass(frozen=True)
class Picture:
    """Boxes, and over them text; ``title`` says what is seen, for who cannot see it."""

    width: int
    height: int
    title: str
    boxes: Sequence[Box]
    labels: Sequence[Label]

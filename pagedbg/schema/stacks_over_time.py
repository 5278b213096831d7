# SPDX-License-Identifier: GPL-2.0-or-later
"""Which stacks held how many pages from when until when."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

__all__ = ("HeldCell", "StacksOverTime")

HeldCell = tuple[int, int, int]
"""
Of a stack: the stretch of time in which pages were allocated, the one in which they
were freed (−1: they are held at the end), and how many there are.
"""


@dataclasses.dataclass(frozen=True)
class StacksOverTime:
    """
    Time from ``begin`` on (in ns) in ``stretches`` that are ``width`` ns long, and for
    each of ``stacks``, innermost frame first, what was allocated and freed when.

    ``page_size`` is in bytes. ``said`` are sentences on what is in it, and on
    what is not.
    """

    begin: int
    width: int
    stretches: int
    page_size: int
    stacks: Sequence[Sequence[str]]
    cells: Sequence[Sequence[HeldCell]]
    said: Sequence[str]

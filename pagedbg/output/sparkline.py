# SPDX-License-Identifier: GPL-2.0-or-later
"""A row of numbers as a little picture, one character high."""

from __future__ import annotations

from collections.abc import Sequence

_BARS = "▁▂▃▄▅▆▇█"

_WIDEST = 24

PLAIN = str.maketrans(_BARS, "_.:-=+*#")
"""For :meth:`str.translate`, where only ASCII can be shown: from low to high, too."""


def sparkline(numbers: Sequence[int]) -> str:
    """
    Draw numbers from 0 up as bars, the greatest as high as can be. Of many, several
    that follow each other share one, which is as high as the greatest of them.

    >>> sparkline([0, 1, 2, 4, 8])
    '▁▁▂▄█'
    """
    count = min(len(numbers), _WIDEST)
    ends = [len(numbers) * (i + 1) // count for i in range(count)]
    shown = [
        max(numbers[start:end]) for start, end in zip([0, *ends], ends, strict=False)
    ]
    top = max(shown, default=0)
    if top <= 0:
        return _BARS[0] * count
    return "".join(_BARS[max(each, 0) * (len(_BARS) - 1) // top] for each in shown)

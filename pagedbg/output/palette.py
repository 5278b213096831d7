# SPDX-License-Identifier: GPL-2.0-or-later
"""
Colours that are told apart in dark and in light windows, by many who see few colours,
too: those of terminals with 256 colours, in pictures as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

__all__ = ("HIGHLIGHT", "NOTHING", "color_names", "contrast", "ink_on", "rgb")

HIGHLIGHT = 196
NOTHING = 237
"""Where there is no memory, in pictures."""

_FIXED = {"free": 252, "not on record": 244, "not known": 240, "unknown": 240}

# For what has no order, after Tableau's colours.
_EACH = (67, 208, 71, 133, 178, 73, 130, 25, 175, 101, 60, 29)

# For what has one, after viridis: dark to light.
_IN_ORDER = (53, 54, 60, 24, 31, 30, 36, 71, 113, 148, 184, 220)

_STEPS = (0, 95, 135, 175, 215, 255)


def color_names(values: Sequence[str], order: Sequence[str] | None) -> list[int]:
    """
    Choose colours.

    :param values: what needs one each, the most frequent first
    :param order: all of them in the order of what they mean, if they have one; in it
        colours go from dark to light
    :return: the numbers of terminals with 256 colours
    """
    found = []
    left = iter(_EACH * (1 + len(values) // len(_EACH)))
    for value in values:
        if value in _FIXED:
            found.append(_FIXED[value])
        elif order is not None and value in order:
            found.append(_IN_ORDER[order.index(value) * 11 // max(len(order) - 1, 1)])
        else:
            found.append(next(left))
    return found


def rgb(number: int) -> str:
    """The colour of a number of at least 16, as ``#rrggbb``."""
    if number >= 232:
        red = green = blue = 8 + 10 * (number - 232)
    else:
        place = number - 16
        red, green, blue = (
            _STEPS[place // 36],
            _STEPS[place // 6 % 6],
            _STEPS[place % 6],
        )
    return f"#{red:02x}{green:02x}{blue:02x}"


def ink_on(color: str) -> Literal["black", "white"]:
    """What is read more easily on a colour (``#rrggbb``); 4.58 to 1 at the least."""
    black = contrast(color, "#000000") >= contrast(color, "#ffffff")
    return "black" if black else "white"


def contrast(one: str, other: str) -> float:
    """The contrast of two colours as WCAG 2 defines it: 1 to 21, for text 4.5."""
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(color: str) -> float:
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in (value / 255 for value in bytes.fromhex(color[1:]))
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue

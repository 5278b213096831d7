# SPDX-License-Identifier: GPL-2.0-or-later
"""How sizes and counts are written for people."""

from __future__ import annotations


def size(value: float) -> str:
    """
    Return a number of bytes with a binary unit.

    >>> size(1536)
    '1.5 KiB'
    """
    if value < 0:
        return f"-{size(-value)}"
    if value < 1024:
        return f"{value} B"
    units = ("KiB", "MiB", "GiB", "TiB")
    value, power = value / 1024, 0
    while value >= 1024 and power < len(units) - 1:
        value, power = value / 1024, power + 1
    return f"{value:.1f} {units[power]}"


def several(count: int, what: str) -> str:
    """
    Return a number of things that have a plural with s.

    >>> several(1, "page"), several(2000, "page")
    ('1 page', '2,000 pages')
    """
    return f"{count:,} {what}{'' if count == 1 else 's'}"

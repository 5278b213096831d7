# SPDX-License-Identifier: GPL-2.0-or-later
"""Flags as the kernel writes them, and as people do, by a table of their names."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pagedbg.errors import UsageError

# Every record keeps them in 32 bits.
_GREATEST_MASK = (1 << 32) - 1


def format_flags(names: Iterable[tuple[int, str]], flags: int) -> str:
    """
    Format flags as ``format_flags()`` of ``lib/vsprintf.c``: the first name that
    matches in full takes its bits away, and what nothing names is added in hexadecimal.
    0 is the empty string, as the kernel prints it.

    >>> format_flags(((0xcc0, "GFP_KERNEL"), (0x40000, "__GFP_COMP")), 0x40cc0)
    'GFP_KERNEL|__GFP_COMP'

    :param names: (mask, name) in the kernel's order, as
        :func:`pagedbg.mm.gfp.trace_print_flags` returns them
    """
    parts = []
    for mask, name in names:
        if not flags:
            break
        if flags & mask == mask:
            parts.append(name)
            flags &= ~mask
    if flags:
        parts.append(hex(flags))
    return "|".join(parts)


def parse_flags(names: Iterable[tuple[int, str]], text: str) -> int:
    """
    Turn what a user typed, names and numbers joined by ``|``, ``,`` or ``+``, into a
    mask.

    >>> names = ((0xcc0, "GFP_KERNEL"), (0x40000, "__GFP_COMP"))
    >>> parse_flags(names, "gfp_kernel|0x40000") == 0x40cc0
    True

    :param names: as for :func:`format_flags`
    :raises UsageError: if a word is neither a name nor a number
    """
    masks: dict[str, int] = {}
    for mask, name in names:
        masks.setdefault(name.upper(), mask)
    result = 0
    words = [word.strip() for word in re.split(r"[|,+]", text)]
    for word in words:
        if re.fullmatch(r"0[xX][0-9a-fA-F]+|[0-9]+", word):
            result |= int(word, 0) if word[:2].lower() == "0x" else int(word, 10)
        elif word.upper() in masks:
            result |= masks[word.upper()]
        elif not word:
            raise UsageError(
                f"{text!r}: an allocation flag is missing; write them like"
                " GFP_KERNEL|__GFP_COMP"
            )
        else:
            import difflib

            near = difflib.get_close_matches(word.upper(), masks, n=3)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise UsageError(f"{word!r} is no allocation flag of this kernel{hint}")
    if result > _GREATEST_MASK:
        raise UsageError(f"{text!r} has more than the 32 bits of an allocation's flags")
    return result

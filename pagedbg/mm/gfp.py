# SPDX-License-Identifier: GPL-2.0-or-later
"""
Allocation flags
----------------

Helpers for ``include/linux/gfp.h`` and ``gfp_types.h``. Every name and every mask is
the kernel's own, read out of its ``gfpflag_names`` table (``mm/debug.c``), the one that
``%pGg`` prints from.
"""

from __future__ import annotations

import difflib
import operator
import re
from typing import Any

from drgn import IntegerLike, Program
from drgn.helpers.common.prog import takes_program_or_default

from pagedbg.errors import UsageError
from pagedbg.mm.bulk_read import c_string

__all__ = (
    "decode_gfp_flags",
    "decode_gfp_mask",
    "format_flags",
    "gfp_flag_names",
    "gfp_migratetype",
    "gfpflag_names",
    "parse_gfp_flags",
    "parse_gfp_mask",
    "trace_print_flags",
)

# The table has about 40 entries. A damaged one must not be followed for ever.
_MAX_NAMES = 256

# Every record keeps them in 32 bits.
_GREATEST_MASK = (1 << 32) - 1


@takes_program_or_default
def trace_print_flags(prog: Program, name: str) -> tuple[tuple[int, str], ...]:
    """
    Return a table of flags of ``mm/debug.c``: ``gfpflag_names``, ``pageflag_names`` or
    ``vmaflag_names``.

    :return: (mask, name) of each ``struct trace_print_flags { unsigned long mask; const
        char *name; }`` before the one without a name.
    """
    key = f"pagedbg_{name}"
    try:
        return prog.cache[key]  # type: ignore[no-any-return]
    except KeyError:
        pass
    table = prog[name]
    names = []
    for i in range(_MAX_NAMES):
        flag = table[i].read_()
        if not flag.name:
            break
        names.append(
            (flag.mask.value_(), c_string(flag.name).decode("ascii", "replace"))
        )
    result = tuple(names)
    prog.cache[key] = result
    return result


@takes_program_or_default
def gfpflag_names(prog: Program) -> tuple[tuple[int, str], ...]:
    """
    Return the kernel's table of allocation flags, in its order: those with most bits
    first.

    >>> gfpflag_names()[6]
    (3264, 'GFP_KERNEL')

    :return: (mask, name), see :func:`trace_print_flags()`
    """
    return trace_print_flags(prog, "gfpflag_names")


@takes_program_or_default
def gfp_flag_names(prog: Program) -> list[str]:
    """
    Return the sorted names that :func:`parse_gfp_flags()` takes: what a prompt
    completes.
    """
    return sorted({name for _, name in gfpflag_names(prog)})


def format_flags(names: tuple[tuple[int, str], ...], flags: int) -> str:
    """
    Format flags as ``format_flags()`` of ``lib/vsprintf.c``: the first name that
    matches in full takes its bits away, and what nothing names is added in hexadecimal.
    0 is the empty string, as the kernel prints it.

    >>> format_flags(((0xcc0, "GFP_KERNEL"), (0x40000, "__GFP_COMP")), 0x40cc0)
    'GFP_KERNEL|__GFP_COMP'

    :param names: What :func:`trace_print_flags()` returned.
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


def decode_gfp_mask(names: tuple[tuple[int, str], ...], flags: int) -> str:
    """
    Format allocation flags as the kernel's ``%pGg`` does.

    :param names: What :func:`gfpflag_names()` returned.
    """
    return format_flags(names, flags)


@takes_program_or_default
def decode_gfp_flags(prog: Program, flags: IntegerLike) -> str:
    """
    Get the text that the kernel's ``%pGg`` prints for allocation flags.

    >>> decode_gfp_flags(0x140cca)
    'GFP_HIGHUSER_MOVABLE|__GFP_COMP'

    :param flags: ``gfp_t``
    """
    return decode_gfp_mask(gfpflag_names(prog), operator.index(flags))


@takes_program_or_default
def gfp_migratetype(prog: Program, flags: Any) -> Any:
    """
    Return the migratetype that allocation flags ask for, as ``gfp_migratetype()`` of
    ``include/linux/gfp.h``: ``(gfp & GFP_MOVABLE_MASK) >> GFP_MOVABLE_SHIFT``, the
    shift being that of the ``__GFP_MOVABLE`` bit (asserted there).

    :param flags: ``gfp_t``, as a number or as a NumPy array of them.
    """
    try:
        shift, mask = prog.cache["pagedbg_gfp_migratetype"]
    except KeyError:
        masks = {name: mask for mask, name in gfpflag_names(prog)}
        movable = masks.get("__GFP_MOVABLE", 0x8)
        mask = movable | masks.get("__GFP_RECLAIMABLE", 0x10)
        shift = movable.bit_length() - 1
        # Set on machines too small to group by mobility; everything is unmovable then.
        try:
            if prog["page_group_by_mobility_disabled"]:
                mask = 0
        except LookupError:
            pass
        prog.cache["pagedbg_gfp_migratetype"] = shift, mask
    return (flags & mask) >> shift


def parse_gfp_mask(names: tuple[tuple[int, str], ...], text: str) -> int:
    """
    Turn what a user typed, names and numbers joined by ``|``, ``,`` or ``+``, into a
    mask.

    >>> names = ((0xcc0, "GFP_KERNEL"), (0x40000, "__GFP_COMP"))
    >>> parse_gfp_mask(names, "gfp_kernel|0x40000") == 0x40cc0
    True

    :param names: What :func:`gfpflag_names()` returned.
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
            near = difflib.get_close_matches(word.upper(), masks, n=3)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise UsageError(f"{word!r} is no allocation flag of this kernel{hint}")
    if result > _GREATEST_MASK:
        raise UsageError(f"{text!r} has more than the 32 bits of an allocation's flags")
    return result


@takes_program_or_default
def parse_gfp_flags(prog: Program, text: str) -> int:
    """
    Turn a filter such as ``GFP_KERNEL|__GFP_COMP`` into a mask by this kernel's names.

    :raises UsageError: if a word is neither a name nor a number
    """
    return parse_gfp_mask(gfpflag_names(prog), text)

# SPDX-License-Identifier: GPL-2.0-or-later
"""
Allocation flags
----------------

Helpers for ``include/linux/gfp.h`` and ``gfp_types.h``. Every name and every mask is
the kernel's own, read out of its ``gfpflag_names`` table (``mm/debug.c``), the one that
``%pGg`` prints from.
"""

from __future__ import annotations

import operator
from typing import Any

from drgn import IntegerLike, Program
from drgn.helpers.common.prog import takes_program_or_default

from pagedbg.mm.bulk_read import c_string
from pagedbg.schema.flag_words import format_flags

__all__ = (
    "decode_gfp_flags",
    "decode_gfp_mask",
    "format_flags",
    "gfp_flag_names",
    "gfp_kernel",
    "gfp_mask",
    "gfp_migratetype",
    "gfp_single_flags",
    "gfp_zone",
    "gfpflag_names",
    "trace_print_flags",
)

# The table has about 40 entries. A damaged one must not be followed for ever.
_MAX_NAMES = 256


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
    Return the sorted names of the allocation flags: what a prompt completes.
    """
    return sorted({name for _, name in gfpflag_names(prog)})


@takes_program_or_default
def gfp_mask(prog: Program, name: str) -> int:
    """
    Return the mask of a flag, 0 where the kernel has none of this name.

    >>> hex(gfp_mask("GFP_KERNEL"))
    '0xcc0'
    """
    return next(
        (mask for mask, each in gfpflag_names(prog) if each == name),
        0,
    )


@takes_program_or_default
def gfp_kernel(prog: Program) -> int:
    """
    Return ``GFP_KERNEL``, by its name or else by the flags that it is made of.

    >>> hex(gfp_kernel())
    '0xcc0'

    :raises LookupError: if the kernel says neither
    """
    if mask := gfp_mask(prog, "GFP_KERNEL"):
        return mask
    # Since Linux kernel commit 772dd0342727 ("mm: enumerate all gfp flags") (in v6.9)
    # types say which bits flags are.
    for name in ("IO", "FS", "DIRECT_RECLAIM", "KSWAPD_RECLAIM"):
        mask |= 1 << int(prog[f"___GFP_{name}_BIT"].value_())
    return mask


@takes_program_or_default
def gfp_single_flags(prog: Program, flags: IntegerLike) -> frozenset[str]:
    """
    Return the names of the single flags that are set: of ``GFP_KERNEL`` those that it
    is made of.

    :param flags: ``gfp_t``
    """
    value = operator.index(flags)
    return frozenset(
        name
        for mask, name in gfpflag_names(prog)
        if mask.bit_count() == 1 and value & mask
    )


@takes_program_or_default
def gfp_zone(prog: Program, flags: IntegerLike) -> int | None:
    """
    Return the highest zone that an allocation may come from, an ``enum zone_type``:
    ``gfp_zone()`` of ``include/linux/gfp.h``.

    :param flags: ``gfp_t``
    :return: ``None`` for flags that contradict each other (``GFP_ZONE_BAD``)
    """
    single = gfp_single_flags(prog, flags)
    asked = single & {"GFP_DMA", "GFP_DMA32", "__GFP_HIGHMEM"}
    if len(asked) > 1:
        return None
    name = "ZONE_NORMAL"
    if "GFP_DMA" in asked:
        name = "ZONE_DMA"
    elif "GFP_DMA32" in asked:
        name = "ZONE_DMA32"
    elif "__GFP_HIGHMEM" in asked:
        name = "ZONE_MOVABLE" if "__GFP_MOVABLE" in single else "ZONE_HIGHMEM"
    try:
        return int(prog[name].value_())
    except LookupError:
        # A kernel that is built without this zone takes the next one for it.
        return int(prog["ZONE_NORMAL"].value_())


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

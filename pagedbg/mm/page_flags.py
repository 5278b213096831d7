# SPDX-License-Identifier: GPL-2.0-or-later
"""
Page flags and page types
-------------------------

Helpers for ``include/linux/page-flags.h``: the names of page flags, and what
``page->page_type`` says of a page without a map count.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import NamedTuple

from drgn import IntegerLike, Program
from drgn.helpers.common.prog import takes_program_or_default

from pagedbg.mm.bulk_read import number
from pagedbg.mm.gfp import format_flags, trace_print_flags

__all__ = ("PageTypes", "decode_page_flags", "page_types")


@takes_program_or_default
def decode_page_flags(prog: Program, flags: IntegerLike) -> str:
    """
    Get the names of page flags as the kernel's ``%pGp`` prints them, without node, zone
    and what else is kept in the upper bits.

    >>> decode_page_flags(0x100000000000048)
    'uptodate|head'

    :param flags: ``unsigned long``
    """
    mask = (1 << number(prog, "__NR_PAGEFLAGS", 64)) - 1
    return format_flags(
        trace_print_flags(prog, "pageflag_names"), operator.index(flags) & mask
    )


class PageTypes(NamedTuple):
    """How ``page->page_type`` tells what a page without a map count is."""

    name: Callable[[int], str | None]
    """
    From a value as ``unsigned int`` to the kernel's name in lower case (``buddy``,
    ``offline``, ``table`` …).
    """
    is_type: Callable[[int], bool]
    """Whether a value as ``unsigned int`` is any type, rather than a map count."""


def _enumerators(prog: Program, name: str, prefix: str) -> dict[str, int]:
    """
    Return the enumerators, without their prefix and in lower case, of the enum that
    *name* is one of.
    """
    found = prog[name].type_.enumerators
    assert found is not None
    return {
        e.name[len(prefix) :].lower(): e.value
        for e in found
        if e.name.startswith(prefix)
    }


@takes_program_or_default
def page_types(prog: Program) -> PageTypes:
    """Return how this kernel encodes page types."""
    try:
        return prog.cache["pagedbg_page_types"]  # type: ignore[no-any-return]
    except KeyError:
        pass
    result = _page_types(prog)
    prog.cache["pagedbg_page_types"] = result
    return result


def _page_types(prog: Program) -> PageTypes:
    # Since Linux kernel commit 4ffca5a96678 ("mm: support only one page_type per page")
    # (in v6.12) the type is an enum pagetype in the top byte: PGTY_buddy = 0xf0 and so
    # on. Values from 0x80 to below 0xff in that byte are no map counts.
    try:
        names = {
            value: name
            for name, value in _enumerators(prog, "PGTY_buddy", "PGTY_").items()
            if name != "mapcount_underflow"
        }
    except LookupError:
        pass
    else:
        return PageTypes(
            lambda value: names.get(value >> 24),
            lambda value: 0x80000000 <= value < 0xFF000000,
        )
    # Before that, a type is a bit that is *clear* in a negative number.
    # Since about v6.11 the bits are an enum pagetype, before that macros.
    try:
        bits = _enumerators(prog, "PG_buddy", "PG_")
        base = prog["PAGE_TYPE_BASE"].value_() & 0xFFFFFFFF
    except LookupError:
        bits = {"buddy": 0x80, "offline": 0x100, "table": 0x200, "guard": 0x400}
        base = 0xF0000000
        # Those that came later tell their values to dump tools:
        # NUMBER(PAGE_SLAB_MAPCOUNT_VALUE) is ~PG_slab.
        vmcoreinfo = prog["VMCOREINFO"].string_()
        for name, value in re.findall(
            rb"^NUMBER\(PAGE_(\w+)_MAPCOUNT_VALUE\)=(-?\d+)$", vmcoreinfo, re.MULTILINE
        ):
            bits[name.decode().lower()] = ~int(value) & 0xFFFFFFFF

    def negative_bits(value: int) -> str | None:
        return next(
            (name for name, bit in bits.items() if value & (base | bit) == base), None
        )

    # PAGE_MAPCOUNT_RESERVE is -128: anything below it is a type.
    return PageTypes(negative_bits, lambda value: 0x80000000 <= value < 0xFFFFFF80)

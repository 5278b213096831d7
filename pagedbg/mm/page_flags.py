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
from typing import Any, NamedTuple

from drgn import IntegerLike, Program
from drgn.helpers.common.prog import takes_program_or_default

from pagedbg.mm.bulk_read import number
from pagedbg.mm.gfp import format_flags, trace_print_flags

__all__ = ("PageTypes", "decode_page_flags", "page_types")


# Which of the names that share a bit are meant, by the kind of page. A name that this
# kernel does not have is passed over: PG_isolated became PG_movable_ops_isolated in
# v6.17, PG_hugetlb was there from v6.6 to v6.8.
_MOVABLE = ("PG_isolated", "PG_movable_ops_isolated", "PG_movable_ops")
_CACHED = ("PG_checked", "PG_mappedtodisk", "PG_readahead")
_MEANT = {
    "anon": ("PG_swapcache", "PG_anon_exclusive"),
    "ksm": ("PG_swapcache", "PG_anon_exclusive"),
    "hugetlb": ("PG_anon_exclusive",),
    "swap cache": ("PG_swapcache", "PG_readahead"),
    "shmem": ("PG_swapcache",),
    "file": _CACHED,
    "block device": _CACHED,
    "secretmem": _CACHED,
    "movable": _MOVABLE,
    "zsmalloc": _MOVABLE,
    "offline": _MOVABLE,
    "free": ("PG_reported",),
    "reserved": ("PG_vmemmap_self_hosted",),
    # Of a Xen guest.
    "page table": ("PG_pinned", "PG_savepinned"),
    "slab": ("SL_pfmemalloc", "SL_partial"),
}
# The same of the first tail page of a folio, whose flags are the folio's.
_MEANT_IN_SECOND = (
    *("PG_has_hwpoisoned", "PG_large_rmappable", "PG_partially_mapped"),
    *("PG_double_map", "PG_hugetlb"),
)
# Before there was an enum slab_flags (in v6.18) only functions had these names:
# slab_test_pfmemalloc() and, since Linux kernel commit 8a399e2f6003 ("slub: Keep track
# of whether slub is on the per-node partial list") (in v6.8), slab_test_node_partial().
_SLAB_FLAGS = {
    "SL_pfmemalloc": ("PG_active", "pfmemalloc"),
    "SL_partial": ("PG_workingset", "node_partial"),
}


@takes_program_or_default
def decode_page_flags(
    prog: Program, flags: IntegerLike, kind: str | None = None, second: bool = False
) -> str:
    """
    Get the names of page flags as the kernel's ``%pGp`` prints them, without node, zone
    and what else is kept in the upper bits.

    >>> decode_page_flags(0x100000000000048)
    'uptodate|head'
    >>> decode_page_flags(0x100000000000240, "slab")
    'node_partial|head'

    :param flags: ``unsigned long``
    :param kind: What the page is (:data:`pagedbg.mm.page_kinds.KINDS`): a bit has the
        name that is meant there, rather than that which is printed for it everywhere.
    :param second: Whether it is the first tail page of a folio.
    """
    try:
        tables = prog.cache["pagedbg_page_flags"]
    except KeyError:
        tables = prog.cache["pagedbg_page_flags"] = _Tables(prog)
    return format_flags(*tables.find(operator.index(flags), kind, second))


class _Tables:
    """The names of flags, of each kind of page that was asked for."""

    def __init__(self, prog: Program) -> None:
        self._prog = prog
        self._mask = (1 << number(prog, "__NR_PAGEFLAGS", 64)) - 1
        self._writeback = 1 << number(prog, "PG_writeback", 63)
        # Since Linux kernel commit ebc1baf5c9b4 ("mm: free up a word in the first tail
        # page") (in v6.6), the low byte there is the order.
        self._order = 0
        if not prog.type("struct folio").has_member("_folio_order"):
            self._order = 0xFF
        self._made: dict[tuple[Any, ...], tuple[tuple[int, str], ...]] = {}

    def find(
        self, flags: int, kind: str | None, second: bool
    ) -> tuple[tuple[tuple[int, str], ...], int]:
        """Return masks and names for the flags of a page, and the flags."""
        flags &= self._mask & ~self._order if second else self._mask
        if kind is None and not second:
            return trace_print_flags(self._prog, "pageflag_names"), flags
        key = kind, second, bool(flags & self._writeback)
        if key not in self._made:
            self._made[key] = self._table(*key)
        return self._made[key], flags

    def _table(
        self, kind: str | None, second: bool, writeback: bool
    ) -> tuple[tuple[int, str], ...]:
        meant = {}
        names = _MEANT.get(kind or "", ())
        if second:
            # Of what a process maps by itself each page has a flag of its own.
            own = {"PG_anon_exclusive"}.intersection(names)
            names = (*_MEANT_IN_SECOND, *own)
        for each in names:
            # PG_reclaim of a page that is being written is not PG_readahead.
            if each == "PG_readahead" and writeback:
                continue
            if found := _flag(self._prog, each):
                bit, meant_name = found
                meant[1 << bit] = meant_name
        printed = trace_print_flags(self._prog, "pageflag_names")
        return tuple((mask, meant.get(mask, name)) for mask, name in printed)


def _flag(prog: Program, name: str) -> tuple[int, str] | None:
    """Return the bit that a flag is and what it is called, None if there is none."""
    try:
        return number(prog, name, 63), name.partition("_")[2]
    except LookupError:
        if name not in _SLAB_FLAGS:
            return None
    bit, said = _SLAB_FLAGS[name]
    return number(prog, bit, 63), said


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

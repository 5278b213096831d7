# SPDX-License-Identifier: GPL-2.0-or-later
"""
What is known of the pageblocks that ``contrib/lab/pollute`` keeps from being free: by
the module itself, and by drgn with debug info, a page at a time.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import drgn
from drgn.helpers.linux.mm import (
    PageLRU,
    PageOwnerPriv1,
    PagePrivate,
    PageSlab,
    PageSwapBacked,
    compound_head,
    compound_nr,
    pfn_to_page,
)
from drgn.helpers.linux.mmzone import pfn_to_section
from drgn.helpers.linux.stackdepot import stack_depot_fetch

sys.path.insert(0, str(Path(__file__).parents[2] / "contrib" / "lab"))

import oracle

PAGEBLOCK = 512

OWNER, ALLOCATED = 1, 2

# include/linux/page-flags.h
PAGE_MAPPING_ANON = 1


class Piece(NamedTuple):
    """Pages that a function of the module holds."""

    owner: str
    pfn: int
    pages: int


class Holder(NamedTuple):
    """What ``blocks --by function`` says of a function."""

    pageblocks: int
    pages: int
    sole_pageblocks: int


def pageblocks(pieces: Iterable[Piece]) -> dict[int, set[str]]:
    """Which functions of the module hold each pageblock, by its first page."""
    found: dict[int, set[str]] = defaultdict(set)
    for piece in pieces:
        # A piece is aligned, and smaller than a pageblock.
        found[piece.pfn // PAGEBLOCK * PAGEBLOCK].add(piece.owner)
    return found


def holders(core: Path, vmlinux: Path, pieces: list[Piece]) -> dict[str, Holder]:
    """What the functions of the module hold in a dump."""
    prog = oracle.open_program(str(core), str(vmlinux))
    names: dict[int, str] = {}
    owners = {piece.owner for piece in pieces}
    where: dict[str, set[int]] = defaultdict(set)
    pages: dict[str, int] = defaultdict(int)
    sole: dict[str, int] = defaultdict(int)
    for start in pageblocks(pieces):
        fixed: set[str] = set()
        for pfn in range(start, start + PAGEBLOCK):
            name, movable = _owner(prog, pfn, owners, names)
            if name is not None and not movable:
                fixed.add(name)
                where[name].add(start)
                pages[name] += 1
        if len(fixed) == 1:
            sole[next(iter(fixed))] += 1
    return {
        name: Holder(len(where[name]), pages[name], sole[name])
        for name in where
        if name in owners
    }


def _owner(
    prog: drgn.Program, pfn: int, owners: set[str], names: dict[int, str]
) -> tuple[str | None, bool]:
    """
    Who holds a page, None for nobody: one of the owners, which are functions of the
    module, or somebody else; and whether it can be moved. That a page was given back is
    on its record, too.
    """
    section = pfn_to_section(prog, pfn)
    size = prog["page_ext_size"].value_()
    address = section.page_ext.value_() + size * pfn
    flags = drgn.Object(prog, "struct page_ext", address=address).flags.value_()
    if flags & (OWNER | ALLOCATED) != OWNER | ALLOCATED:
        return None, False
    record = drgn.Object(
        prog,
        "struct page_owner",
        address=address + prog["page_owner_ops"].offset.value_(),
    )
    handle = record.handle.value_()
    if handle not in names:
        frames = [frame.name or "" for frame in stack_depot_fetch(record.handle)]
        names[handle] = next(
            (name for name in frames if name in owners), "somebody else"
        )
    head = compound_head(pfn_to_page(prog, pfn))
    movable = not PageSlab(head) and (PageLRU(head) or bool(head.mapping))
    return names[handle], movable and not _pinned(head)


def _pinned(head: drgn.Object) -> bool:
    """
    Whether a page of a process or a file has references that nothing accounts for, as
    those of pipes: ``folio_expected_ref_count()``. One on its way to the LRU has one
    that is not counted.
    """
    pages = compound_nr(head).value_()
    mapping = head.mapping.value_()
    expected = _mapcount(head, pages) + (not PageLRU(head))
    if mapping & PAGE_MAPPING_ANON:
        # PG_owner_priv_1 is PG_swapcache there.
        expected += pages * (PageOwnerPriv1(head) and PageSwapBacked(head))
    elif mapping:
        expected += pages + PagePrivate(head)
    return bool(head._refcount.counter.value_() > expected)


def _mapcount(head: drgn.Object, pages: int) -> int:
    """How often a folio is mapped, in whole or in part."""
    if pages == 1:
        return int(head._mapcount.counter.value_()) + 1
    folio = drgn.cast("struct folio *", head)
    if folio.type_.type.has_member("_large_mapcount"):
        return int(folio._large_mapcount.counter.value_()) + 1
    # Before 05c5323b2a34 ("mm: track mapcount of large folios in single value") (v6.10)
    whole = int(head[1].compound_mapcount.counter.value_()) + 1
    return whole + sum(_mapcount(head + i, 1) for i in range(pages))

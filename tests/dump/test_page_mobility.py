# SPDX-License-Identifier: GPL-2.0-or-later
"""
What can become of pages, of a dump whose struct pages are changed in memory: those with
references that nothing accounts for are pinned.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from changed_memory import Changed
from drgn.helpers.linux.mm import pfn_to_page

from pagedbg.mm.page_array import Pages
from pagedbg.mm.page_mobility import Mobility, PageMobility


def look(changed: Changed) -> tuple[Pages, dict[int, Mobility]]:
    """All pages, and what can become of each."""
    mobility = PageMobility(changed.prog)
    (pages,) = mobility.decoder.pieces(0, changed.end)
    return pages, dict(enumerate(map(Mobility, mobility.of(pages).tolist())))


def page_of(changed: Changed, kind: str) -> int:
    """The first page of a kind, on a list of the LRU."""
    pages, _ = look(changed)
    found = np.array([pages.kinds[code] == kind for code in pages.kind])
    found &= pages.flags & np.uint64(changed.flag("lru")) != 0
    return int(np.flatnonzero(found)[0])


def make_large(changed: Changed, mapped: int) -> int:
    """
    Make a large folio of four anonymous pages, each of which is mapped by itself, and
    the folio as a whole so many times.
    """
    pages, _ = look(changed)
    anon = np.array([pages.kinds[code] == "anon" for code in pages.kind])
    four = anon[: len(anon) // 4 * 4].reshape(-1, 4).all(axis=1)
    pfn = 4 * int(np.flatnonzero(four)[0])
    head = pfn_to_page(changed.prog, pfn).value_()
    flags = changed.get(pfn, "flags") | changed.flag("head") | changed.flag("lru")
    changed.put(pfn, "flags", flags)
    changed.put(pfn, "_refcount", 4 + mapped)
    for page in range(pfn, pfn + 4):
        changed.put(page, "_mapcount", 0)
        if page > pfn:
            changed.put(page, "compound_head", head | 1)
            changed.put(page, "_refcount", 0)
    # Its order is in the low byte.
    changed.put(pfn + 1, "flags", changed.get(pfn + 1, "flags") & ~0xFF | 2)
    changed.put_of_folio(pfn, "_entire_mapcount", mapped - 1)
    return pfn


def test_no_page_of_the_dump_is_pinned(changed: Changed) -> None:
    pages, found = look(changed)
    assert Mobility.PINNED not in found.values()
    assert not pages.extra.any()
    assert set(found.values()) >= {
        Mobility.FREE,
        Mobility.PCP,
        Mobility.MOVABLE,
        Mobility.RECLAIMABLE,
        Mobility.UNMOVABLE,
    }


@pytest.mark.parametrize("kind", ["anon", "file", "shmem", "block device"])
@pytest.mark.parametrize("more", [1, 1024])
def test_a_reference_that_nothing_accounts_for_pins(
    changed: Changed, kind: str, more: int
) -> None:
    pfn = page_of(changed, kind)
    _, before = look(changed)
    changed.put(pfn, "_refcount", changed.get(pfn, "_refcount") + more)
    pages, found = look(changed)
    assert pages.extra[pfn] == more
    assert {pfn: found[pfn] for pfn in found if found[pfn] != before[pfn]} == {
        pfn: Mobility.PINNED
    }


@pytest.mark.parametrize("mapped", [0, 1, 3])
def test_every_page_of_a_large_folio_is_pinned_with_it(
    changed: Changed, mapped: int
) -> None:
    pfn = make_large(changed, mapped)
    pages, found = look(changed)
    assert pages.order[pfn] == 2
    assert not pages.extra.any()
    changed.put(pfn, "_refcount", changed.get(pfn, "_refcount") + 1)
    pages, found = look(changed)
    assert [found[each] for each in range(pfn, pfn + 4)] == [Mobility.PINNED] * 4
    assert np.flatnonzero(pages.extra).tolist() == list(range(pfn, pfn + 4))


def drop_mapping(changed: Changed, pfn: int) -> None:
    """Mapped once less: the reference is nobody's now."""
    changed.put(pfn, "_mapcount", changed.get(pfn, "_mapcount") - 1)


def take_from_lru(changed: Changed, pfn: int) -> None:
    """Taken from its list by somebody who has a reference for that."""
    changed.put(pfn, "_refcount", changed.get(pfn, "_refcount") + 1)
    changed.put(pfn, "flags", changed.get(pfn, "flags") & ~changed.flag("lru"))


def give_buffers(changed: Changed, pfn: int) -> None:
    """With buffers of its file system, which have a reference."""
    changed.put(pfn, "_refcount", changed.get(pfn, "_refcount") + 1)
    changed.put(pfn, "flags", changed.get(pfn, "flags") | changed.flag("private"))


@pytest.mark.parametrize(
    ("kind", "change", "extra"),
    [
        ("anon", drop_mapping, 1),
        ("anon", take_from_lru, 0),
        ("file", give_buffers, 0),
    ],
)
def test_what_accounts_for_references(
    changed: Changed, kind: str, change: Callable[[Changed, int], None], extra: int
) -> None:
    pfn = page_of(changed, kind)
    change(changed, pfn)
    pages, found = look(changed)
    assert pages.extra[pfn] == extra
    assert found[pfn] == (Mobility.PINNED if extra else Mobility.MOVABLE)


def test_part_of_a_large_folio_alone_is_not_said_to_be_pinned(changed: Changed) -> None:
    pfn = make_large(changed, 1)
    changed.put(pfn, "_refcount", changed.get(pfn, "_refcount") + 1)
    mobility = PageMobility(changed.prog)
    (pages,) = mobility.decoder.pieces(pfn, pfn + 3)
    assert not pages.extra.any()

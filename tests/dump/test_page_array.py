# SPDX-License-Identifier: GPL-2.0-or-later
"""
Pages that the test dumps do not have, made of a page that they have by changing the
words of its struct page; and damaged ones.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
from changed_memory import Changed
from drgn.helpers.linux.mm import pfn_to_page
from numpy.typing import NDArray

from pagedbg.mm._page_layout import PageLayout
from pagedbg.mm._page_words import Words
from pagedbg.mm.page_array import PageDecoder, Pages
from pagedbg.mm.page_state import page_states, pfn_state

WORD = (1 << 64) - 1


def first(changed: Changed, kind: str) -> int:
    """The first page of a kind that is part of no compound page."""
    return next(
        state.pfn
        for state in page_states(changed.prog, 0, changed.end)
        if state.kind == kind and not state.order
    )


@pytest.mark.parametrize(
    ("of", "words", "kind", "detail"),
    [
        ("kernel", {"_refcount": 0}, "no references", None),
        ("kernel", {"lru": 0xDEAD000000000040}, "page pool", None),
        ("kernel", {"lru": 0xDEAD000000000042}, "page pool", None),
        ("kernel", {"mapping": 0x1002}, "movable", None),
        ("kernel", {"mapping": 0x1001}, "anon", None),
        ("kernel", {"mapping": 0x1003}, "ksm", None),
        ("kernel", {"mapping": 0x1000}, "kernel", None),
        (
            "kernel",
            {"mapping": 0xFFFF_F000_0000_0000},
            "unknown",
            "its address_space at 0xfffff00000000000 cannot be read",
        ),
        (
            "kernel",
            {"compound_head": 1},
            "not in the dump",
            "its head page cannot be read",
        ),
        ("kernel", {"flags": WORD}, "not initialised", None),
    ],
)
def test_what_words_say(
    changed: Changed, of: str, words: dict[str, int], kind: str, detail: str | None
) -> None:
    pfn = first(changed, of)
    for member, value in words.items():
        changed.put(pfn, member, value)
    state = pfn_state(changed.prog, pfn)
    assert (state.kind, state.detail) == (kind, detail)


@pytest.mark.parametrize(
    ("of", "flags", "kind", "detail"),
    [
        ("kernel", ("hwpoison",), "hwpoison", None),
        ("slab", ("hwpoison",), "hwpoison", "was slab"),
        ("anon", ("hwpoison", "reserved"), "hwpoison", "was reserved"),
        ("kernel", ("swapcache", "swapbacked"), "swap cache", "slot 5 of swap area 0"),
        (
            "anon",
            ("swapcache", "swapbacked"),
            "anon",
            "also in swap: slot 5 of swap area 0",
        ),
        # Both flags have other meanings alone.
        ("kernel", ("swapcache",), "kernel", None),
    ],
)
def test_what_flags_say(
    changed: Changed, of: str, flags: tuple[str, ...], kind: str, detail: str | None
) -> None:
    pfn = first(changed, of)
    value = changed.get(pfn, "flags") & ~changed.flag("swapbacked")
    for name in flags:
        value |= changed.flag(name)
    changed.put(pfn, "flags", value)
    if "swapcache" in flags:
        changed.put(pfn, "private", 5)
    state = pfn_state(changed.prog, pfn)
    assert (state.kind, state.detail) == (kind, detail)


def damage(changed: Changed, chance: random.Random) -> list[int]:
    """
    Make heads that are none, orders that no block has, pages that are gone; return the
    page frame numbers.
    """
    start = pfn_to_page(changed.prog, 0).value_()
    pfns = chance.sample(range(changed.end), 600)
    for pfn in pfns:
        head = start + chance.randrange(changed.end) * changed.size
        member, value = chance.choice(
            (
                ("compound_head", head | 1),
                ("compound_head", chance.getrandbits(64) | 1),
                ("compound_head", head + 8 | 1),
                ("flags", changed.get(pfn, "flags") ^ changed.flag("head")),
                ("flags", chance.getrandbits(64)),
                ("_mapcount", chance.getrandbits(32)),
                ("_mapcount", 0xF0000000),
                ("_refcount", chance.choice((0, -1))),
                ("private", chance.getrandbits(64)),
                ("mapping", changed.get(pfn, "mapping") | chance.randrange(4)),
                ("lru", head + 8),
            )
        )
        changed.put(pfn, member, value)
    changed.gone.update(pfn * changed.size >> 12 for pfn in pfns[:3])
    return pfns


def test_damaged_pages_alone_are_as_in_bulk(changed: Changed) -> None:
    pfns = damage(changed, random.Random(4))
    (whole,) = PageDecoder(changed.prog).pieces(0, changed.end)
    for pfn in pfns:
        (alone,) = PageDecoder(changed.prog).pieces(pfn, pfn + 1)
        for name in Pages.COLUMNS:
            assert getattr(alone, name)[0] == getattr(whole, name)[pfn], (pfn, name)
    assert np.count_nonzero(~whole.present[pfns]) >= 3


@pytest.mark.parametrize("counts", [False, True])
@pytest.mark.parametrize("seed", [None, 5, 6])
def test_what_few_words_tell_is_what_all_questions_tell(
    changed: Changed, monkeypatch: pytest.MonkeyPatch, seed: int | None, counts: bool
) -> None:
    if seed is not None:
        damage(changed, random.Random(seed))
    told = []
    singles = Words.singles

    def counted(words: Words, layout: PageLayout) -> NDArray[np.bool_]:
        found = singles(words, layout)
        told.append(np.count_nonzero(found))
        return found

    def none(words: Words, layout: PageLayout) -> NDArray[np.bool_]:
        return np.zeros(len(words.flags), np.bool_)

    def decoded(which: Callable[[Words, PageLayout], NDArray[np.bool_]]) -> Pages:
        monkeypatch.setattr(Words, "singles", which)
        decoder = PageDecoder(changed.prog, references=counts, counts=counts)
        (pages,) = decoder.pieces(0, changed.end)
        # Where there is no mapping there is no index in it.
        pages.pgoff = np.where(pages.mapping != 0, pages.pgoff, 0)
        return pages

    by_few, by_all = decoded(counted), decoded(none)
    assert sum(told) > 2000
    for name in Pages.COLUMNS:
        few, all_ = getattr(by_few, name), getattr(by_all, name)
        assert np.flatnonzero(few != all_).tolist() == [], name

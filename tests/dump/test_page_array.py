# SPDX-License-Identifier: GPL-2.0-or-later
"""
Pages that the test dumps do not have, made of a page that they have by changing the
words of its struct page; and damaged ones.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator

import numpy as np
import pytest
from drgn import FaultError, Program
from drgn.helpers.linux.mm import pfn_to_page
from known import ORDINARY

from pagedbg.mm.bulk_read import offset_of
from pagedbg.mm.page_array import PageDecoder, Pages
from pagedbg.mm.page_state import page_states, pfn_state
from pagedbg.target.opening import open_target

WORD = (1 << 64) - 1


class Changed:
    """A program whose ``struct page`` can be changed."""

    def __init__(self) -> None:
        self.prog = open_target(str(ORDINARY)).prog
        self.end = self.prog["max_pfn"].value_()
        page = self.prog.type("struct page")
        self.size, self._page = page.size, page
        start, length = pfn_to_page(self.prog, 0).value_(), self.end * page.size
        self.original = self._read(self.prog, start, length)
        self.memory = bytearray(self.original)
        self.prog.add_memory_segment(start, length, self._given, False)
        self.gone: set[int] = set()
        """Which 4 KiB of the memory map cannot be read."""

    @staticmethod
    def _read(prog: Program, start: int, length: int) -> bytes:
        return b"".join(
            prog.read(at, min(4096, start + length - at))
            for at in range(start, start + length, 4096)
        )

    def _given(self, address: int, count: int, offset: int, physical: bool) -> bytes:
        if self.gone.intersection(range(offset >> 12, (offset + count - 1 >> 12) + 1)):
            raise FaultError("not in the dump", address)
        return bytes(self.memory[offset : offset + count])

    def restore(self) -> None:
        self.memory[:] = self.original
        self.gone.clear()

    def get(self, pfn: int, member: str) -> int:
        at, end = self._span(pfn, member)
        return int.from_bytes(self.memory[at:end], "little")

    def put(self, pfn: int, member: str, value: int) -> None:
        at, end = self._span(pfn, member)
        bits = 8 * (end - at)
        self.memory[at:end] = (value & (1 << bits) - 1).to_bytes(end - at, "little")

    def _span(self, pfn: int, member: str) -> tuple[int, int]:
        at = pfn * self.size + offset_of(self._page, member)
        return at, at + (4 if member in ("_mapcount", "_refcount") else 8)

    def flag(self, name: str) -> int:
        return 1 << int(self.prog[f"PG_{name}"].value_())


@pytest.fixture(scope="module")
def opened() -> Changed:
    return Changed()


@pytest.fixture
def changed(opened: Changed) -> Iterator[Changed]:
    yield opened
    opened.restore()


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


def test_damaged_pages_alone_are_as_in_bulk(changed: Changed) -> None:
    """Heads that are none, orders that no block has, pages that are gone."""
    chance = random.Random(4)
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
    (whole,) = PageDecoder(changed.prog).pieces(0, changed.end)
    for pfn in pfns:
        (alone,) = PageDecoder(changed.prog).pieces(pfn, pfn + 1)
        for field in dataclasses.fields(Pages)[2:]:
            assert getattr(alone, field.name)[0] == getattr(whole, field.name)[pfn], (
                pfn,
                field.name,
            )
    assert np.count_nonzero(~whole.present[pfns]) >= 3

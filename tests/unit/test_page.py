# SPDX-License-Identifier: GPL-2.0-or-later
"""
Page types of every encoding, free blocks, and reading memory with holes, without a
kernel.
"""

from __future__ import annotations

import numpy as np
import pytest
from drgn import (
    Architecture,
    FaultError,
    FindObjectFlags,
    Object,
    Platform,
    PlatformFlags,
    Program,
    TypeEnumerator,
)
from hypothesis import given
from hypothesis import strategies as st

from pagedbg.mm._buddy import FreeBlocks
from pagedbg.mm.bulk_read import array_length, read_array
from pagedbg.mm.mmzone import ZoneSpan, _span_of_pfns
from pagedbg.mm.page_flags import page_types

FREE = 0xFFFFFFFF  # a map count of -1


def program(enum: dict[str, int], vmcoreinfo: bytes = b"") -> Program:
    """A program that has one enum, and a VMCOREINFO."""
    prog = Program(
        Platform(
            Architecture.X86_64,
            PlatformFlags.IS_64_BIT | PlatformFlags.IS_LITTLE_ENDIAN,
        )
    )
    uint = prog.int_type("unsigned int", 4, False)
    kind = prog.enum_type(
        "pagetype", uint, [TypeEnumerator(name, value) for name, value in enum.items()]
    )
    char = prog.int_type("char", 1, True)

    def find(
        prog: Program, name: str, flags: FindObjectFlags, filename: str | None
    ) -> Object | None:
        if name in enum:
            return Object(prog, kind, value=enum[name])
        if name == "VMCOREINFO":
            return Object(
                prog,
                prog.array_type(char, len(vmcoreinfo) + 1),
                value=vmcoreinfo + b"\0",
            )
        return None

    prog.register_object_finder("test", find, enable_index=0)
    return prog


def test_page_type_in_the_top_byte() -> None:
    """Linux 6.12 and later."""
    types = page_types(
        program(
            {"PGTY_buddy": 0xF0, "PGTY_slab": 0xF5, "PGTY_mapcount_underflow": 0xFF}
        )
    )
    assert types.name(0xF0000000) == "buddy"
    assert types.name(0xF5000123) == "slab"
    assert types.is_type(0xF5000123)
    for count in (FREE, 0, 1, 0x7FFFFFFF):
        assert types.name(count) is None
        assert not types.is_type(count)


def test_page_type_as_clear_bits_by_enum() -> None:
    """Linux 6.11."""
    types = page_types(
        program(
            {
                "PG_buddy": 0x40000000,
                "PG_slab": 0x04000000,
                "PAGE_TYPE_BASE": 0x80000000,
            }
        )
    )
    assert types.name(0xFFFFFFFF & ~0x40000000) == "buddy"
    assert types.name(0xFFFFFFFF & ~0x04000000) == "slab"
    assert types.name(FREE) is None
    assert types.name(5) is None


def test_page_type_as_clear_bits() -> None:
    """Linux 6.1: macros; what came later says its value in vmcoreinfo."""
    types = page_types(
        program(
            {},
            b"OSRELEASE=6.10\nNUMBER(PAGE_SLAB_MAPCOUNT_VALUE)=-4097\nNUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)=-129\n",
        )
    )
    assert types.name(0xFFFFFF7F) == "buddy"
    assert types.name(0xFFFFFEFF) == "offline"
    assert types.name(0xFFFFFDFF) == "table"
    assert types.name(0xFFFFFBFF) == "guard"
    assert types.name(0xFFFFEFFF) == "slab"
    assert types.is_type(0xFFFFFF7F)
    for count in (FREE, FREE - 3, 0, 7):
        assert types.name(count) is None
        assert not types.is_type(count)


def test_free_blocks() -> None:
    blocks = FreeBlocks(np.array([4, 8, 16]), np.array([1, 3, 0]), 10)
    inside, heads, orders = blocks.find(np.arange(32))
    found = zip(
        np.flatnonzero(inside).tolist(), heads.tolist(), orders.tolist(), strict=True
    )
    assert list(found) == [
        (4, 4, 1),
        (5, 4, 1),
        *((i, 8, 3) for i in range(8, 16)),
        (16, 16, 0),
    ]


def test_a_free_block_of_an_impossible_order_is_none() -> None:
    """On a running kernel the order may be torn."""
    blocks = FreeBlocks(np.array([0]), np.array([1 << 40]), 10)
    assert not blocks.find(np.array([0, 5]))[0].any()
    assert blocks.damaged.tolist() == [0]


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 30)), max_size=6))
def test_spans(pieces: list[tuple[int, int]]) -> None:
    """What the vectors say is what one would find by looking at each span."""
    spans = [
        ZoneSpan(i, i, str(i), start, start + length)
        for i, (start, length) in enumerate(pieces)
    ]
    owner, shared = _span_of_pfns(spans, np.arange(100, dtype=np.uint64))
    for pfn in range(100):
        inside = [
            i for i, span in enumerate(spans) if span.start_pfn <= pfn < span.end_pfn
        ]
        assert bool(shared[pfn]) == (len(inside) > 1)
        if len(inside) < 2:
            assert int(owner[pfn]) == (inside[0] if inside else -1)


@pytest.fixture
def patchy() -> Program:
    """
    64 KiB of memory at 0x10000, each 32-bit word its own address, of which two pages
    and the end of a third cannot be read.
    """
    prog = Program(
        Platform(
            Architecture.X86_64,
            PlatformFlags.IS_64_BIT | PlatformFlags.IS_LITTLE_ENDIAN,
        )
    )

    def read(address: int, count: int, offset: int, physical: bool) -> bytes:
        for page in range(address >> 12, (address + count - 1 >> 12) + 1):
            if page in (0x13, 0x17):
                raise FaultError("not there", page << 12)
        words = np.arange(
            address & ~3, (address + count + 3) & ~3, 4, dtype="<u4"
        ).tobytes()
        return words[address & 3 :][:count]

    prog.add_memory_segment(0x10000, 0x10000, read, physical=False)
    return prog


def test_what_cannot_be_read_is_not_known(patchy: Program) -> None:
    dtype = np.dtype("<u4")
    data, known = read_array(patchy, 0x10008, 0x3000, dtype)
    expected = np.arange(0x10008, 0x10008 + 4 * len(data), 4)
    bad = (expected >> 12 == 0x13) | (expected >> 12 == 0x17)
    assert (known == ~bad).all()
    assert (data[known] == expected[known]).all()
    assert (data[~known] == 0).all()


def test_a_record_that_is_torn_is_not_known(patchy: Program) -> None:
    """A page of 4096 bytes holds no whole number of records of 24."""
    dtype = np.dtype([("a", "<u4"), ("rest", "V20")])
    data, known = read_array(patchy, 0x12000, 400, dtype)
    starts = 0x12000 + 24 * np.arange(400)
    bad = (starts + 23 >> 12 == 0x13) | (starts >> 12 == 0x13)
    assert (known == ~bad).all()
    assert (data["a"][known] == starts[known]).all()


def test_what_damaged_types_have_in_place_of_an_array_has_no_length(
    patchy: Program,
) -> None:
    word = patchy.int_type("int", 4, True)
    assert array_length(patchy.array_type(word, 11)) == 11
    for other in (patchy.array_type(word), patchy.pointer_type(word), word):
        assert array_length(other) == 0

# SPDX-License-Identifier: GPL-2.0-or-later
"""
The free objects of a slab, by hand: lists that are damaged, and those that a kernel
scrambles. In real kernels slab objects are counted in tests/vm/test_tags.py.
"""

from __future__ import annotations

import numpy as np
import pytest

from pagedbg.mm.slab_objects import _free, _Tracked

BASE, SIZE, COUNT, PAD, OFFSET = 0xFFFF_8880_0000_4000, 64, 8, 8, 16
RANDOM = 0x1234_5678_9ABC_DEF0

DTYPE = np.dtype(
    {"names": ["next"], "formats": ["<u8"], "offsets": [PAD + OFFSET], "itemsize": SIZE}
)


def at(place: int) -> int:
    """Where an object is."""
    return BASE + place * SIZE + PAD


def free(links: dict[int, int], first: int, random: int | None = None) -> list[int]:
    """What is found to be free, by what the free objects hold."""
    objects = np.zeros(COUNT, DTYPE)
    for place, value in links.items():
        if random is not None:
            address = (at(place) + OFFSET).to_bytes(8, "little")
            value ^= random ^ int.from_bytes(address, "big")
        objects["next"][place] = value
    return _free(objects, BASE, _Tracked(SIZE, PAD, DTYPE, random), first)


@pytest.mark.parametrize("random", [None, RANDOM])
def test_a_list_is_followed_to_its_end(random: int | None) -> None:
    assert free({5: at(2), 2: at(7), 7: 0}, at(5), random) == [5, 2, 7]
    assert free({}, 0, random) == []


@pytest.mark.parametrize("random", [None, RANDOM])
@pytest.mark.parametrize(
    "wrong", [at(5), at(0) + 1, at(COUNT), at(-1), 0xDEAD, (1 << 64) - 1]
)
def test_a_list_that_is_damaged_ends_there(wrong: int, random: int | None) -> None:
    assert free({5: at(2), 2: wrong}, at(5), random) == [5, 2]

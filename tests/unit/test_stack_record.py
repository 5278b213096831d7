# SPDX-License-Identifier: GPL-2.0-or-later
"""The stacks that the kernel module keeps of its own, as they lie in memory."""

from __future__ import annotations

import numpy as np
import pytest

from pagedbg.schema.event_record import HEADER, RECORD
from pagedbg.schema.stack_record import (
    STACK,
    STACK_DEPTH,
    addresses_of,
    stacks_behind,
)

BUSY = (1 << 64) - 1


def stack(key: int) -> np.void:
    made = np.zeros(1, STACK)
    made["key"] = key
    made["pc"] = np.arange(1, STACK_DEPTH + 1)
    return made[0]  # type: ignore[no-any-return]


@pytest.mark.parametrize("depth", [1, 9, STACK_DEPTH])
def test_a_stack_is_as_deep_as_its_key_says(depth: int) -> None:
    found = addresses_of(stack(0xDEADBEEF << 8 | depth))
    assert found == [*range(1, depth + 1)]


@pytest.mark.parametrize("key", [0, BUSY, 0x1234 << 8 | STACK_DEPTH + 1, 1 << 40 | 3])
def test_what_was_never_written_or_not_all_of_it_is_no_stack(key: int) -> None:
    assert addresses_of(stack(key)) == []


@pytest.mark.parametrize("page_size", [4096, 65536])
@pytest.mark.parametrize("stacks", [0, 16384])
def test_stacks_begin_at_the_page_behind_the_rings(page_size: int, stacks: int) -> None:
    header = np.zeros(1, HEADER)
    header["cpus"], header["slots"], header["slots_at"] = 3, 64, page_size
    rings = 3 * 64 * RECORD.itemsize
    end = page_size + -(-rings // page_size) * page_size
    header["size"] = end + stacks * STACK.itemsize
    assert stacks_behind(header[0], page_size) == (stacks, end)

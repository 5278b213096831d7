# SPDX-License-Identifier: GPL-2.0-or-later
"""Allocation flags: formatted as the kernel does, and read back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagedbg.errors import UsageError
from pagedbg.schema.flag_words import format_flags, parse_flags

# Part of 6.12's table, in its order.
NAMES = (
    (0x1C24CA, "GFP_TRANSHUGE"),
    (0x100CCA, "GFP_HIGHUSER_MOVABLE"),
    (0x400CC0, "GFP_KERNEL_ACCOUNT"),
    (0xCC0, "GFP_KERNEL"),
    (0x820, "GFP_ATOMIC"),
    (0x1, "GFP_DMA"),
    (0x8, "__GFP_MOVABLE"),
    (0x100, "__GFP_ZERO"),
    (0x2000, "__GFP_NOWARN"),
    (0x40000, "__GFP_COMP"),
    (0x800, "__GFP_KSWAPD_RECLAIM"),
)


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (0, ""),
        (0xCC0, "GFP_KERNEL"),
        (0x40CC0, "GFP_KERNEL|__GFP_COMP"),
        (0x140CCA, "GFP_HIGHUSER_MOVABLE|__GFP_COMP"),
        (0x80000000, "0x80000000"),
        (0x82CC0, "GFP_KERNEL|__GFP_NOWARN|0x80000"),
    ],
)
def test_format(flags: int, text: str) -> None:
    assert format_flags(NAMES, flags) == text


@given(st.integers(0, (1 << 32) - 1))
def test_what_is_formatted_is_read_back(flags: int) -> None:
    text = format_flags(NAMES, flags)
    if text:
        assert parse_flags(NAMES, text) == flags


@pytest.mark.parametrize(
    ("text", "mask"),
    [
        ("gfp_kernel", 0xCC0),
        ("GFP_KERNEL, __GFP_COMP", 0x40CC0),
        ("__GFP_ZERO+0x40000", 0x40100),
        ("256", 0x100),
        ("0x0", 0),
    ],
)
def test_parse(text: str, mask: int) -> None:
    assert parse_flags(NAMES, text) == mask


@pytest.mark.parametrize(
    "text", ["", "GFP_KERNEL|", "GFP_COFFEE", "0xzz", "-1", "1e3", "0x100000000"]
)
def test_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_flags(NAMES, text)


def test_a_near_name_is_offered() -> None:
    with pytest.raises(UsageError, match="did you mean GFP_KERNEL"):
        parse_flags(NAMES, "GFP_KERNAL")

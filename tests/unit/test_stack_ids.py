# SPDX-License-Identifier: GPL-2.0-or-later
"""Stacks have numbers that outlive a boot, and numbers that outlive a build."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagedbg.schema.stack_ids import (
    exact_frame,
    normal_frame,
    stack_id,
    stack_shape,
)

STACK = [
    "__alloc_pages+0x1f4/0x360",
    "leaky_rx_refill.isra.0+0x2c/0x70 [leaky]",
    "process_one_work+0x17b/0x330",
]


@pytest.mark.parametrize(
    ("frame", "exact", "normal"),
    [
        ("do_exit+0x10/0x80", "do_exit+0x10", "do_exit"),
        ("do_exit+0x10/0x80 [ext4]", "do_exit+0x10 [ext4]", "do_exit [ext4]"),
        ("f.isra.0+0x1/0x2 [m 0123abcd]", "f.isra.0+0x1 [m]", "f [m]"),
        ("f.constprop.0.isra.0+0x1/0x2", "f.constprop.0.isra.0+0x1", "f"),
        ("f.part.0.cold+0x1/0x2", "f.part.0.cold+0x1", "f"),
        ("k_noprof.isra.0+0x1/0x2", "k_noprof.isra.0+0x1", "k"),
        ("0xffffffffc0228017", "0xffffffffc0228017", "0xffffffffc0228017"),
        ("early_stack", "early_stack", "early_stack"),
        ("f [m]", "f [m]", "f [m]"),
        ("", "", ""),
    ],
)
def test_a_frame_is_a_place_or_a_function(frame: str, exact: str, normal: str) -> None:
    assert (exact_frame(frame), normal_frame(frame)) == (exact, normal)


def test_the_numbers_are_what_they_were() -> None:
    # Files that were written once are compared with others: these never change.
    assert f"{stack_id(STACK):016x}" == "9a974ca8fd42ede0"
    assert f"{stack_shape(STACK):016x}" == "b4765085e0972fca"


def test_another_build_has_the_same_shape_and_another_id() -> None:
    other = [
        "__alloc_pages+0x2f4/0x380",
        "leaky_rx_refill+0x3c/0x80 [leaky]",
        "process_one_work+0x27b/0x350",
    ]
    assert stack_shape(other) == stack_shape(STACK)
    assert stack_id(other) != stack_id(STACK)


def test_the_size_of_a_function_is_no_part_of_its_place() -> None:
    assert stack_id(["f+0x1/0x2"]) == stack_id(["f+0x1/0x200"]) == stack_id(["f+0x1"])


def test_a_name_with_endings_without_end_is_done_in_one_pass() -> None:
    # With a regular expression this took minutes.
    assert normal_frame("a" + ".isra" * 200_000) == "a"
    assert normal_frame("a" + ".isra" * 200_000 + "x").endswith(".israx")


@given(st.lists(st.text()), st.lists(st.text()))
def test_any_text_is_a_frame(one: list[str], other: list[str]) -> None:
    for number in (stack_id(one), stack_shape(other)):
        assert 0 <= number < 1 << 64

# SPDX-License-Identifier: GPL-2.0-or-later
"""Addresses become the names that the kernel itself prints for them."""

from __future__ import annotations

import random

import pytest
from drgn import Architecture, Platform, Program, Symbol, SymbolBinding, SymbolKind
from hypothesis import given
from hypothesis import strategies as st

from pagedbg.target.symbols import Symbolizer, SymbolTable

START = 0xFFFF_FFFF_8100_0000


def symbol(name: str, offset: int, weak: bool = False) -> Symbol:
    """A symbol of the kernel image."""
    return Symbol(
        name,
        START + offset,
        0,
        SymbolBinding.WEAK if weak else SymbolBinding.GLOBAL,
        SymbolKind.FUNC,
    )


def symbolizer(*symbols: Symbol, end: int = 0x10000) -> Symbolizer:
    """Of a kernel without modules and BPF programs."""
    return Symbolizer(
        Program(Platform(Architecture.X86_64)),
        [symbol("_stext", 0), symbol("_end", end), *symbols],
    )


def name(table: Symbolizer, offset: int) -> str:
    """The name of one address of the image."""
    (found,) = table([START + offset])
    return found


# ---- one table ----------


@given(
    st.lists(
        st.tuples(st.integers(0x1000, 0x1100), st.sampled_from("abcdefgh")), max_size=12
    ),
    st.integers(0xFF0, 0x1110),
)
def test_an_address_is_so_far_behind_the_symbol_before_it_up_to_the_next(
    pairs: list[tuple[int, str]], at: int
) -> None:
    table = SymbolTable.of(
        0x1000, 0x1100, [pair for pair in pairs if pair[0] < 0x1100], " [mod]"
    )
    before = [address for address, _ in pairs if address <= at and address < 0x1100]
    if not before:
        assert table.name(at) is None
        return
    start = max(before)
    end = min(
        (address for address, _ in pairs if start < address < 0x1100), default=0x1100
    )
    first = next(name for address, name in pairs if address == start)
    assert table.name(at) == f"{first}+{at - start:#x}/{end - start:#x} [mod]"


# ---- the kernel image ----------


def test_a_return_address_is_written_as_the_kernel_writes_it() -> None:
    table = symbolizer(symbol("vfs_read", 0x100), symbol("vfs_write", 0x180))
    assert name(table, 0x100) == "vfs_read+0x0/0x80"
    assert name(table, 0x17F) == "vfs_read+0x7f/0x80"
    assert name(table, 0x180) == "vfs_write+0x0/0xfe80"
    assert name(table, 0x10) == "_stext+0x10/0x100"


def test_addresses_outside_the_image_and_all_modules_stay_numbers() -> None:
    table = symbolizer(symbol("vfs_read", 0x100), symbol("__per_cpu_start", -START))
    for address in (0, 1, START - 1, START + 0x10000, (1 << 64) - 1):
        assert table([address]) == [f"0x{address:x}"]


# scripts/kallsyms.c, compare_symbols(): what is weak comes behind, then what a linker
# script provides, then what has more underscores in front; otherwise the order of nm
# stays. The kernel prints the first.
@pytest.mark.parametrize(
    "aliases, printed",
    [
        (["__x64_sys_read", "sys_read"], "sys_read"),
        (["vfs_read", "__vfs_read"], "vfs_read"),
        (["___a", "__b", "_c"], "_c"),
        (["__start_rodata", "__a"], "__a"),
        (["__stop___ksymtab", "____very_private"], "____very_private"),
        (["__sched_text_start", "__schedule"], "__schedule"),
        (["__end_of_it", "___a"], "___a"),
        (["_einittext", "__a"], "_einittext"),
        (["weak:arch_hook", "____strong"], "____strong"),
        (["weak:b", "weak:__a"], "b"),
        (["weak:x", "__kprobes_text_start"], "__kprobes_text_start"),
        (["first", "second"], "first"),
        (["second", "first"], "second"),
        (["__pfx_f", "f"], "f"),
    ],
)
def test_of_several_names_at_one_address_the_kernels_choice_is_printed(
    aliases: list[str], printed: str
) -> None:
    symbols = [
        symbol(alias.removeprefix("weak:"), 0x100, alias.startswith("weak:"))
        for alias in aliases
    ]
    assert (
        name(symbolizer(*symbols, symbol("next", 0x140)), 0x104)
        == f"{printed}+0x4/0x40"
    )


def test_the_order_of_the_table_matters_only_between_equals() -> None:
    symbols = [
        symbol(f"{'_' * (i % 3)}f{i // 3}", 0x100 + i // 3 * 16, weak=i % 5 == 0)
        for i in range(300)
    ]
    addresses = [START + offset for offset in range(0, 0x1000, 7)]
    ordered = symbolizer(*symbols)(addresses)
    random.Random(1).shuffle(symbols)
    assert symbolizer(*symbols)(addresses) == ordered


def test_each_address_is_answered_in_its_place() -> None:
    table = symbolizer(symbol("a", 0x100), symbol("b", 0x200))
    pcs = [START + 0x201, START + 0x101, 5, START + 0x201]
    assert table(pcs) == ["b+0x1/0xfe00", "a+0x1/0x100", "0x5", "b+0x1/0xfe00"]
    assert table([]) == []


def test_modules_that_cannot_be_read_are_said_once_and_their_frames_stay_numbers() -> (
    None
):
    table = symbolizer(symbol("a", 0x100))
    assert table([0xFFFF_FFFF_C000_0000, 0xFFFF_FFFF_C000_0010]) == [
        "0xffffffffc0000000",
        "0xffffffffc0000010",
    ]
    assert len([note for note in table.notes if "modules" in note]) == 1


def test_a_kernel_without_symbols_prints_numbers() -> None:
    table = Symbolizer(Program(Platform(Architecture.X86_64)), [])
    assert table([START]) == [f"0x{START:x}"]

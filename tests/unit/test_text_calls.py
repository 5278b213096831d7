# SPDX-License-Identifier: GPL-2.0-or-later
"""Who calls what, by machine code as an assembler makes it."""

from __future__ import annotations

import struct

import pytest
from drgn import (
    Architecture,
    Platform,
    Program,
    Symbol,
    SymbolBinding,
    SymbolIndex,
    SymbolKind,
)

from pagedbg.capture.backends.untold import find_untold
from pagedbg.errors import PagedbgError
from pagedbg.target.text_calls import TextCall, find_calls

START = 0xFFFF_FFFF_8100_0000
SIZE = 0x200000
"""Of text: more than is read in one piece."""

PIECE = 1 << 20


def x86(at: int, to: int, opcode: int = 0xE8) -> bytes:
    """``call`` (or ``jmp``) with a displacement, Intel SDM volume 2."""
    return struct.pack("<Bi", opcode, to - (at + 5))


def arm(at: int, to: int, opcode: int = 0x94000000) -> bytes:
    """``bl`` (or ``b``), Arm ARM C6.2."""
    return struct.pack("<I", opcode | (to - at >> 2 & 0x3FFFFFF))


def kernel(
    functions: dict[str, int],
    code: dict[int, bytes],
    arch: Architecture = Architecture.X86_64,
) -> Program:
    """A program with this text: functions and code by where they are in it."""
    text = bytearray(b"\xcc" * SIZE)
    for at, what in code.items():
        text[at : at + len(what)] = what
    prog = Program(Platform(arch))
    ends = {"_stext": 0, **functions, "_etext": SIZE}
    prog.register_symbol_finder(
        "test",
        SymbolIndex(
            [
                Symbol(
                    name,
                    START + at,
                    SIZE if name == "_etext" else 0x800,
                    SymbolBinding.GLOBAL,
                    SymbolKind.FUNC,
                )
                for name, at in ends.items()
                if name not in ("_stext", "_etext")
            ]
            + [
                Symbol(name, START + at, 1, SymbolBinding.GLOBAL, SymbolKind.UNKNOWN)
                for name, at in (("_stext", 0), ("_etext", SIZE))
            ]
        ),
        enable_index=0,
    )
    prog.add_memory_segment(
        START,
        SIZE,
        lambda address, count, offset, physical: bytes(text[offset : offset + count]),
    )
    return prog


def test_calls_and_jumps_are_found_wherever_pieces_end() -> None:
    called, caller, over = 0x180000, 0x1000, PIECE - 0x10
    code = {
        caller + 0x10: x86(caller + 0x10, called),
        caller + 0x20: x86(caller + 0x20, called, 0xE9),
        # Behind endbr64.
        caller + 0x30: x86(caller + 0x30, called + 4),
        # Of something else, close by.
        caller + 0x40: x86(caller + 0x40, called - 1),
        caller + 0x50: x86(caller + 0x50, called + 16),
        # Half of it is in the next piece.
        over + 0x0E: x86(over + 0x0E, called),
    }
    prog = kernel({"called": called, "caller": caller, "over": over}, code)
    assert find_calls(prog, "called")["called"] == [
        TextCall("caller", 0x10),
        TextCall("caller", 0x20),
        TextCall("caller", 0x30),
        TextCall("over", 0x0E),
    ]


def test_calls_that_have_a_kprobe_already_are_found() -> None:
    called, caller = 0x180000, 0x1000
    code = {caller + 0x10: x86(caller + 0x10, called, 0xCC)}
    prog = kernel({"called": called, "caller": caller}, code)
    assert find_calls(prog, "called")["called"] == [TextCall("caller", 0x10)]


def test_what_kprobes_hide_on_arm64_is_said() -> None:
    code = {0x1010: arm(0x1010, 0x10000), 0x1020: struct.pack("<I", 0xD4200080)}
    prog = kernel({"called": 0x10000, "caller": 0x1000}, code, Architecture.AARCH64)
    with pytest.raises(LookupError, match=r"^kprobes hide what is called"):
        find_calls(prog, "called")


def test_branches_of_arm64_are_found_forward_and_backward() -> None:
    called, before, behind = 0x10000, 0x1000, 0x20000
    code = {
        before + 0x10: arm(before + 0x10, called),
        behind + 0x10: arm(behind + 0x10, called),
        behind + 0x20: arm(behind + 0x20, called, 0x14000000),
        behind + 0x30: arm(behind + 0x30, called + 16),
    }
    functions = {"called": called, "before": before, "behind": behind}
    prog = kernel(functions, code, Architecture.AARCH64)
    found = [str(call) for call in find_calls(prog, "called")["called"]]
    assert found == ["before+0x10", "behind+0x10", "behind+0x20"]


FUNCTIONS = {
    name: 0x1000 * (1 + n)
    for n, name in enumerate(
        (
            "__set_page_owner",
            "post_alloc_hook",
            "get_page_from_freelist",
            "alloc_contig_range_noprof.isra.0",
            "compaction_alloc",
            "__alloc_pages_noprof",
            "__memcg_kmem_charge_page",
            "__free_pages",
            "stranger",
        )
    )
}

# Who calls whom, each once.
CALLS = [
    ("post_alloc_hook", "__set_page_owner"),
    ("get_page_from_freelist", "__set_page_owner"),
    ("alloc_contig_range_noprof.isra.0", "__set_page_owner"),
    ("compaction_alloc", "post_alloc_hook"),
    ("__alloc_pages_noprof", "__memcg_kmem_charge_page"),
    ("__alloc_pages_noprof", "__free_pages"),
    ("stranger", "__free_pages"),
]


def with_calls(calls: list[tuple[str, str]]) -> Program:
    """A kernel whose functions call each other so."""
    code = {}
    for n, (caller, called) in enumerate(calls):
        at = FUNCTIONS[caller] + 0x100 + 0x10 * n
        code[at] = x86(at, FUNCTIONS[called])
    return kernel(FUNCTIONS, code)


def test_what_no_tracepoint_tells_of_is_found() -> None:
    assert find_untold(with_calls(CALLS)) == [
        "alloc_contig_range_noprof.isra.0+0x120",
        "compaction_alloc+0x130",
        "__alloc_pages_noprof+0x150",
    ]


@pytest.mark.parametrize(
    ("calls", "why"),
    [
        ([*CALLS, ("stranger", "__set_page_owner")], "^stranger allocates pages in a"),
        ([*CALLS, ("stranger", "post_alloc_hook")], "^stranger allocates pages in a"),
        (
            [call for call in CALLS if call[1] != "__set_page_owner"],
            "^nobody is seen to call __set_page_owner",
        ),
        (
            [
                call
                for call in CALLS
                if call != ("__alloc_pages_noprof", "__free_pages")
            ],
            "^__alloc_pages_noprof frees in a way",
        ),
    ],
)
def test_a_kernel_that_does_it_otherwise_is_not_guessed_at(
    calls: list[tuple[str, str]], why: str
) -> None:
    with pytest.raises(PagedbgError, match=why):
        find_untold(with_calls(calls))


def test_text_that_cannot_be_read_is_said() -> None:
    prog = with_calls(CALLS)
    prog.add_memory_segment(START + PIECE, 0x1000, _fault)
    with pytest.raises(PagedbgError, match=r"^the kernel's code cannot be read: "):
        find_untold(prog)


def _fault(address: int, count: int, offset: int, physical: bool) -> bytes:
    from drgn import FaultError

    raise FaultError("no such page", address)

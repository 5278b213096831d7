# SPDX-License-Identifier: GPL-2.0-or-later
"""Which functions of the kernel call another one, as its machine code says."""

from __future__ import annotations

import dataclasses

import numpy as np
from drgn import Architecture, Program
from numpy.typing import NDArray

__all__ = ("TextCall", "calls_in", "find_calls")

_PIECE = 1 << 20

# A call may land behind what a function begins with (endbr64, or what the kernel puts
# in its place).
_LANDING = 16

# Opcode and a displacement of four bytes, from the end of both. Where there is a kprobe
# already, a breakpoint has taken the place of the opcode.
_OPCODES, _X86_SIZE = (0xE8, 0xE9, 0xCC), 5

# BL and B: six bits, and a displacement of 26 in words. Of what a kprobe stands on
# nothing is left (arch/arm64/include/asm/brk-imm.h, KPROBES_BRK_IMM).
_BRANCHES, _BL, _B, _PROBED = 0xFC000000, 0x94000000, 0x14000000, 0xD4200080


@dataclasses.dataclass(frozen=True)
class TextCall:
    """
    Where a function is called, or jumped to at another's end: by ``caller``, so many
    bytes from its beginning.
    """

    caller: str
    offset: int

    def __str__(self) -> str:
        return f"{self.caller}+{self.offset:#x}"


def find_calls(prog: Program, *functions: str) -> dict[str, list[TextCall]]:
    """
    Find all direct calls of some functions in the kernel's own text, by function.

    :raises FaultError: if the text cannot be read
    :raises LookupError: if the kernel has not all of these functions, or kprobes hide
        what is called where they are
    """
    targets = {name: prog.symbol(name).address for name in functions}
    start, end = (prog.symbol(name).address for name in ("_stext", "_etext"))
    assert prog.platform
    found: dict[str, list[TextCall]] = {name: [] for name in functions}
    for at in range(start, end, _PIECE):
        # What begins in this piece may end in the next.
        text = prog.read(at, min(_PIECE + _X86_SIZE - 1, end - at))
        offsets, lands = calls_in(prog.platform.arch, text)
        for name, target in targets.items():
            beyond = lands - (target - at)
            for offset in offsets[(beyond >= 0) & (beyond < _LANDING)].tolist():
                caller = prog.symbol(at + offset)
                found[name].append(TextCall(caller.name, at + offset - caller.address))
    return found


def calls_in(
    arch: Architecture, text: bytes
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """
    What may be calls in a piece of text of x86-64 or arm64, and what they call, as
    offsets from its beginning. None are found of other machines.
    """
    at = lands = np.empty(0, np.int64)
    if arch == Architecture.X86_64 and len(text) >= _X86_SIZE:
        opcodes = np.frombuffer(text, np.uint8)[: 1 - _X86_SIZE]
        displacements: NDArray[np.int32] = np.ndarray(
            len(opcodes), "<i4", text, offset=1, strides=(1,)
        )
        at = np.flatnonzero(np.isin(opcodes, _OPCODES))
        lands = at + _X86_SIZE + displacements[at]
    elif arch == Architecture.AARCH64:
        words = np.frombuffer(text, "<u4", len(text) // 4)
        if (words == _PROBED).any():
            raise LookupError("kprobes hide what is called where they are")
        kinds = words & _BRANCHES
        at = np.flatnonzero((kinds == _BL) | (kinds == _B))
        lands = 4 * at + ((words[at] << np.uint32(6)).view("<i4") >> 4)
        at = 4 * at
    return at, lands

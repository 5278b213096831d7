# SPDX-License-Identifier: GPL-2.0-or-later
"""
The kernel's own table of symbols, from ``/proc/kallsyms`` or out of kernel memory
(``kernel/kallsyms.c``).

drgn reads it. In a dump the table may be damaged, and drgn makes as many and as long
names of it as it says: so its sizes are looked at first.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from drgn import Program, SymbolIndex
from drgn.helpers.linux import kallsyms

from pagedbg.errors import PagedbgError

# A kernel has 100 to 300 thousand symbols, with names of 20 to 30 letters.
_MOST_SYMBOLS = 1 << 21
_MOST_NAMES = 32 << 20
_MOST_LETTERS = 128 << 20
_LONGEST_TOKEN = 1024


def load_symbols(prog: Program) -> SymbolIndex:
    """
    Return the symbols of the running kernel, from ``/proc/kallsyms``; without addresses
    where kernel.kptr_restrict hides those.
    """
    return kallsyms.load_vmlinux_kallsyms(prog)


def load_hidden_symbols(prog: Program) -> SymbolIndex:
    """
    Return the symbols of the running kernel out of its memory.

    :raises PagedbgError: with a way out, if drgn offers no way to
    """
    # There is no public name: load_vmlinux_kallsyms() does this for a dump only.
    load = getattr(kallsyms, "_load_builtin_kallsyms", None)
    if load is None:
        raise PagedbgError(
            "kernel.kptr_restrict hides the kernel's symbols, and this drgn does not"
            " look for them elsewhere: sysctl kernel.kptr_restrict=1"
        )
    index: SymbolIndex = load(prog)
    return index


def load_dumped_symbols(prog: Program, vmcoreinfo: Mapping[str, str]) -> SymbolIndex:
    """
    Return the symbols in a dump.

    :raises ValueError: if there would be more, or longer ones, than a kernel can have
    """
    _check(prog, vmcoreinfo)
    return kallsyms.load_vmlinux_kallsyms(prog)


def _check(prog: Program, vmcoreinfo: Mapping[str, str]) -> None:
    at = {
        name: int(vmcoreinfo[f"SYMBOL(kallsyms_{name})"], 16)
        for name in ("num_syms", "names", "token_table", "token_index")
    }
    count = prog.read_u32(at["num_syms"])
    # scripts/kallsyms.c writes the names first and the table of what is abbreviated in
    # them behind.
    room = at["token_table"] - at["names"]
    if not 0 < count <= _MOST_SYMBOLS or not 0 < room <= _MOST_NAMES:
        raise ValueError(f"there would be {count:,} in {room:,} bytes")
    names = prog.read(at["names"], room)
    used = _end_of_names(names, count)
    index = np.frombuffer(prog.read(at["token_index"], 512), "<u2").tolist()
    last = len(
        prog.read_c_string(at["token_table"] + max(index), max_size=_LONGEST_TOKEN)
    )
    table: bytes = prog.read(at["token_table"], max(index) + last) + b"\0"
    lengths = np.array([table.index(0, start) - start for start in index])
    letters = int(
        np.bincount(np.frombuffer(names, np.uint8, used), minlength=256) @ lengths
    )
    if not table.isascii():
        raise ValueError("their names are no text")
    if lengths.max() >= _LONGEST_TOKEN or letters > _MOST_LETTERS:
        raise ValueError(f"their names would have {letters:,} letters")


def _end_of_names(names: bytes, count: int) -> int:
    """
    Where the last of so many names ends: each begins with its length in one byte or,
    since Linux 6.1 and if the first has bit 7, in two.
    """
    at = 0
    try:
        for _ in range(count):
            length = names[at]
            at += length + 1
            if length > 0x7F:
                at += (names[at - length] << 7) - 0x80 + 1
    except IndexError:
        at = len(names) + 1
    if at > len(names):
        raise ValueError("the names end behind their place")
    return at

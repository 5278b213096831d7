# SPDX-License-Identifier: GPL-2.0-or-later
"""
Page tables
-----------

Helpers for ``arch/x86/include/asm/pgtable_types.h``: the pages that the page tables of
a process or of the kernel are made of.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
from drgn import Architecture, FaultError, Object, Program
from drgn.helpers.common.prog import takes_program_or_default
from drgn.helpers.linux.mm import in_direct_map, virt_to_pfn
from numpy.typing import NDArray

from pagedbg.mm.bulk_read import number
from pagedbg.target.links import Damaged

__all__ = ("page_table_pfns",)

_PRESENT, _PSE = 0x1, 0x80
_PFN = ((1 << 52) - 1) >> 12
_ENTRIES = 512

# The highest level whose entries may map pages of memory: of 1 GiB.
_LARGE = 3

# Of 4 GiB, which map 2 TiB: a walk is ended there. None needs to be walked twice.
_MOST = 1 << 20


@takes_program_or_default
def page_table_pfns(prog: Program, mm: Object) -> Iterator[NDArray[np.int64]]:
    """
    Iterate over the page frames of the page tables of an address space, a level at a
    time: of a process those that map its half, of the kernel the others.

    What cannot be read is passed over with all behind it.

    :param mm: ``struct mm_struct *``
    :raises Damaged: if there are more than can be, or on another architecture
    """
    if prog.platform is None or prog.platform.arch != Architecture.X86_64:
        raise Damaged("the page tables of this architecture are not known")
    half = _ENTRIES // 2
    kernel = mm.value_() == prog["init_mm"].address_
    top = mm.pgd.value_()
    if in_direct_map(prog, top):
        yield np.array([virt_to_pfn(prog, top).value_()], np.int64)
    # That of the kernel is in its image.
    entries = np.frombuffer(prog.read(top, 8 * _ENTRIES), "<u8")
    entries = entries[half:] if kernel else entries[:half]
    seen = 0
    for level in range(_levels(prog) - 1, 0, -1):
        tables = _tables(entries, level + 1)
        yield tables
        seen += len(tables)
        if seen > _MOST:
            raise Damaged("an address space has more page tables than can be")
        if level > 1:
            parts = [np.zeros(0, np.uint64)]
            for pfn in tables.tolist():
                with contextlib.suppress(FaultError, OverflowError):
                    table = prog.read(pfn << 12, 8 * _ENTRIES, True)
                    parts.append(np.frombuffer(table, "<u8"))
            entries = np.concatenate(parts)


def _tables(entries: NDArray[np.uint64], level: int) -> NDArray[np.int64]:
    """The tables that entries of a level lead to, and not to pages of memory."""
    mask = np.uint64(_PRESENT | (_PSE if level <= _LARGE else 0))
    entries = entries[entries & mask == np.uint64(_PRESENT)]
    # A damaged table may lead to one several times.
    return np.unique((entries >> np.uint64(12)) & np.uint64(_PFN)).astype(np.int64)


def _levels(prog: Program) -> int:
    try:
        return 5 if number(prog, "pgdir_shift", 48, 39) == 48 else 4
    except LookupError:
        # CONFIG_X86_5LEVEL=n
        return 4

# SPDX-License-Identifier: GPL-2.0-or-later
"""
Page tables
-----------

Helpers for ``arch/x86/include/asm/pgtable_types.h`` and
``arch/arm64/include/asm/pgtable-hwdef.h``: the pages that the page tables of a process
or of the kernel are made of.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from drgn import Architecture, FaultError, Object, Program
from drgn.helpers.common.prog import takes_program_or_default
from drgn.helpers.linux.mm import in_direct_map, virt_to_pfn
from numpy.typing import NDArray

from pagedbg.mm.bulk_read import number
from pagedbg.target.links import Damaged

__all__ = ("has_known_page_tables", "page_table_pfns")

# Of 4 GiB, which map 2 TiB: a walk is ended there. None needs to be walked twice.
_MOST = 1 << 20


class _Format(NamedTuple):
    """
    How a machine's page tables are made: the size of a page as a power of two, how many
    levels there are, which entries of the uppermost table there are and are an address
    space's, and which of a level's entries lead to tables, at which physical addresses.
    """

    page_shift: int
    levels: int
    top: int
    space: slice
    tables: Callable[[NDArray[np.uint64], int], NDArray[np.uint64]]


@takes_program_or_default
def has_known_page_tables(prog: Program) -> bool:
    """Return whether :func:`page_table_pfns` knows those of the target's machine."""
    return prog.platform is not None and prog.platform.arch in (
        Architecture.X86_64,
        Architecture.AARCH64,
    )


@takes_program_or_default
def page_table_pfns(prog: Program, mm: Object) -> Iterator[NDArray[np.int64]]:
    """
    Iterate over the page frames of the page tables of an address space, a level at a
    time: of a process those that map its half, of the kernel the others.

    What cannot be read is passed over with all behind it.

    :param mm: ``struct mm_struct *``
    :raises Damaged: if there are more than can be, or on another architecture
    """
    kernel = mm.value_() == prog["init_mm"].address_
    arch = prog.platform.arch if prog.platform else None
    if arch == Architecture.X86_64:
        form = _x86(prog, kernel)
    elif arch == Architecture.AARCH64:
        form = _arm64(prog)
    else:
        raise Damaged("the page tables of this architecture are not known")
    shift, size = np.uint64(form.page_shift), 1 << form.page_shift
    top = mm.pgd.value_()
    # One that is less than a page is an object of a slab cache.
    if form.top == size // 8 and in_direct_map(prog, top):
        yield np.array([virt_to_pfn(prog, top).value_()], np.int64)
    # That of the kernel is in its image.
    entries = np.frombuffer(prog.read(top, 8 * form.top), "<u8")[form.space]
    seen = 0
    for level in range(form.levels - 1, 0, -1):
        # A damaged table may lead to one several times.
        tables = np.unique(form.tables(entries, level + 1) >> shift).astype(np.int64)
        yield tables
        seen += len(tables)
        if seen > _MOST:
            raise Damaged("an address space has more page tables than can be")
        if level > 1:
            parts = [np.zeros(0, np.uint64)]
            for pfn in tables.tolist():
                with contextlib.suppress(FaultError, OverflowError):
                    table = prog.read(pfn << form.page_shift, size, True)
                    parts.append(np.frombuffer(table, "<u8"))
            entries = np.concatenate(parts)


_PRESENT, _PSE = 0x1, 0x80
_X86_ADDRESS = np.uint64((1 << 52) - (1 << 12))

# The highest level whose entries may map pages of memory: of 1 GiB.
_LARGE = 3


def _x86(prog: Program, kernel: bool) -> _Format:
    try:
        levels = 5 if number(prog, "pgdir_shift", 48, 39) == 48 else 4
    except LookupError:
        # CONFIG_X86_5LEVEL=n
        levels = 4
    space = slice(256, 512) if kernel else slice(256)
    return _Format(12, levels, 512, space, _x86_tables)


def _x86_tables(entries: NDArray[np.uint64], level: int) -> NDArray[np.uint64]:
    mask = np.uint64(_PRESENT | (_PSE if level <= _LARGE else 0))
    leading: NDArray[np.uint64] = entries[entries & mask == np.uint64(_PRESENT)]
    return leading & _X86_ADDRESS


# Of descriptors: PMD_TYPE_MASK, PMD_TYPE_TABLE.
_TYPE_MASK, _TABLE = np.uint64(0x3), np.uint64(0x3)


def _arm64(prog: Program) -> _Format:
    """Processes and the kernel have uppermost tables of their own."""
    page_shift = number(prog, "PAGE_SHIFT", 16, 12)
    # Of the addresses that the machine has, which may be less than the kernel was built
    # for: TCR_EL1.T1SZ.
    unused = re.search(
        rb"^NUMBER\(TCR_EL1_T1SZ\)=0x([0-9a-f]{1,2})$",
        prog["VMCOREINFO"].string_(),
        re.MULTILINE,
    )
    if unused is None:
        raise Damaged("this kernel does not say how long its addresses are")
    bits, a_level = 64 - int(unused[1], 16) - page_shift, page_shift - 3
    levels = -(-bits // a_level)
    if not 2 <= levels <= 5:
        raise Damaged(f"page tables would have {levels} levels")
    top = 1 << bits - (levels - 1) * a_level

    # Where addresses of 52 bits have their uppermost ones.
    if page_shift == 16:
        low, high, up = (1 << 48) - (1 << 16), 0xF000, np.uint64(36)
    else:
        low, high, up = (1 << 50) - (1 << page_shift), 0x300, np.uint64(42)

    def tables(entries: NDArray[np.uint64], level: int) -> NDArray[np.uint64]:
        """__pte_to_phys()"""
        leading: NDArray[np.uint64] = entries[entries & _TYPE_MASK == _TABLE]
        return leading & np.uint64(low) | (leading & np.uint64(high)) << up

    return _Format(page_shift, levels, top, slice(None), tables)

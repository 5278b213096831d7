# SPDX-License-Identifier: GPL-2.0-or-later
"""
zsmalloc
--------

Helpers for ``include/linux/zsmalloc.h``: the pool of compressed memory that a page is
part of. That of a zram device has the device's name.
"""

from __future__ import annotations

import numpy as np
from drgn import Object, Program
from numpy.typing import NDArray

from pagedbg.mm._page_members import page_members
from pagedbg.mm.bulk_read import c_string, offset_of, read_words
from pagedbg.target.description import module_struct
from pagedbg.target.links import UNREADABLE
from pagedbg.target.symbols import symbols_of_module

__all__ = ("has_zs_pools", "zs_pool_name", "zs_pools", "zsmalloc_mapping")

# PAGE_MAPPING_MOVABLE (before v6.17).
_MOVABLE = 0x2


def zsmalloc_mapping(prog: Program) -> int:
    """
    Return by which ``page->mapping`` the pages of zsmalloc are known: they have no type
    before v6.11. It is that of no page where there are none.
    """
    try:
        ops = prog.symbol("zsmalloc_mops").address
    except LookupError:
        # CONFIG_ZSMALLOC=n, or a module.
        try:
            ops = (symbols_of_module(prog, b"zsmalloc") or {})["zsmalloc_mops"]
        except UNREADABLE:
            return (1 << 64) - 1
    return int(ops) | _MOVABLE


def has_zs_pools(prog: Program) -> bool:
    """Return whether the kernel, with its modules, has pools of compressed memory."""
    try:
        return bool(module_struct(prog, "zspage").has_member("pool"))
    except LookupError:
        return False


def zs_pools(prog: Program, pfns: NDArray[np.int64]) -> NDArray[np.uint64]:
    """
    Return the ``struct zs_pool *`` of each page, 0 where it cannot be read.

    :param pfns: page frames of zsmalloc that lie near each other, in order
    :raises LookupError: if the kernel has none
    """
    at = offset_of(module_struct(prog, "zspage"), "pool")
    # Up to sixteen pages are of one zspage.
    zspages, which = np.unique(page_members(prog, "private", pfns), return_inverse=True)
    pools = np.zeros(len(zspages), np.uint64)
    known = np.flatnonzero(zspages)
    words, _ = read_words(prog, zspages[known] + np.uint64(at))
    pools[known] = words[:, 0]
    return pools[which]


def zs_pool_name(prog: Program, pool: int) -> str:
    """
    Return the name of a pool.

    :param pool: ``struct zs_pool *``
    """
    kind = prog.pointer_type(module_struct(prog, "zs_pool"))
    name = c_string(Object(prog, kind, pool).name)
    return name.decode("utf-8", "backslashreplace")

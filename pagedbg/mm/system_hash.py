# SPDX-License-Identifier: GPL-2.0-or-later
"""
Hash tables
-----------

Helpers for what ``alloc_large_system_hash()`` (``include/linux/memblock.h``) and the
like have made as the kernel started: tables that variables point to.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from drgn import Object, Program, sizeof
from numpy.typing import NDArray

from pagedbg.mm._direct_map import block_pfns, direct_pfns

__all__ = ("for_each_system_hash",)

# Tables, and what is one less than their length.
_TABLES = {
    "mount_hashtable": "m_hash_mask",
    "mountpoint_hashtable": "mp_hash_mask",
    "ip_idents": "ip_idents_mask",
    "ip_tstamps": "ip_idents_mask",
    "token_hash": "token_mask",
}
# The same of those that are members of a structure; a size is the length itself.
_OF_UDP = {"hash": "mask", "hash2": "mask", "hash4": "mask"}
_MEMBERS = {
    "tcp_hashinfo": {
        "ehash": "ehash_mask",
        "bhash": "bhash_size",
        "bhash2": "bhash_size",
        "lhash2": "lhash2_mask",
    },
    "udp_table": _OF_UDP,
    "udplite_table": _OF_UDP,
}
# Those that kvmalloc() has made.
_KMALLOC = ("tcp_metrics_hash",)


def for_each_system_hash(prog: Program) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """
    Iterate over hash tables that are not made by ``vmalloc()``: the variable that
    points to each, and its pages.
    """
    for name, mask in _TABLES.items():
        try:
            table, length = prog[name], prog[mask].value_() + 1
        except LookupError:
            continue
        yield name, _pages(table, length, name)
    for name, members in _MEMBERS.items():
        try:
            tables = prog[name]
        except LookupError:
            continue
        for member, length_of in members.items():
            if tables.type_.has_member(member):
                length = tables.member_(length_of).value_()
                length += not length_of.endswith("size")
                of = f"{name}.{member}"
                yield of, _pages(tables.member_(member), length, of)
    for name in _KMALLOC:
        try:
            yield name, block_pfns(prog, prog[name].value_())
        except LookupError:
            continue


def _pages(table: Object, length: int, name: str) -> NDArray[np.int64]:
    size = length * sizeof(table.type_.type)
    return direct_pfns(table.prog_, table.value_(), size, name)

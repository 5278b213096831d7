# SPDX-License-Identifier: GPL-2.0-or-later
"""
BTF
---

Helpers for ``include/linux/btf.h``: the memory of the types that the kernel has taken
apart, its own, its modules' and those of BPF programs.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from drgn import Program
from drgn.helpers.linux.bpf import bpf_btf_for_each
from numpy.typing import NDArray

from pagedbg.mm._direct_map import block_pfns, together
from pagedbg.target.links import bounded

__all__ = ("for_each_btf",)

# What struct btf points to, as far as this kernel has it.
_ARRAYS = (
    *("data", "types", "resolved_ids", "resolved_sizes", "nohdr_data"),
    "base_id_map",
)


def for_each_btf(prog: Program) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """
    Iterate over all BTF that the kernel has: the name of each, or its number where it
    has none, and the pages that are too large for the slab allocator.
    """
    try:
        kind, _ = prog.type("struct btf"), prog["btf_idr"]
    except LookupError:
        # CONFIG_BPF_SYSCALL=n
        return
    arrays = [name for name in _ARRAYS if kind.has_member(name)]
    for btf in bounded(bpf_btf_for_each(prog)):
        name = btf.name.string_().decode("utf-8", "backslashreplace")
        pfns = together([block_pfns(prog, btf.member_(a).value_()) for a in arrays])
        yield name or str(btf.id.value_()), pfns

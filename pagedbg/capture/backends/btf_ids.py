# SPDX-License-Identifier: GPL-2.0-or-later
"""The numbers by which the running kernel's BTF knows types and functions."""

from __future__ import annotations

import ctypes
from typing import Final

__all__ = ("cast_constants",)

_STRUCT: Final = 4
_FUNC: Final = 12
"""``enum`` of ``BTF_KIND_...`` in ``include/uapi/linux/btf.h``."""


def cast_constants() -> dict[str, int | str]:
    """
    What programs need to read by ``bpf_rdonly_cast()``, which came with a35b9af4ec2c
    ("bpf: Add a kfunc for generic type cast", in v6.2).
    """
    cast, *types = _kernel_btf_ids(
        (_FUNC, "bpf_rdonly_cast"),
        (_STRUCT, "page_owner"),
        (_STRUCT, "page_ext"),
        (_STRUCT, "mem_section"),
    )
    if not cast or not all(types):
        return {"CAST": 0}
    owner, page_ext, section = types
    return {
        "CAST": 1,
        "CAST_ID": cast,
        "TYPE_OWNER": owner,
        "TYPE_PAGE_EXT": page_ext,
        "TYPE_SECTION": section,
    }


def _kernel_btf_ids(*wanted: tuple[int, str]) -> list[int]:
    """
    The id of each kind and name, 0 if there is none: of all where the kernel has no
    BTF, or there is no libbpf to read it (it comes with bcc).
    """
    try:
        lib = ctypes.CDLL("libbpf.so.1")
    except OSError:
        return [0] * len(wanted)
    lib.btf__load_vmlinux_btf.restype = ctypes.c_void_p
    lib.btf__free.argtypes = [ctypes.c_void_p]
    lib.btf__find_by_name_kind.argtypes = [
        ctypes.c_void_p,
        ctypes.c_char_p,
        ctypes.c_uint32,
    ]
    # An error is NULL since libbpf 1.0.
    btf = lib.btf__load_vmlinux_btf()
    if not btf:
        return [0] * len(wanted)
    try:
        return [
            max(lib.btf__find_by_name_kind(btf, name.encode(), kind), 0)
            for kind, name in wanted
        ]
    finally:
        lib.btf__free(btf)

# SPDX-License-Identifier: GPL-2.0-or-later
"""The numbers by which the running kernel's BTF knows types and functions."""

from __future__ import annotations

import ctypes
from typing import Final

__all__ = ("FUNC", "STRUCT", "kernel_btf_ids")

STRUCT: Final = 4
FUNC: Final = 12
"""``enum`` of ``BTF_KIND_...`` in ``include/uapi/linux/btf.h``."""


def kernel_btf_ids(*wanted: tuple[int, str]) -> list[int]:
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

# SPDX-License-Identifier: GPL-2.0-or-later
"""The functions of libbcc that load and attach BPF programs."""

from __future__ import annotations

import ctypes
import os
from typing import Any

from pagedbg.errors import PagedbgError


def library() -> Any:
    """libbcc with the functions that are used here (``src/cc/libbpf.h`` of bcc)."""
    try:
        lib = ctypes.CDLL("libbcc.so.0", use_errno=True)
    except OSError as error:
        raise PagedbgError(
            f"bcc cannot be used ({error}): apt install python3-bpfcc"
        ) from None
    number, text, pointer, unsigned = (
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_void_p,
        ctypes.c_uint,
    )
    lib.bcc_create_map.argtypes = [number, text, number, number, number, number]
    lib.bcc_prog_load.argtypes = [
        number,
        text,
        text,
        number,
        text,
        unsigned,
        number,
        text,
        unsigned,
    ]
    lib.bpf_attach_kfunc.argtypes = [number]
    lib.bpf_attach_kprobe.argtypes = [
        number,
        number,
        text,
        text,
        ctypes.c_uint64,
        number,
    ]
    lib.bpf_attach_raw_tracepoint.argtypes = [number, text]
    lib.bpf_obj_pin.argtypes = [number, text]
    lib.bpf_obj_get.argtypes = [text]
    lib.bpf_lookup_elem.argtypes = [number, pointer, pointer]
    return lib


def checked(descriptor: int) -> int:
    """What a function of libbcc returned; OSError if it says that it failed."""
    if descriptor < 0:
        error = ctypes.get_errno() or -descriptor
        raise OSError(error, os.strerror(error))
    return descriptor

# SPDX-License-Identifier: GPL-2.0-or-later
"""System calls on BPF programs that libbcc has no function for."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from pathlib import Path

__all__ = ("attach_kprobe", "open_pinned", "run_raw_tracepoint")

# bpf(2) and perf_event_open(2), which the C library has no functions for.
_BPF = {"x86_64": 321, "aarch64": 280}
_PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}

# enum bpf_cmd, enum bpf_attach_type, PERF_FLAG_FD_CLOEXEC
_OBJ_GET, _PROG_TEST_RUN, _LINK_CREATE, _PERF_EVENT, _CLOEXEC = 7, 10, 28, 41, 8

_KPROBE_TYPE = Path("/sys/bus/event_source/devices/kprobe/type")

# struct perf_event_attr up to config2: type, size, config, four of sampling and flags,
# two for breakpoints, config1 (the function's name), config2 (the offset in it).
_ATTRIBUTES = struct.Struct("<IIQ4Q2IQQ")
_ATTRIBUTES_SIZE = 112


def _call(numbers: dict[str, int], *arguments: object) -> int:
    number = numbers.get(platform.machine())
    if number is None:
        raise OSError(38, os.strerror(38))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    result: int = libc.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def _bpf(command: int, attributes: bytes) -> int:
    return _call(
        _BPF,
        ctypes.c_int(command),
        ctypes.c_char_p(attributes),
        ctypes.c_uint(len(attributes)),
    )


def attach_kprobe(program: int, function: str, offset: int = 0) -> int:
    """
    Attach a program where a function begins or, with ``offset``, to an instruction of
    it, by a link (v5.15): it can be pinned, and goes away with whoever holds it.

    :param program: descriptor of a loaded program
    :return: the link's descriptor
    :raises OSError: if it cannot be
    """
    name = ctypes.create_string_buffer(function.encode())
    kind = int(_KPROBE_TYPE.read_text())
    attributes = _ATTRIBUTES.pack(
        kind, _ATTRIBUTES_SIZE, *[0] * 7, ctypes.addressof(name), offset
    ).ljust(_ATTRIBUTES_SIZE, b"\0")
    event = _call(
        _PERF_EVENT_OPEN,
        ctypes.c_char_p(attributes),
        ctypes.c_int(-1),
        ctypes.c_int(0),
        ctypes.c_int(-1),
        ctypes.c_ulong(_CLOEXEC),
    )
    try:
        return _bpf(
            _LINK_CREATE, struct.pack("<IIIIQ", program, event, _PERF_EVENT, 0, 0)
        )
    finally:
        os.close(event)


def run_raw_tracepoint(program: int, *arguments: int) -> None:
    """
    Run a program for raw tracepoints once, on this CPU, with these arguments.

    :raises OSError: if the kernel does not (before v5.10)
    """
    context = struct.pack(f"<{len(arguments)}Q", *arguments)
    held = ctypes.create_string_buffer(context, len(context))
    _bpf(
        _PROG_TEST_RUN,
        struct.pack(
            "<IIIIQQIIIIQQIII",
            *(program, 0, 0, 0, 0, 0, 0, 0),
            *(len(context), 0, ctypes.addressof(held), 0, 0, 0, 0),
        ).ljust(80, b"\0"),
    )


def open_pinned(path: Path) -> int:
    """
    Open what is pinned in a BPF file system.

    :return: its descriptor
    :raises OSError: if there is nothing, or it cannot be opened
    """
    name = ctypes.create_string_buffer(os.fsencode(path))
    return _bpf(_OBJ_GET, struct.pack("<QII", ctypes.addressof(name), 0, 0))

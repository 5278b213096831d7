# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading an array of kernel memory in large pieces."""

from __future__ import annotations

from typing import Any

import numpy as np
from drgn import FaultError, Object, PlatformFlags, Program
from numpy.typing import NDArray

__all__ = ("byte_order", "c_string", "read_array")

# 1-4 MiB a read are fastest.
_PIECE = 4 << 20
_UNIT = 4096

# The ring of a CPU, which is the longest array, has 128 MiB at most.
_MOST = 256 << 20

# Longer than any name or path (PATH_MAX).
_MOST_TEXT = 4096


def byte_order(prog: Program) -> str:
    """Return the character by which NumPy knows the target's byte order."""
    assert prog.platform is not None
    return "<" if prog.platform.flags & PlatformFlags.IS_LITTLE_ENDIAN else ">"


def read_array(prog: Program, address: int, count: int, dtype: np.dtype[Any]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """
    Read *count* records at *address*. A piece that cannot be read is tried again in smaller ones, down to 4 KiB.

    :return: The records, and for each one whether all of it was read (if not, what is missing is zero).
    :raises ValueError: if there would be more than a kernel has
    """
    size = count * dtype.itemsize
    if not 0 <= size <= _MOST:
        raise ValueError(f"an array of {size:,} bytes: the memory of this kernel is damaged")
    if address + size > 1 << 64:
        # Followed a pointer that is damaged.
        return np.zeros(count, dtype), np.zeros(count, np.bool_)
    if size <= _PIECE:
        try:
            return np.frombuffer(prog.read(address, size), dtype), np.ones(count, np.bool_)
        except FaultError:
            pass
    data = bytearray(size)
    known = np.ones(count, np.bool_)
    # Ranges still to read, the next one last.
    todo = [(start, min(start + _PIECE, size)) for start in range(0, size, _PIECE)][::-1]
    while todo:
        start, end = todo.pop()
        try:
            data[start:end] = prog.read(address + start, end - start)
        except FaultError:
            # Split at a multiple of the unit, so that a unit is never read in two halves.
            half = (address + (start + end) // 2) // _UNIT * _UNIT - address
            if half <= start:
                half += _UNIT
            if half < end:
                todo += [(half, end), (start, half)]
            else:
                known[start // dtype.itemsize : -(-end // dtype.itemsize)] = False
    return np.frombuffer(data, dtype), known


def c_string(pointer: Object) -> bytes:
    """
    Read a text, or as much of it as a text of the kernel's can have: damaged memory need not have an end.

    :param pointer: ``char *``
    """
    text: bytes = pointer.prog_.read_c_string(pointer.value_(), False, max_size=_MOST_TEXT)
    return text

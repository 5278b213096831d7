# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading an array of kernel memory in large pieces."""

from __future__ import annotations

from typing import Any

import numpy as np
from drgn import FaultError, PlatformFlags, Program
from numpy.typing import NDArray

__all__ = ("byte_order", "read_array")

# 1-4 MiB a read are fastest.
_PIECE = 4 << 20
_UNIT = 4096


def byte_order(prog: Program) -> str:
    """Return the character by which NumPy knows the target's byte order."""
    assert prog.platform is not None
    return "<" if prog.platform.flags & PlatformFlags.IS_LITTLE_ENDIAN else ">"


def read_array(prog: Program, address: int, count: int, dtype: np.dtype[Any]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """
    Read *count* records at *address*. A piece that cannot be read is tried again in smaller ones, down to 4 KiB.

    :return: The records, and for each one whether all of it was read (if not, what is missing is zero).
    """
    size = count * dtype.itemsize
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

# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading an array of kernel memory in large pieces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from drgn import (
    FaultError,
    Object,
    PlatformFlags,
    Program,
    Type,
    TypeKind,
    offsetof,
)
from numpy.typing import NDArray

from pagedbg.target.links import Damaged

__all__ = (
    "array_length",
    "byte_order",
    "c_string",
    "number",
    "offset_of",
    "read_array",
    "read_words",
    "record_dtype",
)

# 1-4 MiB a read are fastest.
_PIECE = 4 << 20
_UNIT = 4096

# Words that lie no further apart, in bytes, are read with what lies between them.
_NEAR = 1 << 12

# The ring of a CPU, which is the longest array, has 128 MiB at most.
_MOST = 256 << 20

# struct pglist_data is the largest structure, and has less with hundreds of nodes.
_LARGEST_RECORD = 1 << 20

# Longer than any name or path (PATH_MAX).
_MOST_TEXT = 4096


def byte_order(prog: Program) -> str:
    """Return the character by which NumPy knows the target's byte order."""
    assert prog.platform is not None
    return "<" if prog.platform.flags & PlatformFlags.IS_LITTLE_ENDIAN else ">"


def array_length(type_: Type) -> int:
    """Return how many elements an array has; 0 of what is none, and without a bound."""
    return (type_.length or 0) if type_.kind == TypeKind.ARRAY else 0


def read_array(
    prog: Program, address: int, count: int, dtype: np.dtype[Any]
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """
    Read *count* records at *address*. A piece that cannot be read is tried again in
    smaller ones, down to 4 KiB.

    :return: The records, and for each one whether all of it was read (if not, what is
        missing is zero).
    :raises Damaged: if there would be more than a kernel has
    """
    size = count * dtype.itemsize
    if not 0 <= size <= _MOST:
        raise Damaged(
            f"the memory of this kernel is damaged: an array in it would have {size:,}"
            " bytes"
        )
    if address + size > 1 << 64:
        # Followed a pointer that is damaged.
        return np.zeros(count, dtype), np.zeros(count, np.bool_)
    if size <= _PIECE:
        try:
            return np.frombuffer(prog.read(address, size), dtype), np.ones(
                count, np.bool_
            )
        except FaultError:
            pass
    data = bytearray(size)
    known = np.ones(count, np.bool_)
    # Ranges still to read, the next one last.
    todo = [(start, min(start + _PIECE, size)) for start in range(0, size, _PIECE)][
        ::-1
    ]
    while todo:
        start, end = todo.pop()
        try:
            data[start:end] = prog.read(address + start, end - start)
        except FaultError:
            # Split at a multiple of the unit, so that a unit is never read in two
            # halves.
            half = (address + (start + end) // 2) // _UNIT * _UNIT - address
            if half <= start:
                half += _UNIT
            if half < end:
                todo += [(half, end), (start, half)]
            else:
                known[start // dtype.itemsize : -(-end // dtype.itemsize)] = False
    return np.frombuffer(data, dtype), known


def read_words(
    prog: Program, addresses: NDArray[np.uint64], count: int = 1
) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """
    Read *count* neighbouring words of 64 bits at each of many addresses, those that lie
    near each other together.

    :param addresses: in any order; their distances are multiples of 8
    :return: a row for each address, and whether it could be read (else it is 0)
    """
    found = np.zeros((len(addresses), count), np.uint64)
    read = np.zeros(len(addresses), np.bool_)
    order = np.argsort(addresses, kind="stable")
    inside = addresses[order]
    edges = np.flatnonzero(
        (np.diff(inside) > np.uint64(_NEAR))
        | (np.diff(inside // np.uint64(_PIECE)) > 0)
    )
    word = np.dtype(f"{byte_order(prog)}u8")
    for run in np.split(order, edges + 1):
        if not len(run):
            continue
        first = addresses[run[0]]
        places = ((addresses[run] - first) // np.uint64(8)).astype(np.int64)
        values, known = read_array(prog, int(first), int(places[-1]) + count, word)
        read[run] = True
        for i in range(count):
            found[run, i] = values[places + i]
            read[run] &= known[places + i]
    found[~read] = 0
    return found, read


def number(prog: Program, name: str, most: int, least: int = 0) -> int:
    """
    Return a constant or a variable of the kernel that something is counted or shifted
    by.

    :raises LookupError: if there is none of this name
    :raises Damaged: if it is not in the range that it can be in
    """
    value: int = prog[name].value_()
    if not least <= value <= most:
        raise Damaged(f"the memory of this kernel is damaged: {name} would be {value}")
    return value


def offset_of(kind: Type, member: str) -> int:
    """
    Return where a member of a structure is, in bytes.

    :raises LookupError: if it has none of this name
    :raises Damaged: if it begins within a byte
    """
    try:
        offset: int = offsetof(kind, member)
    except ValueError:
        raise Damaged(
            f"the types of this kernel are damaged: {member} of {kind.type_name()}"
            " begins within a byte"
        ) from None
    return offset


def record_dtype(fields: Mapping[str, tuple[str, int]], size: int) -> np.dtype[Any]:
    """
    Return how NumPy views some members of a structure.

    :param fields: by name, the format of each and its offset
    :param size: how many bytes the structure has
    :raises Damaged: if they do not lie in it, or it is larger than any
    """
    try:
        if size > _LARGEST_RECORD:
            raise ValueError
        return np.dtype(
            {
                "names": list(fields),
                "formats": [format_ for format_, _ in fields.values()],
                "offsets": [offset for _, offset in fields.values()],
                "itemsize": size,
            }
        )
    except (ValueError, TypeError, OverflowError):
        raise Damaged(
            f"the types of this kernel are damaged: {', '.join(fields)} cannot be in"
            f" {size:,} bytes"
        ) from None


def c_string(pointer: Object) -> bytes:
    """
    Read a text, or as much of it as a text of the kernel's can have: damaged memory
    need not have an end.

    :param pointer: ``char *``
    """
    text: bytes = pointer.prog_.read_c_string(
        pointer.value_(), False, max_size=_MOST_TEXT
    )
    return text

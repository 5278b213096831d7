# SPDX-License-Identifier: GPL-2.0-or-later
"""How BTF is laid out: its sections, its kinds, and where each record begins."""

from __future__ import annotations

import struct

import numpy as np

from pagedbg.target.links import Damaged

_MAGIC = 0xEB9F
_HEADER = struct.Struct("<HBBIIIII")

# enum in include/uapi/linux/btf.h
(
    INT,
    PTR,
    ARRAY,
    STRUCT,
    UNION,
    ENUM,
    FWD,
    TYPEDEF,
    VOLATILE,
    CONST,
    RESTRICT,
) = range(1, 12)
FUNC, FUNC_PROTO, VAR, DATASEC, FLOAT, DECL_TAG, TYPE_TAG, ENUM64 = range(12, 20)

# How many 32-bit words a record has, and how many more for each of vlen, by the highest
# byte of its second word: that is the kind, below kind_flag. None has 0. (Up to 6.x a
# kind has 5 bits and vlen 16, and the kernel leaves what 7.x gave them zero.)
_FIXED = [0] * 256
_EACH = [0] * 256
for _kind in range(INT, ENUM64 + 1):
    for _byte in (_kind, _kind | 0x80):
        _FIXED[_byte] = 3 + {INT: 1, ARRAY: 3, VAR: 1, DECL_TAG: 1}.get(_kind, 0)
        _EACH[_byte] = {
            **dict.fromkeys((STRUCT, UNION, DATASEC, ENUM64), 3),
            **dict.fromkeys((ENUM, FUNC_PROTO), 2),
        }.get(_kind, 0)


class BtfError(Damaged):
    """The bytes are no BTF, or not one that can be read."""


def sections(data: bytes) -> tuple[bytes, bytes]:
    """Split a blob into its type records and its strings."""
    if len(data) < _HEADER.size:
        raise BtfError("The kernel's BTF is too short to have a header.")
    (
        magic,
        _version,
        _flags,
        header,
        type_offset,
        type_size,
        string_offset,
        string_size,
    ) = _HEADER.unpack_from(data)
    if magic != _MAGIC:
        raise BtfError("The kernel's BTF does not begin with BTF's magic number.")
    # hdr_len and not a constant: 7.x headers are longer.
    types = data[header + type_offset : header + type_offset + type_size]
    strings = data[header + string_offset : header + string_offset + string_size]
    if (
        len(types) < type_size
        or len(strings) < string_size
        or type_size % 4
        or not strings.endswith(b"\0")
    ):
        raise BtfError("The kernel's BTF is cut short.")
    return types, strings


def record_starts(types: bytes) -> np.ndarray:
    """
    Return the index of each record's first word, with type 0 (void, which has none)
    standing at the first record.

    :raises BtfError: if there is none, or one whose length is not known
    """
    words = memoryview(types).cast("I")
    end = len(words)
    if end < 3:
        raise BtfError("The kernel's BTF has no types.")
    # Some eighty thousand records, which NumPy cannot follow from one to the next. Of
    # most of them one byte says how long they are.
    kinds, fixed, each = types[7::4], _FIXED, _EACH
    starts = [0]
    append = starts.append
    at = 0
    while at < end - 1:
        append(at)
        kind = kinds[at]
        if not fixed[kind]:
            raise BtfError(
                "The kernel's BTF has a record of an unknown kind (type"
                f" {len(starts) - 1})."
            )
        more = each[kind]
        if more:
            at += more * (words[at + 1] & 0xFFFFFF)
        at += fixed[kind]
    if at != end:
        raise BtfError("The kernel's BTF ends inside a record.")
    return np.array(starts)

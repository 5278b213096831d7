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

# 32-bit words behind the three of struct btf_type: a fixed number, and a number for
# each of vlen.
_FIXED = np.zeros(128, np.int64)
_FIXED[[INT, ARRAY, VAR, DECL_TAG]] = 1, 3, 1, 1
_EACH = np.zeros(128, np.int64)
_EACH[[STRUCT, UNION, ENUM, FUNC_PROTO, DATASEC, ENUM64]] = 3, 3, 2, 2, 3, 3

# Where there is a record of no kind in the enum, instead of where the next one begins.
_UNKNOWN = -1


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


def record_starts(words: np.ndarray) -> np.ndarray:
    """
    Return the index of each record's first word, with type 0 (void, which has none)
    standing at the first record.

    The length of a would-be record at *every* word is computed in bulk, which leaves
    one list look-up a record for the chain.
    """
    if len(words) < 3:
        raise BtfError("The kernel's BTF has no types.")
    info = words[1:-1].astype(np.int64)
    # Since 7.x a vlen has 24 bits and a kind 7; older kernels leave the further bits
    # zero.
    kind = (info >> 24) & 0x7F
    after = np.arange(len(info)) + 3 + _FIXED[kind] + _EACH[kind] * (info & 0xFFFFFF)
    after[(kind < 1) | (kind > ENUM64)] = _UNKNOWN
    # A memoryview makes an int of only those that are looked at, some forty thousand of
    # a million.
    following = memoryview(after)
    starts = [0]
    at, end, last = 0, len(words), len(following)
    while at < end:
        starts.append(at)
        at = following[at] if at < last else _UNKNOWN
        if at == _UNKNOWN:
            raise BtfError(
                "The kernel's BTF has a record of an unknown kind (type"
                f" {len(starts) - 1})."
            )
    if at != end:
        raise BtfError("The kernel's BTF ends inside a record.")
    return np.array(starts)

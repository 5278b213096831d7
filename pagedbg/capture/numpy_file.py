# SPDX-License-Identifier: GPL-2.0-or-later
"""Records in a file of NumPy's (``.npy``), which may be damaged."""

from __future__ import annotations

import io
import os
import tokenize
from typing import Any, BinaryIO

import numpy as np

# What NumPy says of a header that is damaged.
_HEADER_FAULTS = (
    ValueError,
    SyntaxError,
    TypeError,
    EOFError,
    MemoryError,
    OverflowError,
    RecursionError,
    tokenize.TokenError,
)
_MOST_HEADER = 4096


def records_in(file: BinaryIO, record: np.dtype[Any]) -> int | None:
    """
    How many records a file of NumPy has, and go to the first; None if it is no array of
    them, or does not end with the last.
    """
    try:
        head = io.BytesIO(file.read(_MOST_HEADER))
        version = np.lib.format.read_magic(head)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran, found = read(head)
    except (*_HEADER_FAULTS, LookupError):
        return None
    file.seek(head.tell())
    rest = os.fstat(file.fileno()).st_size - head.tell()
    if (
        found != record
        or fortran
        or len(shape) != 1
        or shape[0] * record.itemsize != rest
    ):
        return None
    return shape[0]

# SPDX-License-Identifier: GPL-2.0-or-later
"""
What rings and captures of the former version have otherwise: the rings of a dump, and
records on a disk, are read still. Version 2 differs from 3 in where the header counts
splits, and in what records are checked by.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pagedbg.schema.event_record import HEADER, VERSION, check_of, words_of

FORMER: Final = 2
"""The version before :data:`~pagedbg.schema.event_record.VERSION`."""

FORMER_HEADER: np.dtype[Any] = np.dtype(
    [
        ("magic", "<u8"),
        ("version", "<u4"),
        ("record_size", "<u4"),
        ("cpus", "<u4"),
        ("slots", "<u4"),
        ("active", "<u4"),
        ("dummy_handle", "<u4"),
        ("splits", "<u8"),
        ("memmap", "<u8"),
        ("mem_section", "<u8"),
        ("size", "<u8"),
        ("filters_at", "<u8"),
        ("cpus_at", "<u8"),
        ("cpu_stride", "<u8"),
        ("slots_at", "<u8"),
    ]
)
"""``struct pagedbg_header`` of it."""


def header_of(data: bytes) -> NDArray[Any]:
    """
    The header that rings begin with, an array of one
    :data:`~pagedbg.schema.event_record.HEADER`.

    :param data: as many bytes as that has; one of the former version is shorter
    """
    found = np.frombuffer(data, HEADER, 1).copy()
    if int(found["version"][0]) == FORMER:
        former = np.frombuffer(data, FORMER_HEADER, 1)
        for name in HEADER.names or ():
            found[name] = former[name] if name in (FORMER_HEADER.names or ()) else 0
    return found


def expected_check(records: NDArray[Any], version: int) -> NDArray[np.uint64]:
    """
    What ``check`` of each record of a version has to be; before version 3 all words
    were combined by exclusive or.

    :param records: an array of :data:`~pagedbg.schema.event_record.RECORD`, in one
        piece
    """
    if version == VERSION:
        return check_of(records)
    found: NDArray[np.uint64] = ~np.bitwise_xor.reduce(
        words_of(records)[:, :-1], axis=1
    )
    return found

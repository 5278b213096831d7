# SPDX-License-Identifier: GPL-2.0-or-later
"""What page_owner has on record of a page, in the same shape for every kernel."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

NEVER, FREED, ALLOCATED = range(3)
"""
The state of a page's record: never written; of an allocation that is over; of one that
lasts.
"""

GREATEST_ORDER = 20
"""
No allocation has a greater order: gigantic huge pages have 18 or 19. A record with more
is torn or damaged.
"""

PAGE_RECORD: np.dtype[Any] = np.dtype(
    [
        ("pfn", "<u8"),
        ("ts_nsec", "<u8"),
        ("free_ts_nsec", "<u8"),
        ("comm", "<u8", 2),
        ("gfp_mask", "<u4"),
        ("handle", "<u4"),
        ("free_handle", "<u4"),
        ("pid", "<i4"),
        ("tgid", "<i4"),
        ("free_pid", "<i4"),
        ("free_tgid", "<i4"),
        ("order", "<u2"),
        ("last_migrate_reason", "<i2"),
        ("state", "u1"),
        ("known", "?"),
    ]
)
"""
What is on record of one page, the same for every kernel: members by the kernel's names,
``state`` (:data:`NEVER`, :data:`FREED` or
:data:`ALLOCATED`) and whether the record is ``known``; if not, all but ``pfn`` is zero.
Processes that this kernel does not write down are −1.
"""


def decode_comm(words: NDArray[Any]) -> str:
    """
    Return the text of a ``char comm[TASK_COMM_LEN]``: what follows the first NUL is
    left from a longer name.
    """
    return bytes(words.tobytes()).split(b"\0")[0].decode(errors="backslashreplace")


def comm_bytes(comms: NDArray[Any]) -> NDArray[np.bytes_]:
    """
    Return each ``comm`` as text, which NumPy sorts in less time than pairs of words.

    :param comms: two words a row
    """
    text: NDArray[np.bytes_] = np.ascontiguousarray(comms).view("S16")[:, 0]
    return text

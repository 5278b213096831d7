# SPDX-License-Identifier: GPL-2.0-or-later
"""The allocations that a capture tells of, and what may have become of each."""

from __future__ import annotations

from typing import Any

import numpy as np

STATE_WORDS = {
    "live": "still held where it was",
    "freed": "over",
    "reused": "its page is of another one, and was not seen to be freed",
    "migrated": "held elsewhere",
    "split": "in pieces, of which some are held",
    "unknown": "it cannot be told",
}
"""What an allocation may be, with a few words on it."""

STATES = tuple(STATE_WORDS)

LIVE, FREED, REUSED, MIGRATED, SPLIT_UP, UNKNOWN = range(len(STATES))

CONTRADICTIONS = (
    None,
    "Its free was captured, yet the kernel has it on record as allocated.",
    (
        "Its free was not captured, yet the kernel has it on record as freed at a time"
        " that the capture covers."
    ),
    (
        "Its free was not captured, yet the kernel has a later allocation of that time"
        " on record."
    ),
)
"""By number: how the kernel's records contradict the capture."""

ALLOCATION: np.dtype[Any] = np.dtype(
    [
        ("pfn", "<u8"),
        ("ts_nsec", "<u8"),
        ("span_nsec", "<u4"),
        ("gfp_mask", "<u4"),
        ("handle", "<u4"),
        ("pid", "<u4"),
        ("tgid", "<u4"),
        ("comm", "<u8", 2),
        ("order", "u1"),
        ("flags", "u1"),
        ("state", "u1"),
        ("contradiction", "u1"),
        ("held", "<i8"),
        ("freed_ns", "<i8"),
        ("free_pid", "<i4"),
        ("free_tgid", "<i4"),
        ("free_comm", "<u8", 2),
        ("now_pfn", "<i8"),
        ("reused_pid", "<i4"),
        ("reused_comm", "<u8", 2),
    ]
)
"""
One captured allocation: what its set event says, and what became of it. Its pages have
a time of ``ts_nsec`` to ``ts_nsec + span_nsec`` on record. ``state`` is an index of
:data:`STATES`, ``contradiction`` of :data:`CONTRADICTIONS`, ``held`` a number of pages,
``freed_ns`` of the clock of ``ts_nsec``. −1, and a comm of zeroes, are not known.
"""

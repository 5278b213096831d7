# SPDX-License-Identifier: GPL-2.0-or-later
"""Keeping the memory of one piece of a capture's events for the next."""

from __future__ import annotations

import contextlib
import ctypes
import functools

# <malloc.h> of the GNU C library
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8

# The greatest that it takes, and what two pieces are in.
_LARGE, _KEPT = 32 << 20, 128 << 20


@functools.cache
def reuse_memory() -> None:
    """
    Have large arrays that are freed stay this process's, up to a bound. Given back,
    they are had again a page at a time, each cleared by the kernel: to read a piece
    takes twice as long then.
    """
    # Another C library has no such function.
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _LARGE)
        mallopt(_M_TRIM_THRESHOLD, _KEPT)
        # What a thread frees that has memory of its own is given back all the same.
        mallopt(_M_ARENA_MAX, 1)

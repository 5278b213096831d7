# SPDX-License-Identifier: GPL-2.0-or-later
"""Waiting until no BPF program looks any more at what it looked at before."""

from __future__ import annotations

import ctypes
import platform
import time

__all__ = ("grace_period",)

# membarrier(2), which has no wrapper in the C library.
_MEMBARRIER = {"x86_64": 324, "aarch64": 283}
_MEMBARRIER_CMD_GLOBAL = 1

# In seconds: what to wait where the kernel does not say when.
_LONGER_THAN_A_PROGRAM = 0.1


def grace_period() -> None:
    """
    Wait until all BPF programs that run at present have ended.

    They run under ``rcu_read_lock()``, and ``MEMBARRIER_CMD_GLOBAL`` is
    ``synchronize_rcu()`` (``kernel/sched/membarrier.c``).
    """
    number = _MEMBARRIER.get(platform.machine())
    call = ctypes.CDLL(None).syscall
    if number is None or call(number, _MEMBARRIER_CMD_GLOBAL, 0, 0):
        # A kernel that has no membarrier(), or nohz_full= on its command line.
        time.sleep(_LONGER_THAN_A_PROGRAM)

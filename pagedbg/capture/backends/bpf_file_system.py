# SPDX-License-Identifier: GPL-2.0-or-later
"""
The file system in which programs of BPF are kept that stay when this process has ended.
systemd mounts it; small systems and containers have none.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from pagedbg.errors import PagedbgError

PLACE = Path("/sys/fs/bpf")

_MOUNTS = Path("/proc/self/mounts")

# MS_NOSUID, MS_NODEV, MS_NOEXEC
_FLAGS = 2 | 4 | 8


def is_mounted() -> bool:
    """Whether it is there."""
    mounts = (line.split() for line in _MOUNTS.read_text().splitlines())
    return any(fields[1:3] == [str(PLACE), "bpf"] for fields in mounts)


def mount() -> bool:
    """
    Mount it where systemd and bpftool do, unless it is there.

    :return: whether that was to be done
    :raises PagedbgError: if it cannot be, with the reason
    """
    if is_mounted():
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    place = os.fsencode(PLACE)
    if libc.mount(b"bpf", place, b"bpf", ctypes.c_ulong(_FLAGS), b"mode=0700"):
        raise PagedbgError(
            f"no BPF file system is at {PLACE}, in which programs could stay, and none"
            f" can be mounted: {os.strerror(ctypes.get_errno())}"
        )
    return True

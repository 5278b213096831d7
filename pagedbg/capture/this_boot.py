# SPDX-License-Identifier: GPL-2.0-or-later
"""What tells this boot and its processes from others, and what its clocks say."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any


def boot_id() -> str:
    """What tells this boot from every other."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def process_start(pid: int) -> int:
    """
    When a process began, in clock ticks since boot (``/proc/PID/stat``, field 22): with
    its pid, what tells it from others.
    """
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


def now() -> dict[str, Any]:
    """What clocks say, for ``begun`` and ``ended``."""
    return {
        "mono_ns": time.monotonic_ns(),
        "wall": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }

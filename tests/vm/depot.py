# SPDX-License-Identifier: GPL-2.0-or-later
"""
Inside a guest: the stacks that page_owner has filed, while something is attached and
detached again and again that must be in none of them.
"""

from __future__ import annotations

import re
from pathlib import Path

STATS = Path("/sys/kernel/debug/stackdepot/stats")

SETTLED = 10
"""After so many turns, all that a test does itself has been filed."""


def stacks() -> int | None:
    """How many stacks the depot has; None where the kernel does not say (since 6.9)."""
    if not STATS.exists():
        return None
    found = re.search(r"persistent_count: (\d+)", STATS.read_text())
    assert found
    return int(found[1])

# SPDX-License-Identifier: GPL-2.0-or-later
"""
What an administrator can switch off in a running kernel, and with it what probes see.
They stay attached then, and nothing counts what they miss.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Switch(NamedTuple):
    """
    The file ``path`` says whether it is off; ``off`` says so in words, ``way_out`` how
    it is switched on again. What is attached in one of the ways of ``silences``, as in
    a capture's ``meta.json``, sees nothing while it is off.
    """

    path: Path
    off: str
    way_out: str
    silences: frozenset[str]


_KPROBES = Path("/sys/kernel/debug/kprobes/enabled")

FTRACE = Switch(
    Path("/proc/sys/kernel/ftrace_enabled"),
    "kernel.ftrace_enabled is 0",
    "sysctl kernel.ftrace_enabled=1",
    frozenset({"combined", "trampoline", "kprobe", "module"}),
)
"""
Whether functions call what is attached to them: BPF trampolines, and kprobes at their
beginning. Tracepoints do not ask it.
"""

KPROBES = Switch(
    _KPROBES,
    f"{_KPROBES} is 0",
    f"echo 1 >{_KPROBES}",
    frozenset({"combined", "kprobe", "module"}),
)
"""Whether kprobes are armed. It is seen only where debugfs is mounted."""

SWITCHES = (FTRACE, KPROBES)


def is_off(switch: Switch) -> bool:
    """Whether something is switched off; False where it cannot be seen."""
    try:
        return switch.path.read_text().strip() == "0"
    except OSError:
        return False

# SPDX-License-Identifier: GPL-2.0-or-later
"""
What an administrator can switch off in a running kernel, and with it what probes see.
They stay attached then, and nothing counts what they miss.
"""

from __future__ import annotations

from pathlib import Path

FTRACE = Path("/proc/sys/kernel/ftrace_enabled")
"""
Whether functions call what is attached to them: BPF trampolines, and kprobes at their
beginning. Tracepoints do not ask it.
"""

KPROBES = Path("/sys/kernel/debug/kprobes/enabled")
"""Whether kprobes are armed. It is seen only where debugfs is mounted."""

WAYS_OUT = {FTRACE: "sysctl kernel.ftrace_enabled=1", KPROBES: f"echo 1 >{KPROBES}"}
"""How each is switched on again."""


def is_off(switch: Path) -> bool:
    """Whether something is switched off; False where it cannot be seen."""
    try:
        return switch.read_text().strip() == "0"
    except OSError:
        return False

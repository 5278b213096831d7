# SPDX-License-Identifier: GPL-2.0-or-later
"""
Scheduler clock
---------------

Helpers for ``include/linux/sched/clock.h``: the clock of page_owner's time stamps.
"""

from __future__ import annotations

from drgn import Program
from drgn.helpers.common.prog import takes_program_or_default
from drgn.helpers.linux.cpumask import for_each_possible_cpu
from drgn.helpers.linux.percpu import per_cpu

from pagedbg.target.links import UNREADABLE

__all__ = ("known_local_clock", "local_clock")


@takes_program_or_default
def local_clock(prog: Program) -> int:
    """
    Return about what ``local_clock()`` says now, or said when the dump was taken, in
    nanoseconds.

    The clock itself is not in memory. Each run queue keeps what it read last (``struct
    rq::clock``): the latest of them is at most a tick old as long as one CPU is busy.
    Those that are offline count, too: a panic stops all but one, which may have been
    idle.
    """
    runqueues = prog["runqueues"]
    clocks: list[int] = [
        per_cpu(runqueues, cpu).clock.value_() for cpu in for_each_possible_cpu(prog)
    ]
    if not clocks:
        raise LookupError("there is no CPU")
    return max(clocks)


@takes_program_or_default
def known_local_clock(prog: Program) -> int | None:
    """Return :func:`local_clock()`, or None if it cannot be read."""
    try:
        return local_clock(prog)
    except UNREADABLE:
        return None

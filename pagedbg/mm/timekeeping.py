# SPDX-License-Identifier: GPL-2.0-or-later
"""
Timekeeping
-----------

Helpers for ``include/linux/timekeeping.h``: the wall clock.
"""

from __future__ import annotations

from drgn import Object, Program, offsetof, sizeof
from drgn.helpers.common.prog import takes_program_or_default

from pagedbg.target.links import Damaged

__all__ = ("getboottime64",)


@takes_program_or_default
def getboottime64(prog: Program) -> int:
    """
    Return when the kernel was booted by its wall clock as it is set now (or was in a
    dump), in nanoseconds since 1970 in UTC: ``ktime_sub(tk->offs_real, tk->offs_boot)``
    of ``kernel/time/timekeeping.c``.

    >>> getboottime64()
    1795454905848591873

    :raises LookupError: if this kernel keeps its time elsewhere
    :raises Damaged: if that would be later than its clock says that it is
    """
    keeper = _timekeeper(prog)
    booted: int = keeper.offs_real.value_() - keeper.offs_boot.value_()
    if not 0 <= booted // 10**9 <= keeper.xtime_sec.value_():
        raise Damaged("the clock of this kernel is damaged")
    return booted


def _timekeeper(prog: Program) -> Object:
    """``struct timekeeper`` of the system's clocks."""
    try:
        # The first of several since "timekeeping: Introduce auxiliary timekeepers" (in
        # v6.17).
        address = prog.symbol("timekeeper_data").address
    except LookupError:
        address = prog.symbol("tk_core").address
    try:
        offset = offsetof(prog.type("struct tk_data"), "timekeeper")
    except LookupError:
        # Before "timekeeping: Define a struct type for tk_core to make it reusable" (in
        # v6.13) it is a structure without a name, of the same members.
        offset = -(-sizeof(prog.type("seqcount_raw_spinlock_t")) // 8) * 8
    return Object(prog, "struct timekeeper", address=address + offset)

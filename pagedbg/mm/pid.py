# SPDX-License-Identifier: GPL-2.0-or-later
"""
Processes
---------

Helpers for ``include/linux/pid.h``: a task by its number.
"""

from __future__ import annotations

import operator

from drgn import IntegerLike, Object, Program
from drgn.helpers.common.prog import takes_program_or_default
from drgn.helpers.linux import pid as _pid

from pagedbg.target.links import Damaged

__all__ = ("find_task",)

# include/linux/xarray.h, xa_is_node() and xa_is_sibling(): pointers to nodes are
# marked, and what is small is no pointer.
_INTERNAL, _NODE_MIN, _SIBLING_MAX = 2, 4097, 256


@takes_program_or_default
def find_task(prog: Program, pid: IntegerLike) -> Object:
    """
    Return the task with a number in the initial namespace.

    :return: ``struct task_struct *``, NULL if there is none
    :raises Damaged: if the tree of numbers is damaged: drgn would go round in it for
        ever, and not in Python, where that could be ended
    """
    number = operator.index(pid)
    try:
        idr = prog["init_pid_ns"].idr
    except AttributeError:
        # Before Linux kernel commit 95846ecf9dac ("pid: replace pid bitmap
        # implementation with IDR API") (in v4.15).
        return _pid.find_task(prog, number)
    _check_path(idr.idr_rt, number - idr.idr_base.value_())
    return _pid.find_task(prog, number)


def _check_path(xa: Object, index: int) -> None:
    """
    See that on the way down an XArray each node is nearer to the leaves than the one
    before.
    """
    entry, above = xa.xa_head.value_(), 64
    while entry & 3 == _INTERNAL and entry >= _NODE_MIN:
        node = Object(xa.prog_, "struct xa_node *", entry - _INTERNAL)
        shift, slots = node.shift.value_(), node.slots
        if shift >= above:
            raise Damaged(
                "the memory of this kernel is damaged: the tree of process ids has"
                " no end"
            )
        at = index >> shift & len(slots) - 1
        entry = slots[at].value_()
        if entry & 3 == _INTERNAL and entry < _SIBLING_MAX:
            entry = slots[entry >> 2].value_()
        if not shift:
            break
        above = shift

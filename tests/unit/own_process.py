# SPDX-License-Identifier: GPL-2.0-or-later
"""Doing something in a process of its own, which may be killed."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from typing import Any

# Started and not forked: a database's threads, and what they hold, are not in a fork.
_STARTED = multiprocessing.get_context("spawn")


def in_child(do: Callable[..., Any], *args: Any) -> int:
    """
    Do something in a process of its own; return how that has ended: 0, 1 if it raised
    something, or less than 0 for a signal.

    :param do: a function of a module
    """
    child = _STARTED.Process(target=do, args=args)
    child.start()
    child.join()
    assert child.exitcode is not None
    return child.exitcode

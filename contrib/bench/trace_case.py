# SPDX-License-Identifier: GPL-2.0-or-later
"""
What ``measure_trace.py`` measures: something that watches allocations for a while.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable

ORDERS = 0, 4


class Unavailable(Exception):
    """Why a peer cannot be measured, in a sentence."""


@dataclasses.dataclass
class Case:
    """
    Something that watches allocations while the context that ``start`` makes is open;
    of its process, if it is another one, the pid.
    """

    name: str
    start: Callable[[], contextlib.AbstractContextManager[int | None]]
    orders: tuple[int, ...] = ORDERS

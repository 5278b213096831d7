# SPDX-License-Identifier: GPL-2.0-or-later
"""How far an engine has come with what a fleet is asked, and how it is given up."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from pagedbg.capture.database import interruptibly
from pagedbg.progress import measured

_Result = TypeVar("_Result")

# What is done is counted in thousandths.
_WHOLE = 1000


def followed_query(
    ask: Callable[[], _Result],
    interrupt: Callable[[], object],
    engine: str,
    part: Callable[[], float],
) -> _Result:
    """
    Ask an engine, until it answers or Ctrl-C ends it.

    :param interrupt: has it give up
    :param part: how much of it is done, from 0 to 1
    """
    done = 0
    with measured(f"asking {engine}", _WHOLE) as advance:

        def look() -> None:
            nonlocal done
            more = max(round(part() * _WHOLE) - done, 0)
            done += more
            advance(more)

        return interruptibly(ask, interrupt, look)

# SPDX-License-Identifier: GPL-2.0-or-later
"""
How far long work has come: said where it is done, whether anybody looks or not.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Protocol

__all__ = ("Meter", "followed", "measured", "quiet")


class Meter(Protocol):
    """What shows how far work has come."""

    def begin(self, what: str, total: int, unit: str) -> None:
        """Begin to show it; see :func:`measured`."""

    def advance(self, more: int) -> None:
        """Show that more of it is done."""

    def end(self) -> None:
        """Take what is shown away: the work is done, or given up."""

    def hush(self) -> None:
        """Take what is shown away, and show nothing from here on."""


_METER: ContextVar[Meter | None] = ContextVar("meter", default=None)
_BUSY: ContextVar[bool] = ContextVar("busy", default=False)


@contextlib.contextmanager
def followed(meter: Meter) -> Iterator[None]:
    """Have a meter show what is measured in a block."""
    before = _METER.set(meter)
    _BUSY.set(False)
    try:
        yield
    finally:
        meter.end()
        _METER.reset(before)


@contextlib.contextmanager
def measured(what: str, total: int, unit: str = "") -> Iterator[Callable[[int], None]]:
    """
    Say in a block how far its work has come. Of blocks that are in each other, or begun
    before another has ended, the first is shown.

    :param what: what is done, as ``reading records``
    :param total: how much there is to do
    :param unit: what it counts, as ``pages``; empty for steps of unequal length
    :return: what is to be called with how much more is done
    """
    meter = _METER.get()
    if meter is None or _BUSY.get():
        yield _unseen
        return
    _BUSY.set(True)
    meter.begin(what, total, unit)
    try:
        yield meter.advance
    finally:
        meter.end()
        _BUSY.set(False)


def quiet() -> None:
    """Have nothing shown any more: what is asked for begins to appear."""
    meter = _METER.get()
    if meter is not None:
        meter.hush()


def _unseen(more: int) -> None:
    """Nobody looks."""

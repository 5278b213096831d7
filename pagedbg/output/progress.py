# SPDX-License-Identifier: GPL-2.0-or-later
"""
A bar on the terminal that says how far long work has come: what of it is done, how fast
that goes, and how long the rest will take.

rich has one, too. It hides the cursor, which whoever is killed does not bring back, and
draws in a thread; this one is a line that is written over.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from typing import TextIO

from pagedbg import progress
from pagedbg.output.printable import raw

__all__ = ("ProgressBar", "progress_bar")

# Seconds: what is done sooner needs no bar, and nobody reads faster.
_AFTER = 0.5
_EVERY = 0.1

_ERASE = "\r\x1b[K"
_DONE, _TO_DO = "━", "─"
_LONGEST = 30


@contextlib.contextmanager
def progress_bar() -> Iterator[None]:
    """Show a bar in a block, if standard error is a terminal that can erase a line."""
    out = raw(sys.stderr)
    if os.environ.get("TERM", "dumb") == "dumb" or not out.isatty():
        yield
        return
    with progress.followed(ProgressBar(out)):
        yield


class ProgressBar:
    """
    A :class:`pagedbg.progress.Meter` on a terminal.

    :param out: the terminal
    """

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._what, self._total, self._unit = "", 0, ""
        self._done = 0
        self._begun = self._next = 0.0
        self._drawn = self._hushed = False

    def begin(self, what: str, total: int, unit: str) -> None:
        """Begin with a new work; it is drawn once it takes long."""
        self._what, self._total, self._unit = what, total, unit
        self._done = 0
        self._begun = time.monotonic()
        self._next = self._begun + _AFTER

    def advance(self, more: int) -> None:
        """Draw it anew, but not more often than anybody can read it."""
        self._done += more
        now = time.monotonic()
        if now < self._next or self._hushed:
            return
        self._next = now + _EVERY
        self._drawn = True
        self._write(_ERASE + self._line(now - self._begun))

    def end(self) -> None:
        """Erase it."""
        if self._drawn:
            self._drawn = False
            self._write(_ERASE)

    def hush(self) -> None:
        """Erase it, and draw no other."""
        self.end()
        self._hushed = True

    def _write(self, text: str) -> None:
        # A terminal that is gone is no reason to give up the work.
        with contextlib.suppress(OSError, ValueError):
            self._out.write(text)
            self._out.flush()

    def _line(self, elapsed: float) -> str:
        """What stands on the terminal's line; never longer than it."""
        part = min(self._done / max(self._total, 1), 1.0)
        words = f"{part:4.0%}"
        rate = self._done / max(elapsed, 1e-9)
        if self._unit and self._done:
            words += f"  {rate:,.0f} {self._unit}/s"
            words += f"  {_clock((self._total - self._done) / rate)} left"
        try:
            # The last column stays free: some terminals wrap after it.
            width = os.get_terminal_size(self._out.fileno()).columns - 1
        except (OSError, ValueError):
            width = 79
        room = min(width - len(self._what) - len(words) - 4, _LONGEST)
        if room < 1:
            return f"{self._what} {words}"[:width]
        full = round(part * room)
        return f"{self._what}  {self._bar(full, room - full)} {words}"

    def _bar(self, done: int, to_do: int) -> str:
        text = _DONE * done + _TO_DO * to_do
        try:
            text.encode(self._out.encoding)
        except (UnicodeError, LookupError):
            return "#" * done + "-" * to_do
        return text


def _clock(seconds: float) -> str:
    """Return a duration as ``0:07`` or ``1:02:03``."""
    minutes, rest = divmod(max(round(seconds), 0), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"

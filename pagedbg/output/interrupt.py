# SPDX-License-Identifier: GPL-2.0-or-later
"""
What Ctrl-C may end, and what it may not.

Python raises KeyboardInterrupt between any two bytecodes: a second Ctrl-C, as an
impatient hand or a slow machine sends it, comes in the middle of what cleans up after
the first. A reader of our output that is not waited for then fights with the prompt for
the terminal.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from types import TracebackType

_ONE_WISH = 1.0
"""
Seconds in which Ctrl-C, pressed again, says nothing new; the way from KeyboardInterrupt
to :meth:`Interrupts.hold` takes less.
"""


class Interrupts:
    """
    Hold SIGINT back for the time of a ``with`` block, but for what is :meth:`allowed`.

    The handler is a function, not SIG_IGN: a child that is started meanwhile must not
    inherit an ignored signal. Where SIGINT is ignored, as in a script's background, it
    remains so. In a thread, which gets no signals, nothing is done.

    :param for_good: hold it back after the block, too: while Python ends, which would
        say in a traceback where it was
    """

    _next = 0.0
    """
    When Ctrl-C may end something again: for all of them, since what the first has ended
    in one block ends those around it.
    """

    def __init__(self, for_good: bool = False) -> None:
        self._for_good = for_good
        self._allowed = False

    def __enter__(self) -> Interrupts:
        self._before = signal.getsignal(signal.SIGINT)
        self._installed = (
            self._before not in (signal.SIG_IGN, None)
            and threading.current_thread() is threading.main_thread()
        )
        if self._installed:
            signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.hold()
        if self._installed and not self._for_good:
            signal.signal(signal.SIGINT, self._before)

    def hold(self) -> None:
        """From now on Ctrl-C does nothing."""
        self._allowed = False

    @contextlib.contextmanager
    def allowed(self) -> Iterator[None]:
        """
        Let Ctrl-C end a block: a KeyboardInterrupt, and no second one while the first
        is seen to.
        """
        try:
            # What was ended before is over.
            Interrupts._next = 0.0
            self._allowed = True
            yield
        finally:
            self.hold()

    @contextlib.contextmanager
    def fatal(self) -> Iterator[None]:
        """
        Let Ctrl-C end the process, at once and without a word, for the time of a block
        in which nothing has begun that has to be ended.

        A KeyboardInterrupt would have to come through C code and others' imports: drgn
        prints and drops one that comes while it loads plugins.
        """
        if not self._installed:
            yield
            return
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, self._handle)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Finish a block first, in what is :meth:`allowed` to be ended."""
        before = self._allowed
        try:
            self.hold()
            yield
        finally:
            self._allowed = before

    def _handle(self, number: int, frame: object) -> None:
        now = time.monotonic()
        if self._allowed and now >= Interrupts._next:
            Interrupts._next = now + _ONE_WISH
            raise KeyboardInterrupt

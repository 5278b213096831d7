# SPDX-License-Identifier: GPL-2.0-or-later
"""What the numbers in a capture stand for, with the help of a dump of its kernel."""

from __future__ import annotations

import functools

from drgn import FaultError

from pagedbg.session import Session
from pagedbg.sources.capture_names import Captured
from pagedbg.sources.kernel_names import Lookup
from pagedbg.sources.stack_frames import function_of, module_of


class ChainedNames:
    """
    What numbers stand for: by the capture, and for what it has not saved by the kernel
    of a dump.
    """

    def __init__(self, session: Session, captured: Captured) -> None:
        self.captured: Captured = captured
        self._session = session

    @functools.cached_property
    def _dump(self) -> Lookup | None:
        target = self._session.target
        if not target.has_kernel or target.live or not self.captured.capture.page_owner:
            return None
        try:
            return Lookup(self._session)
        except (LookupError, FaultError):
            return None

    def stack(self, handle: int) -> list[str]:
        """The stack of a handle, innermost frame first."""
        if self._dump is not None and self.captured.capture.stack(handle) is None:
            return self._dump.stack(handle)
        return self.captured.stack(handle)

    def module(self, handle: int) -> str | None:
        """The module of the innermost frame that belongs to one."""
        return module_of(self.stack(handle))

    def function(self, handle: int) -> str | None:
        """The innermost function that is not the allocator's own."""
        return function_of(self.stack(handle))

    @functools.cached_property
    def now(self) -> int | None:
        """
        The time of now, or of the dump, or of the end of the capture, in the clock of
        the events.
        """
        return self._dump.now if self._dump is not None else self.captured.now

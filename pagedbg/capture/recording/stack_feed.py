# SPDX-License-Identifier: GPL-2.0-or-later
"""
The recorder's side of :mod:`pagedbg.capture.recording.stack_resolver_process`: which
stacks are still to be named.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pagedbg import trust

# What naming the last stacks may take, in seconds.
_PATIENCE = 60.0

# Multiplicative hashing into a table of 1 << 14.
_GOLDEN, _SHIFT = np.uint64(0x9E3779B97F4A7C15), np.uint64(64 - 14)


class StackFeed:
    """
    Gives each handle to the resolver once. :attr:`pid` is the resolver's process: it is
    there from the start, so that it can be left out of what is recorded, and loads what
    it needs when it is first asked.
    """

    def __init__(self, out: int) -> None:
        """
        :param out: a descriptor, opened for appending, of the file that stacks are
            written to
        """
        self._recent = np.zeros(1 << 14, np.uint64)
        self._asked: set[int] = set()
        self._new: list[int] = []
        self._resolver = subprocess.Popen(
            trust.python("pagedbg.capture.recording.stack_resolver_process"),
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env=trust.environment(),
        )
        self.pid = self._resolver.pid
        self._stack: Callable[[int], list[int]] | None = None
        self._failed = False
        # Should memory run out, names are what can be done without.
        with contextlib.suppress(OSError):
            Path(f"/proc/{self.pid}/oom_score_adj").write_text("500")

    def begin(self, stack: Callable[[int], list[int]] | None) -> None:
        """
        Say how stacks are found.

        :param stack: the return addresses of a handle, where it is not one of the
            kernel's stack depot
        """
        self._stack = stack

    def note(self, records: NDArray[Any]) -> None:
        """Remember the handles in records that were not met before."""
        for member in ("handle", "free_handle"):
            handles = records[member].astype(np.uint64)
            # A table of those met lately answers for nearly all of them.
            place = (handles * _GOLDEN) >> _SHIFT
            fresh = self._recent[place] != handles
            if fresh.any():
                self._recent[place[fresh]] = handles[fresh]
                for handle in sorted(set(handles[fresh].tolist())):
                    if handle not in self._asked:
                        self._asked.add(handle)
                        self._new.append(handle)

    def feed(self) -> None:
        """Hand over what is new."""
        if not self._new or self._failed:
            return
        assert self._resolver.stdin is not None
        lines = []
        for handle in self._new:
            entry: dict[str, Any] = {"handle": handle}
            if self._stack is not None:
                entry["pcs"] = self._stack(handle)
            lines.append(json.dumps(entry) + "\n")
        self._new.clear()
        try:
            self._resolver.stdin.write("".join(lines).encode())
            self._resolver.stdin.flush()
        except OSError:
            # Who opens the capture on this boot can still look them up.
            self._failed = True

    def close(self) -> None:
        """Let the resolver finish."""
        self.feed()
        with contextlib.suppress(OSError):
            self._resolver.stdin.close()  # type: ignore[union-attr]
        try:
            self._resolver.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self.abandon()

    def abandon(self) -> None:
        """End the resolver, whatever it does."""
        self._resolver.kill()
        self._resolver.wait()

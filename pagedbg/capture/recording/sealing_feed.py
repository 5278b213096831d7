# SPDX-License-Identifier: GPL-2.0-or-later
"""
The recorder's side of :mod:`pagedbg.capture.recording.sealing_process`, and of
:mod:`pagedbg.analysis.holding_process`: which segments are full.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterable
from pathlib import Path

from pagedbg import trust

# What sealing the last segments may take before whoever stops the recording has to wait
# no longer, in seconds.
_PATIENCE = 10.0


_SEALING = "pagedbg.capture.recording.sealing_process"
_HOLDING = "pagedbg.analysis.holding_process"


class SealingFeed:
    """
    Has segments sealed or, of a recorder that keeps only what is held, folded.
    :attr:`pid` is the process that does: it is there from the start, so that it can be
    left out of what is recorded.
    """

    def __init__(self, directory: Path, *, held: bool = False) -> None:
        self._directory = directory.absolute()
        self._command = trust.python(_HOLDING if held else _SEALING)
        self._process = self._started()

    @property
    def pid(self) -> int:
        """The process at present."""
        return self._process.pid

    def _started(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env=trust.environment(),
            start_new_session=True,
        )
        _send(process, f"{json.dumps(str(self._directory))}\n")
        # Should memory run out, segments can stay as they are.
        with contextlib.suppress(OSError):
            Path(f"/proc/{process.pid}/oom_score_adj").write_text("500")
        return process

    def revive(self) -> bool:
        """
        Start it again if somebody has killed it: it goes on from what is on the disk.

        :return: whether it is another process now
        """
        if self.running:
            return False
        before = self._process
        with contextlib.suppress(OSError):
            self._process = self._started()
            before.stdin.close()  # type: ignore[union-attr]
        return self._process is not before

    def feed(self, numbers: Iterable[int]) -> None:
        """Have segments sealed, in this order."""
        for number in numbers:
            self._send(f"{number}\n")

    def fold(self, upto: int, known: int) -> None:
        """Have segments folded, as :class:`Rounds` says it."""
        self._send(f"{upto} {known}\n")

    def forget(self) -> None:
        """What was folded is forgotten."""
        self._send("forget\n")

    def close(self) -> None:
        """Let it seal what is left; what takes long it finishes by itself."""
        with contextlib.suppress(OSError):
            self._process.stdin.close()  # type: ignore[union-attr]
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_PATIENCE)

    @property
    def running(self) -> bool:
        """Whether there may still be something to seal."""
        return self._process.poll() is None

    def abandon(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.wait()

    def _send(self, line: str) -> None:
        _send(self._process, line)


def _send(process: subprocess.Popen[bytes], line: str) -> None:
    assert process.stdin is not None
    # Without it, segments stay as they are.
    with contextlib.suppress(OSError):
        process.stdin.write(line.encode())
        process.stdin.flush()


class Rounds:
    """
    Finds out which segments may be folded, given where each round of draining ends.

    What happened after a round had begun may have been drained in it from a CPU that
    was looked at late, and what happened before, from one that was looked at early, not
    until the next: of what was drained in a round, nothing that has to do with it comes
    later than in the next one.
    """

    def __init__(self) -> None:
        self._ends = (0, 0)

    def end(self, number: int) -> tuple[int, int] | None:
        """
        Take the end of a round.

        :param number: the segment that is written
        :return: the number that the segments which may be folded are before, and the
            one that full ones are before; None if no segment has become full
        """
        (earlier, before), self._ends = self._ends, (self._ends[1], number)
        return (earlier, number) if number > before else None

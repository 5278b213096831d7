# SPDX-License-Identifier: GPL-2.0-or-later
"""What came of a command in a guest."""

from __future__ import annotations

import dataclasses
import shlex

from cache import LabError


@dataclasses.dataclass(frozen=True)
class CompletedGuest:
    """
    What came of a command: its output and exit status, what the serial console said so
    far, and why it failed if it was cut short. With ``crash_kernel`` that was by a
    panic, and the agent of the crash kernel answers now.
    """

    argv: list[str]
    stdout: bytes
    stderr: bytes
    status: int
    console: str
    failure: str | None = None
    crash_kernel: bool = False

    @property
    def text(self) -> str:
        return self.stdout.decode(errors="replace")

    def check(self) -> CompletedGuest:
        """Itself, or :class:`LabError` if the exit status was not 0."""
        if self.status:
            said = (
                self.failure
                or self.stderr.decode(errors="replace").strip()
                or self.text.strip()
            )
            raise LabError(
                f"{shlex.join(self.argv)} in the guest: exit status {self.status}:"
                f" {said[-2000:]}"
            )
        return self

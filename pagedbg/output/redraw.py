# SPDX-License-Identifier: GPL-2.0-or-later
"""Text that is drawn again and again in one place, with what has changed marked."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TextIO

from pagedbg.output.printable import raw

_MARK, _PLAIN = "\x1b[7m", "\x1b[27m"
_CLEAR, _HOME = "\x1b[2J", "\x1b[H"
_REST_OF_LINE, _REST_OF_SCREEN = "\x1b[K", "\x1b[J"


class Redrawn:
    """
    Lines on a terminal, drawn over those before.

    :param mark: whether characters that have changed are drawn in reverse
    """

    def __init__(self, out: TextIO, mark: bool) -> None:
        self._out = raw(out)
        self._mark = mark
        self._before: Sequence[str] | None = None

    def draw(self, lines: Sequence[str], height: int) -> None:
        """
        Draw lines that are safe for a terminal, and no wider; those beyond its height
        are counted.
        """
        room = max(height - 1, 2)
        if len(lines) > room:
            left = len(lines) - room + 1
            lines = [*lines[: room - 1], f"{left} more lines: make the window higher."]
        before = self._before
        self._out.write(_HOME if before is not None else _CLEAR + _HOME)
        for number, line in enumerate(lines):
            if self._mark and before is not None:
                old = before[number] if number < len(before) else ""
                line = marked(old, line)
            self._out.write(f"{line}{_REST_OF_LINE}\n")
        self._out.write(_REST_OF_SCREEN)
        self._out.flush()
        self._before = lines


def marked(old: str, new: str) -> str:
    """
    Return a line with what was not so in the old one, at the same place, in reverse.

    >>> marked("free  12", "free  15")
    'free  1\\x1b[7m5\\x1b[27m'
    """
    pairs = itertools.zip_longest(new, old[: len(new)])
    return "".join(
        f"{_MARK}{text}{_PLAIN}" if changed and text.strip() else text
        for changed, text in (
            (changed, "".join(new for new, _ in run))
            for changed, run in itertools.groupby(
                pairs, lambda both: both[0] != both[1]
            )
        )
    )

# SPDX-License-Identifier: GPL-2.0-or-later
"""
Inside a guest: press the keys of ``top`` in a terminal while contrib/lab/churn
allocates and frees, and print what was seen as JSON.

    drive_top.py PAGEDBG DIRECTORY

Each key is pressed when what the one before it does is seen.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pexpect
import pyte
from churn import churn

from pagedbg.schema.sizes import size

CHURN = Path("/proc/pagedbg_churn")
ALLOC, PAIRS = "pagedbg_churn_alloc", "pagedbg_churn_pairs"
PAGE_SIZE = 4096

# For each key: as long as a command may take.
PATIENCE = 600.0

# An amount, as in "2.5 MiB".
_AMOUNT = r"(-?[\d.]+ \w+)"
_HOLDER = re.compile(rf" *{_AMOUNT} +{_AMOUNT} +{_AMOUNT}  (\S.*)")


class Holder(NamedTuple):
    """A row of the screen."""

    allocated: str
    freed: str
    grown: str
    name: str


class Screen:
    """A program in a terminal, whose window is looked at."""

    def __init__(self, argv: Sequence[str]) -> None:
        self._window = pyte.Screen(100, 50)
        self._stream = pyte.ByteStream(self._window)
        self._child = pexpect.spawn(
            argv[0],
            [*argv[1:]],
            env={**os.environ, "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"},
            dimensions=(50, 100),
        )

    def lines(self) -> list[str]:
        return [line.rstrip() for line in self._window.display]

    def holders(self) -> list[Holder]:
        found = map(_HOLDER.fullmatch, self.lines())
        return [Holder(*match.groups()) for match in found if match]

    def names(self) -> list[str]:
        return [holder.name for holder in self.holders()]

    def frames(self) -> list[str]:
        """What is unfolded."""
        return [line[4:] for line in self.lines() if re.match(r" {4}\w+\+0x", line)]

    def press(self, keys: str, until: Callable[[], bool]) -> None:
        """Press keys, and wait until what is seen is as it has to be."""
        self._child.send(keys)
        end = time.monotonic() + PATIENCE
        while not until():
            if time.monotonic() > end:
                self._fail(f"after {keys!r}")
            try:
                self._stream.feed(self._child.read_nonblocking(65536, timeout=1))
            except pexpect.TIMEOUT:
                continue
            except pexpect.EOF:
                self._fail(f"it has ended after {keys!r}")

    def leave(self, keys: str) -> int | None:
        """Press keys that end the program, and return its exit status."""
        self._child.send(keys)
        self._child.expect(pexpect.EOF, timeout=PATIENCE)
        self._child.close()
        status: int | None = self._child.exitstatus
        return status

    def _fail(self, why: str) -> None:
        sys.exit("\n".join((why, *self.lines())))


def held() -> int:
    """How many pages the module says that it holds."""
    blocks = [
        line.split() for line in CHURN.read_text().splitlines() if line[:1] != "#"
    ]
    return sum(1 << int(order) for _, order, *_ in blocks)


def drive(pagedbg: str, directory: Path) -> dict[str, Any]:
    """Do it all; what was seen."""
    lines = (
        "trace set --all --orders 4",
        f"trace start --output {directory}/top",
        "top -n 0.2",
        f"trace status --format jsonl -o {directory}/top.status",
        "trace stop",
    )
    screen = Screen([pagedbg, *(word for line in lines for word in ("-e", line))])
    # From here on events are counted.
    screen.press("", lambda: any("since top began" in each for each in screen.lines()))
    pairs = churn("pairs 4 20", pause=0.1)
    try:
        for words in ("alloc 4 60", "free 20"):
            CHURN.write_text(words)
        grown = size(held() * PAGE_SIZE)

        def first(one: str, other: str) -> Callable[[], bool]:
            """Whether one holder is above another."""

            def seen() -> bool:
                names = screen.names()
                return {one, other} <= {*names} and names.index(one) < names.index(
                    other
                )

            return seen

        screen.press(
            "g",
            lambda: (
                first(ALLOC, PAIRS)()
                and (ALLOC, grown)
                in {(each.name, each.grown) for each in screen.holders()}
            ),
        )
        # What was allocated once is seen as a rate for some seconds.
        for key, one, other in (
            ("a", PAIRS, ALLOC),
            ("n", ALLOC, PAIRS),
            ("f", PAIRS, ALLOC),
        ):
            screen.press(key, first(one, other))
        screen.press("/churn_alloc\r", lambda: screen.names() == [ALLOC])
        (found,) = screen.holders()
        screen.press("\r", lambda: any("vfs_write" in each for each in screen.frames()))
        frames = screen.frames()
        screen.press("\x1b", first(PAIRS, ALLOC))
        still = screen.frames()
        screen.press("b", lambda: "pagedbg_churn" in screen.names())
    finally:
        os.kill(pairs, signal.SIGKILL)
    return {
        "held": held(),
        "grown": [grown, found.grown],
        "frames": frames,
        "unfolded without the filter": still,
        "status": screen.leave("q"),
    }


if __name__ == "__main__":
    print(json.dumps(drive(sys.argv[1], Path(sys.argv[2]))))

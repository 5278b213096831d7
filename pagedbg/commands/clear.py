# SPDX-License-Identifier: GPL-2.0-or-later
"""``clear``: an empty screen."""

from __future__ import annotations

import argparse
import os
import sys

from pagedbg.output.printable import raw
from pagedbg.session import Session
from pagedbg.shell.command import command

_HOME_AND_CLEAR = "\x1b[H\x1b[2J"


@command(
    "clear",
    long_description="Clear the screen, as Ctrl-L does.",
    paged=False,
    kernel=False,
)
def clear(session: Session, args: argparse.Namespace) -> None:
    """Run the command."""
    if sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        raw(sys.stdout).write(_HOME_AND_CLEAR)

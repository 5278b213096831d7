# SPDX-License-Identifier: GPL-2.0-or-later
"""The terminal that a command in a guest is shown in: the caller's."""

from __future__ import annotations

import contextlib
import shutil
import signal
import termios
import tty
from collections.abc import Iterator

from agent_channel import Channel


def terminal_size() -> tuple[int, int]:
    """Rows and columns; of a terminal that does not know, 24 and 80."""
    size = shutil.get_terminal_size()
    return size.lines, size.columns


@contextlib.contextmanager
def resizing(channel: Channel) -> Iterator[None]:
    """Pass changes of our terminal's size on to the guest's."""

    def tell(*_: object) -> None:
        channel.send(b"w", b"%d %d" % terminal_size())

    before = signal.signal(signal.SIGWINCH, tell)
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)


@contextlib.contextmanager
def raw_terminal(fd: int) -> Iterator[None]:
    """
    Hand every key to the guest, whose terminal echoes and makes signals of them; and
    give ours back as it was.
    """
    before = termios.tcgetattr(fd)
    try:
        tty.setraw(fd)
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)

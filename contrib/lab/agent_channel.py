# SPDX-License-Identifier: GPL-2.0-or-later
"""The host's end of the port on which :mod:`agent` answers in a guest."""

from __future__ import annotations

import contextlib
import os
import select
import socket
from collections.abc import Iterator

from agent import CHUNK, HEADER


class Channel:
    """
    Frames to and from the agent; writing never waits for the guest, so neither side can
    block the other.
    """

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self.connection = connection
        self.received = bytearray()
        self.unsent = bytearray()
        self.stdin: int | None = None  # a descriptor whose bytes go to the command
        self.closed = False

    def send(self, kind: bytes, data: bytes = b"") -> None:
        self.unsent += HEADER.pack(kind, len(data)) + data

    def close(self) -> None:
        self.closed = True
        self.connection.close()

    def exchange(self, timeout: float | None) -> list[tuple[bytes, bytes]]:
        """
        Wait until something can be moved, move it, and return the frames that are
        complete.
        """
        # One more chunk of the command's input only when the last has gone.
        source = [self.stdin] if self.stdin is not None and not self.unsent else []
        readable, writable, _ = select.select(
            [self.connection, *source],
            [self.connection] if self.unsent else [],
            [],
            timeout,
        )
        with contextlib.suppress(BlockingIOError):
            if writable:
                del self.unsent[: self.connection.send(self.unsent)]
        if self.stdin is not None and self.stdin in readable:
            self.send(b"i", data := os.read(self.stdin, CHUNK))
            self.stdin = self.stdin if data else None
        if self.connection in readable:
            try:
                data = self.connection.recv(1 << 20)
            except ConnectionError:
                data = b""
            self.closed = not data
            self.received += data
        return list(self._complete())

    def _complete(self) -> Iterator[tuple[bytes, bytes]]:
        while len(self.received) >= HEADER.size:
            kind, length = HEADER.unpack_from(self.received)
            end = HEADER.size + length
            if len(self.received) < end:
                return
            yield kind, bytes(self.received[HEADER.size : end])
            del self.received[:end]

# SPDX-License-Identifier: GPL-2.0-or-later
"""Lines of JSON over a socket."""

from __future__ import annotations

import json
import select
import socket
from typing import Any


class JsonLines:
    """Lines of JSON over a socket, read without waiting longer than asked."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._buffer = b""
        self.closed = False

    def next(self, patience: float | None) -> dict[str, Any] | None:
        """
        The next object; None if there was none in time, or there will be none any more.
        """
        while b"\n" not in self._buffer:
            if (
                self.closed
                or not select.select([self._connection], [], [], patience)[0]
            ):
                return None
            data = self._connection.recv(1 << 16)
            self.closed = not data
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        request: dict[str, Any] = json.loads(line)
        return request

    def send(self, answer: dict[str, Any]) -> None:
        try:
            self._connection.sendall(json.dumps(answer).encode() + b"\n")
        except OSError:
            self.closed = True

# SPDX-License-Identifier: GPL-2.0-or-later
"""What the prompt and a recorder talk through: a JSON object a line, over a socket."""

from __future__ import annotations

import json
import select
import socket
import time
from collections.abc import Mapping
from typing import Any


class Channel:
    """One end. :attr:`closed` says that the other end was found closed."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._buffer = b""
        self.closed = False

    def next(self, patience: float | None) -> dict[str, Any] | None:
        """
        The next object; None if there was none in so many seconds, or there will be
        none any more. None for ``patience`` waits for as long as it takes.
        """
        deadline = None if patience is None else time.monotonic() + patience
        while b"\n" not in self._buffer:
            left = None if deadline is None else max(deadline - time.monotonic(), 0)
            if self.closed or not select.select([self._connection], [], [], left)[0]:
                return None
            try:
                data = self._connection.recv(1 << 16)
            except OSError:
                data = b""
            self.closed = not data
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        found: dict[str, Any] = json.loads(line)
        return found

    def send(self, what: Mapping[str, Any]) -> None:
        """Send an object; sets :attr:`closed` if nobody is there to receive it."""
        try:
            self._connection.sendall(json.dumps(what).encode() + b"\n")
        except OSError:
            self.closed = True

    def close(self) -> None:
        """Close this end."""
        self._connection.close()

# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU's monitor, which the host talks to."""

from __future__ import annotations

import contextlib
import json
import socket
from typing import Any

from cache import LabError


class Qmp:
    """QEMU's monitor."""

    def __init__(self, connection: socket.socket) -> None:
        self.stream = connection.makefile("rwb")
        connection.close()
        self.stream.readline()  # the greeting
        self.execute("qmp_capabilities", {})

    def execute(self, command: str, arguments: dict[str, Any]) -> Any:
        self.stream.write(
            json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n"
        )
        self.stream.flush()
        while line := self.stream.readline():
            answer = json.loads(line)
            if "error" in answer:
                raise LabError(f"QEMU refused {command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]
        raise LabError(f"QEMU ended before it answered {command}.")

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.stream.close()

# SPDX-License-Identifier: GPL-2.0-or-later
"""What is said of a socket behind which there is no monitor of QEMU's that answers."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pagedbg.errors import PagedbgError
from pagedbg.target import qemu
from pagedbg.target.qemu import QemuGuest

GREETING = b'{"QMP": {"version": {}, "capabilities": []}}\r\n'


@contextlib.contextmanager
def answering(path: Path, *lines: bytes) -> Iterator[None]:
    """Somebody who says these lines to whoever connects, or else nothing ever."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen(1)

        def answer() -> None:
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):
                for line in lines:
                    connection.sendall(line)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(1 << 16):
                    pass

        thread = threading.Thread(target=answer)
        if lines:
            thread.start()
        yield
        if lines:
            thread.join()


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([b"220 mail.example ESMTP\r\n"], "what answers there is no monitor of QEMU's"),
        ([b"[]\n"], "what answers there is no monitor of QEMU's"),
        ([b"\xff\xfe\n"], "what answers there is no monitor of QEMU's"),
        ([b"{" * (2 << 20)], "what answers there is no monitor of QEMU's"),
        (
            [GREETING, b'{"error": {"desc": "\\u001b[2J"}}\n'],
            "QEMU refuses qmp_capabilities",
        ),
        ([GREETING], "no monitor of QEMU's"),
        ([GREETING, b'{"return": {}}\n', b'{"return": 7}\n'], "no monitor of QEMU's"),
    ],
)
def test_who_is_no_monitor_is_said_to_be_none(
    lines: list[bytes], said: str, tmp_path: Path
) -> None:
    path = tmp_path / "socket"
    with answering(path, *lines), pytest.raises(PagedbgError) as caught:
        QemuGuest(str(path))
    assert str(path) in str(caught.value) and said in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_monitor_that_talks_to_somebody_else_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qemu, "_PATIENCE", 0.1)
    path = tmp_path / "socket"
    with answering(path), pytest.raises(PagedbgError) as caught:
        QemuGuest(str(path))
    assert "A monitor talks to one at a time" in str(caught.value)


def test_without_a_socket_it_is_said_what_makes_one(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("none", "file", "x" * 200):
        with pytest.raises(PagedbgError) as caught:
            QemuGuest(str(tmp_path / name))
        assert "-qmp unix:PATH,server=on,wait=off" in str(caught.value)

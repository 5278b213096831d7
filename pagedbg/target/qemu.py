# SPDX-License-Identifier: GPL-2.0-or-later
"""
A guest of QEMU's, looked at from its host through QEMU's monitor (QMP). Nothing is
written to it, and it goes on running unless it is asked to wait.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator
from typing import Any, BinaryIO

from pagedbg.errors import PagedbgError

__all__ = ("QemuGuest",)

# A monitor answers at once, or is busy with somebody else.
_PATIENCE = 10.0
_LONGEST = 1 << 20

_NO_MONITOR = "what answers there is no monitor of QEMU's"

# How long the last process tries to have a guest go on, and how often, in seconds.
_LAST_PATIENCE, _AGAIN = 60.0, 0.1


class QemuGuest:
    """
    A guest behind a monitor's socket.

    :param path: of a Unix domain socket, as in ``-qmp unix:PATH,server=on,wait=off``
    :param pause: have the guest wait until :meth:`release`
    :raises PagedbgError: if no monitor answers there
    """

    def __init__(self, path: str, *, pause: bool = False) -> None:
        self.path = path
        self._connection: socket.socket | None = None
        self._keeper: _Keeper | None = None
        with _monitor(path) as monitor:
            self.stopped = not monitor.running()
            """Whether its memory stays as it is."""
            if pause and not self.stopped:
                self._keeper = _Keeper(path)
                monitor.execute("stop")
                self.stopped = True

    def connect(self) -> int:
        """
        Return a descriptor of a new connection to the monitor, which talks to one at a
        time; the descriptor is the caller's.
        """
        self._connection = _connected(self.path)
        return os.dup(self._connection.fileno())

    @property
    def waits_for_us(self) -> bool:
        """Whether it would go on if it were let go."""
        return self._keeper is not None

    def release(self) -> None:
        """End the connection, and have the guest go on if it waits because of us."""
        if self._connection is not None:
            # Whoever has a descriptor of it, too, keeps it open otherwise.
            with contextlib.suppress(OSError):
                self._connection.shutdown(socket.SHUT_RDWR)
            self._connection.close()
            self._connection = None
        if self._keeper is not None:
            self._keeper.release()
            self._keeper = None


class _Keeper:
    """
    A process that has a guest go on when this one lets go, or is gone, however it ends:
    a machine that somebody needs does not wait for ever.
    """

    def __init__(self, path: str) -> None:
        reading, self._writing = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                # Out of reach of Ctrl-C, of whoever waits for our output's end, and of
                # the monitor, which talks to nobody else as long as it is connected.
                os.setsid()
                os.dup2(reading, 0)
                os.closerange(1, os.sysconf("SC_OPEN_MAX"))
                os.read(0, 1)
                _go_on(path)
            finally:
                os._exit(0)
        os.close(reading)

    def release(self) -> None:
        """Have it go on now."""
        os.close(self._writing)
        os.waitpid(self._pid, 0)


def _go_on(path: str) -> None:
    """Have a guest go on, as soon as its monitor is done with whoever it talks to."""
    until = time.monotonic() + _LAST_PATIENCE
    while time.monotonic() < until:
        with contextlib.suppress(PagedbgError), _monitor(path) as monitor:
            monitor.execute("cont")
            return
        time.sleep(_AGAIN)


def _connected(path: str) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.connect(path)
    except OSError as error:
        made.close()
        raise PagedbgError(
            f"{path}: {error.strerror or error}. The monitor's socket is that of QEMU's"
            " option -qmp unix:PATH,server=on,wait=off."
        ) from None
    return made


@contextlib.contextmanager
def _monitor(path: str) -> Iterator[_Monitor]:
    with _connected(path) as connection:
        connection.settimeout(_PATIENCE)
        # Until both are closed it talks to nobody else.
        with connection.makefile("rb") as lines:
            yield _Monitor(connection, lines, path)


class _Monitor:
    """QEMU's Machine Protocol: a line of JSON each way (docs/interop/qmp-spec)."""

    def __init__(self, connection: socket.socket, lines: BinaryIO, path: str) -> None:
        self._connection, self._lines, self._path = connection, lines, path
        # It greets whoever it talks to.
        if "QMP" not in self._read():
            raise self._failed(_NO_MONITOR)
        self.execute("qmp_capabilities")

    def running(self) -> bool:
        """
        Whether the guest runs.

        :raises PagedbgError: if it does not tell
        """
        status = self.execute("query-status")
        if not isinstance(status, dict) or "running" not in status:
            raise self._failed(_NO_MONITOR)
        return bool(status["running"])

    def execute(self, command: str) -> Any:
        """
        Have it do something.

        :raises PagedbgError: if it does not
        """
        try:
            self._connection.sendall(f'{{"execute": "{command}"}}\n'.encode())
        except OSError as error:
            raise self._failed(str(error.strerror or error)) from None
        while True:
            said = self._read()
            if "return" in said:
                return said["return"]
            if "error" in said:
                raise self._failed(f"QEMU refuses {command}")

    def _read(self) -> dict[str, Any]:
        try:
            line = self._lines.readline(_LONGEST)
        except TimeoutError:
            raise self._failed(
                "nobody answers. A monitor talks to one at a time, and libvirt has its"
                " own: give the guest one more, -qmp unix:PATH,server=on,wait=off"
            ) from None
        except OSError as error:
            raise self._failed(str(error.strerror or error)) from None
        try:
            said = json.loads(line)
        except ValueError:
            said = None
        if not isinstance(said, dict):
            raise self._failed(_NO_MONITOR)
        return said

    def _failed(self, why: str) -> PagedbgError:
        return PagedbgError(f"{self._path}: {why}.")

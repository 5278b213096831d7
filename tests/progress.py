# SPDX-License-Identifier: GPL-2.0-or-later
"""What a run of the tests is doing, and how long it will be: a line now and then, since a guest may take minutes before its first test."""

from __future__ import annotations

import threading
import time

import pytest
from schedule import group_of, seconds_of

# Seconds between two lines.
EVERY = 30.0


class Progress:
    """Prints the lines, in the process that runs the tests or has others run them."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._processes = config.getoption("numprocesses", None) or 0
        self._begun = time.monotonic()
        self._groups: set[str] = set()
        self._left: set[str] = set()  # those whose guests have not been booted
        self._running: set[str] = set()  # tests
        self._over = threading.Event()

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        """Several processes run the tests."""
        if not self._groups:
            self._begin(ids)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """This process runs the tests."""
        if not self._processes:
            self._begin([item.nodeid for item in session.items])

    def _begin(self, tests: list[str]) -> None:
        self._groups = set(map(group_of, tests))
        self._left = {*self._groups}
        threading.Thread(target=self._tell_now_and_then, daemon=True).start()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """A test begins."""
        self._running.add(nodeid)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """A test has ended. If it was its group's first, most of what the group takes is over."""
        self._running.discard(nodeid)
        self._left.discard(group_of(nodeid))

    def pytest_sessionfinish(self) -> None:
        """All tests have ended."""
        self._over.set()

    def _tell_now_and_then(self) -> None:
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        while terminal and not self._over.wait(EVERY):
            terminal.ensure_newline()
            terminal.write_line(self._line())

    def _line(self) -> str:
        whole, left = (sum(map(seconds_of, [*groups])) for groups in (self._groups, self._left))
        gone = time.monotonic() - self._begun
        # At first only the estimate is known, then more and more how this machine keeps to it.
        share = 1 - left / whole
        pace = (1 - share) / max(self._processes, 1) + (share * gone / (whole - left) if share else 0)
        now = sorted({group_of(test).rpartition("::")[2] for test in [*self._running]})
        return f"{minutes(gone)} gone, about {minutes(left * pace)} left; now {', '.join(now) or 'nothing'}"


def minutes(seconds: float) -> str:
    """As on a clock: 2:05."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"

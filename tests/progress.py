# SPDX-License-Identifier: GPL-2.0-or-later
"""
What a run of the tests is doing, and how long it will be: a line now and then, since a
guest may take minutes before its first test.
"""

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
        self._waiting: set[str] = set()  # groups
        self._running: dict[str, float] = {}  # since when
        self._expected = self._taken = 0.0  # by those that are over
        self._over = threading.Event()

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        """Several processes run the tests."""
        if not self._waiting:
            self._begin(ids)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """This process runs the tests."""
        if not self._processes:
            self._begin([item.nodeid for item in session.items])

    def _begin(self, tests: list[str]) -> None:
        self._waiting = set(map(group_of, tests))
        threading.Thread(target=self._tell_now_and_then, daemon=True).start()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """A test begins."""
        group = group_of(nodeid)
        if group in self._waiting:
            self._waiting.remove(group)
            self._running[group] = time.monotonic()

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """
        A test has ended. If it was its group's first, most of what the group takes is
        over, since a guest is booted and asked for it.
        """
        if since := self._running.pop(group := group_of(nodeid), None):
            self._expected += seconds_of(group)
            self._taken += time.monotonic() - since

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """What has failed is said at once: the rest may take an hour."""
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        if report.failed and terminal:
            *_, last = report.longreprtext.strip().splitlines() or [""]
            terminal.ensure_newline()
            terminal.write_line(f"{report.nodeid}: {report.when} failed: {last}")

    def pytest_sessionfinish(self) -> None:
        """All tests have ended."""
        self._over.set()

    def _tell_now_and_then(self) -> None:
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        while terminal and not self._over.wait(EVERY):
            terminal.ensure_newline()
            terminal.write_line(self._line())

    def _line(self) -> str:
        now = time.monotonic()
        running = {**self._running}
        # A minute as it was estimated counts as much as one on this machine.
        pace = (self._taken + 60) / (self._expected + 60)
        left = pace * sum(map(seconds_of, [*self._waiting]))
        left += sum(
            max(pace * seconds_of(group) - (now - since), 0)
            for group, since in running.items()
        )
        names = sorted(group.rpartition("::")[2] for group in running)
        return (
            f"{minutes(now - self._begun)} gone, about"
            f" {minutes(left / max(self._processes, 1))} left; now"
            f" {', '.join(names) or 'the rest'}"
        )


def minutes(seconds: float) -> str:
    """As on a clock: 2:05."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"

# SPDX-License-Identifier: GPL-2.0-or-later
"""
What a run of the tests is doing, and how long it will be: a line now and then, since a guest may take minutes before its first test.

The tests of one guest are a group, which one process runs. What groups take on two cores under emulation is in :data:`SECONDS`: the longest come
first, so that no process is left with one when the others are done, and what is left is estimated from it and from how fast this machine has been.
"""

from __future__ import annotations

import re
import threading
import time

import pytest

# By the fixture that boots a guest for several tests, or by the test that boots its own.
SECONDS = {
    "traced": 150,
    "died": 100,
    "live": 90,
    "kmod": 60,
    "test_programs_can_be_attached_and_detached_a_hundred_times_while_pages_come_and_go": 150,
    "test_a_kernel_that_watches_it_has_nothing_to_complain_of": 150,
    "test_a_flight_recorder_records_on_with_no_pagedbg_and_is_taken_over": 150,
    "debug_info": 10,
}
ONE_GUEST, NO_GUEST = 40, 0.13

# Seconds between two lines.
EVERY = 30.0


def group_of(item: pytest.Item) -> str:
    """The group of a test that needs a guest: ``live-6.12``, or the test's own name."""
    parameters = getattr(item, "callspec", None)
    for fixture, kernel in (parameters.params if parameters else {}).items():
        if fixture in SECONDS:
            return f"{fixture}-{kernel}"
    return re.sub(r"[^\w.\[]+", "-", item.name).strip("-")


def seconds_of(group: str) -> float:
    """What a group takes; one whose name is empty is a test without a guest."""
    if not group:
        return NO_GUEST
    return next((seconds for name, seconds in SECONDS.items() if group.partition("-")[0] == name), ONE_GUEST)


class Progress:
    """Prints the lines, in the process that runs the tests or has others run them."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._processes = config.getoption("numprocesses", None) or 0
        self._begun = time.monotonic()
        self._groups: dict[str, str] = {}  # of each test
        self._left: set[str] = set()  # groups whose guests have not been booted, and tests without one
        self._running: set[str] = set()
        self._over = threading.Event()

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        """Several processes run the tests, whose names have their groups' added."""
        if not self._groups:
            self._begin({test: test.rpartition("@")[2] if test.rfind("@") > test.rfind("]") else "" for test in ids})

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """This process runs the tests."""
        if not self._processes:
            self._begin({item.nodeid: group_of(item) if item.get_closest_marker("vm") else "" for item in session.items})

    def _begin(self, groups: dict[str, str]) -> None:
        self._groups = groups
        self._left = {group or test for test, group in groups.items()}
        threading.Thread(target=self._tell_now_and_then, daemon=True).start()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """A test begins."""
        self._running.add(nodeid)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """A test has ended. If it was its group's first, most of what the group takes is over."""
        self._running.discard(nodeid)
        self._left.discard(self._groups.get(nodeid) or nodeid)

    def pytest_sessionfinish(self) -> None:
        """All tests have ended."""
        self._over.set()

    def _tell_now_and_then(self) -> None:
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        while terminal and not self._over.wait(EVERY):
            terminal.ensure_newline()
            terminal.write_line(self._line())

    def _line(self) -> str:
        expected = {group or test: seconds_of(group) for test, group in self._groups.items()}
        whole = sum(expected.values())
        left = sum(seconds for group, seconds in expected.items() if group in self._left)
        gone = time.monotonic() - self._begun
        # Until a good part is done, only the estimate is known.
        share = max(1 - left / whole, 0.0)
        workers = max(self._processes, 1)
        pace = share * gone / (whole - left) + (1 - share) / workers if left < whole else 1 / workers
        now = sorted({self._groups.get(test) or test.rpartition("::")[2] for test in [*self._running]})
        return f"{minutes(gone)} gone, about {minutes(left * pace)} left; now {', '.join(now) or 'nothing'}"


def minutes(seconds: float) -> str:
    """As on a clock: 2:05."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"

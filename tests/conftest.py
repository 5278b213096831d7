# SPDX-License-Identifier: GPL-2.0-or-later
"""What all tests share."""

import signal

import progress
import pytest
from hypothesis import settings

# How long an example takes says more about the machine, which may be building kernels, than about the code.
settings.register_profile("pagedbg", deadline=None)
settings.load_profile("pagedbg")

# A shell that starts the tests in the background has them ignore Ctrl-C, and nohup a hang-up; what the tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_configure(config: pytest.Config) -> None:
    """Say what goes on, in the process that others run tests for."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(progress.Progress(config))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Group tests by their guest; where several processes share them, the longest come first, so that none is left with one at the end."""
    for item in items:
        if item.get_closest_marker("vm"):
            item.add_marker(pytest.mark.xdist_group(progress.group_of(item)))
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: -progress.seconds_of(progress.group_of(item) if item.get_closest_marker("vm") else ""))

# SPDX-License-Identifier: GPL-2.0-or-later
"""What all tests share."""

import os
import signal
import tempfile
from pathlib import Path

import progress
import pytest
import schedule
from hypothesis import settings

HERE = Path(__file__).parent

# How long an example takes says more about the machine, which may be building kernels,
# than about the code.
settings.register_profile("pagedbg", deadline=None)
settings.load_profile("pagedbg")

# pytest-xdist's processes have these; rich believes them rather than the terminal.
for name in ("COLUMNS", "LINES"):
    os.environ.pop(name, None)

# The configuration of whoever runs the tests is neither read nor made.
_CONFIG = tempfile.TemporaryDirectory(prefix="pagedbg-tests-")
os.environ["XDG_CONFIG_HOME"] = _CONFIG.name

# A shell that starts the tests in the background has them ignore Ctrl-C, and nohup a
# hang-up; what the tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_configure(config: pytest.Config) -> None:
    """Say what goes on, in the process that others run tests for."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(progress.Progress(config))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> schedule.ByGuest:
    """Have all tests of a guest run in one process."""
    return schedule.ByGuest(config, log)


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """
    Mark tests by their directory; where several processes share them, put the longest
    first.
    """
    for item in items:
        directory = item.path.relative_to(HERE).parts[0]
        if directory in ("dump", "installed", "vm"):
            item.add_marker(directory)
    if hasattr(config, "workerinput"):
        items.sort(
            key=lambda item: -schedule.seconds_of(schedule.group_of(item.nodeid))
        )

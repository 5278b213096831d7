# SPDX-License-Identifier: GPL-2.0-or-later
"""
The dump of an ordinary machine, and what is known of it from elsewhere: from drgn with
debug info, a page at a time (``contrib/lab/oracle.py``), and from the guest itself just
before it was stopped.
"""

from __future__ import annotations

import lzma
from collections.abc import Iterator

import pytest
from changed_memory import Changed
from debugfs_text import Record, parse
from known import DATA, ORDINARY, Oracle, Run

from pagedbg.target.opening import open_target
from pagedbg.target.target import Target


@pytest.fixture(scope="session")
def oracle() -> Oracle:
    """What drgn says of that dump with debug info."""
    return Oracle(DATA / "ordinary.oracle.json.xz")


@pytest.fixture(scope="session")
def said_by_the_kernel() -> list[Record]:
    """
    What the guest's debugfs page_owner said shortly before the dump: some of it has
    changed since.
    """
    with lzma.open(
        DATA / "ordinary.page_owner.xz",
        "rt",
        encoding="utf-8",
        errors="backslashreplace",
    ) as file:
        return parse(file.read())


@pytest.fixture(scope="session")
def sample() -> Target:
    """That dump, opened without debug info."""
    return open_target(str(ORDINARY))


@pytest.fixture(scope="session")
def pagedbg() -> Run:
    """pagedbg as a program."""
    return Run()


@pytest.fixture(scope="module")
def opened() -> Changed:
    """That dump, to be changed in memory."""
    return Changed()


@pytest.fixture
def changed(opened: Changed) -> Iterator[Changed]:
    """The same, which is as it was after each test."""
    yield opened
    opened.restore()

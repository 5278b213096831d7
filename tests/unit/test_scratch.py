# SPDX-License-Identifier: GPL-2.0-or-later
"""Temporary directories go away, also when nobody was there to remove them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pagedbg.capture.scratch import scratch
from pagedbg.capture.this_boot import process_start


def test_what_a_killed_process_has_left_is_removed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = (
        "import os, signal\nfrom pagedbg.capture.scratch import scratch\nmade ="
        " scratch()\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with scratch() as mine, scratch() as other:
        assert {path.name for path in tmp_path.iterdir()} == {
            Path(mine).name,
            Path(other).name,
        }
    assert left.name.startswith("pagedbg-")
    assert list(tmp_path.iterdir()) == []


def test_what_is_somebody_elses_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pagedbg-mine").mkdir()
    (tmp_path / "aim").mkdir()
    (tmp_path / "pagedbg-1-1-link").symlink_to(tmp_path / "aim")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with scratch():
        pass
    assert {path.name for path in tmp_path.iterdir()} == {
        "pagedbg-mine",
        "aim",
        "pagedbg-1-1-link",
    }


def test_directories_that_come_and_go_meanwhile_do_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    child = os.fork()
    if child == 0:
        name = tmp_path / f"pagedbg-{os.getpid()}-{process_start(os.getpid())}-x"
        while True:
            os.mkdir(name)
            os.rmdir(name)
    try:
        for _ in range(1000):
            scratch().cleanup()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)

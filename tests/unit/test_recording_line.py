# SPDX-License-Identifier: GPL-2.0-or-later
"""The bottom line says how fast a recording goes, and what it has lost."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from fake_session import fake_session
from made_meta import meta

from pagedbg.capture.files import META
from pagedbg.schema.capture_meta import Counts, encode
from pagedbg.shell.prompt import _bottom_line
from pagedbg.shell.recording_line import RecordingLine


def write(directory: Path, second: float, **counts: int) -> None:
    """What a recorder writes down at some second."""
    (directory / META).write_bytes(encode(meta(counts=Counts(**counts))))
    at = int(second * 10**9)
    os.utime(directory / META, ns=(at, at))


def test_its_rate_and_losses_are_those_that_the_recorder_has_written(
    tmp_path: Path,
) -> None:
    recording = SimpleNamespace(directory=tmp_path, running=True)
    line = RecordingLine(fake_session(recording=recording))
    line._look()
    assert line() == " · recording"
    write(tmp_path, 1, recorded=100)
    line._look()
    assert line() == " · recording"
    write(tmp_path, 3, recorded=5100)
    line._look()
    assert line() == " · recording 2,500/s"
    # Nothing new.
    line._look()
    assert line() == " · recording 2,500/s"
    write(tmp_path, 5, recorded=5100, lost=1000, missed=1)
    line._look()
    assert line() == " · recording 0/s, 1,001 lost"
    (tmp_path / META).write_bytes(b"{")
    line._look()
    assert line() == " · recording 0/s, 1,001 lost"
    recording.running = False
    assert line() == ""
    # Of the next nothing is known yet.
    recording.directory, recording.running = tmp_path / "other", True
    line._look()
    assert line() == " · recording"


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (100, " a-long-name-of-a-dump-that-is-kept · page_owner on "),
        (40, " a-long-name-of-a-dump… · page_owner on "),
        (8, " … · page_owner on "),
    ],
)
def test_a_long_name_leaves_room_for_the_state(columns: int, expected: str) -> None:
    name, state = "a-long-name-of-a-dump-that-is-kept", " · page_owner on"
    assert _bottom_line(name, state, columns) == expected

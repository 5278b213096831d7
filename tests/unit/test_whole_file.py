# SPDX-License-Identifier: GPL-2.0-or-later
"""A file that is there as a whole, or not at all."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from pagedbg.output.whole_file import whole_file


def write(path: Path, data: bytes) -> None:
    with whole_file(str(path)) as file:
        file.write(data)


def test_a_file_is_replaced_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.svg"
    path.write_bytes(b"former")
    path.chmod(0o640)
    with whole_file(str(path)) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"former"
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, OSError])
def test_what_fails_leaves_what_was_there(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "a.svg"
    path.write_bytes(b"former")
    with pytest.raises(error), whole_file(str(path)) as file:
        file.write(b"half")
        raise error
    assert path.read_bytes() == b"former"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_one(tmp_path: Path) -> None:
    path, link = tmp_path / "a", tmp_path / "link"
    link.symlink_to("a")
    write(link, b"new")
    assert link.is_symlink()
    assert path.read_bytes() == b"new"


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE) as reader:
        write(pipe, b"new")
        assert reader.communicate()[0] == b"new"


@pytest.mark.parametrize("name", ["no/such/a.svg", ""])
def test_what_cannot_be_written_is_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with pytest.raises(OSError) as caught:
        write(path, b"new")
    assert caught.value.filename == str(path)
    assert caught.value.strerror

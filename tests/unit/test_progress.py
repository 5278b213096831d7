# SPDX-License-Identifier: GPL-2.0-or-later
"""The bar that says how far long work has come, on a real terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pexpect
import pytest

from pagedbg import progress
from pagedbg.output import progress as output_progress
from pagedbg.output.progress import ProgressBar, progress_bar
from pagedbg.progress import followed, measured, quiet

SAMPLE = Path(output_progress.__file__).parents[1] / "data/sample.vmcore"

# The program as it is, but for how long it waits before it draws.
PROGRAM = (
    "import sys; from pagedbg.output import progress; progress._AFTER = 0;"
    " progress._EVERY = 0; from pagedbg.cli import main; sys.exit(main(sys.argv[1:]))"
)

ERASED = "\r\x1b[K"


class Screen:
    """A terminal, and what was written to it."""

    def __init__(self, columns: int) -> None:
        self._far, near = pty.openpty()
        size = struct.pack("HHHH", 24, columns, 0, 0)
        fcntl.ioctl(near, termios.TIOCSWINSZ, size)
        self.stream: TextIO = os.fdopen(near, "w", encoding="utf-8")

    def shown(self) -> str:
        """What was written; nothing more can be."""
        self.stream.close()
        found = b""
        # The far side of a terminal that is closed fails to be read.
        while True:
            try:
                data = os.read(self._far, 4096)
            except OSError:
                break
            if not data:
                break
            found += data
        os.close(self._far)
        return found.decode()


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output_progress, "_AFTER", 0)
    monkeypatch.setattr(output_progress, "_EVERY", 0)


def lines(text: str) -> list[str]:
    """What stood on the line, one after the other."""
    first, *others = text.split(ERASED)
    assert not first
    return others


def work(steps: int = 4) -> Iterator[int]:
    with measured("reading pages", 1000 * steps, "pages") as advance:
        for step in range(steps):
            yield step
            advance(1000)


@pytest.mark.parametrize("columns", (20, 40, 80, 200))
def test_it_fills_its_line_and_no_more_and_is_gone_at_the_end(columns: int) -> None:
    screen = Screen(columns)
    with followed(ProgressBar(screen.stream)):
        assert list(work()) == [0, 1, 2, 3]
    *drawn, last = lines(screen.shown())
    assert last == ""
    assert len(drawn) == 4
    for part, line in zip((25, 50, 75, 100), drawn, strict=True):
        assert len(line) < columns
        assert line.startswith("reading pages")
        if columns >= 40:
            assert f"{part}%" in line
        if columns >= 80:
            assert re.search(r"━+─* +\d+%  [\d,]+ pages/s  \d+:\d\d left$", line)


def test_short_work_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output_progress, "_AFTER", 3600)
    screen = Screen(80)
    with followed(ProgressBar(screen.stream)):
        list(work())
    assert screen.shown() == ""


def test_work_that_is_given_up_leaves_nothing() -> None:
    screen = Screen(80)
    with pytest.raises(KeyboardInterrupt), followed(ProgressBar(screen.stream)):
        for step in work():
            if step == 2:
                raise KeyboardInterrupt
    *drawn, last = lines(screen.shown())
    assert len(drawn) == 2 and last == ""


def test_of_works_in_each_other_the_first_is_shown() -> None:
    screen = Screen(80)
    with followed(ProgressBar(screen.stream)):
        with measured("all", 2) as advance:
            for _ in range(2):
                list(work())
                advance(1)
        list(work())
    *drawn, last = lines(screen.shown())
    assert [line.split()[0] for line in drawn if line] == ["all"] * 2 + ["reading"] * 4
    assert last == ""


def test_nothing_is_drawn_once_the_answer_comes() -> None:
    screen = Screen(80)
    with followed(ProgressBar(screen.stream)):
        for step in work():
            if step == 2:
                quiet()
                screen.stream.write("the answer\n")
    assert lines(screen.shown())[2] == "the answer\r\n"


def test_who_does_not_look_costs_nothing_and_is_told_nothing() -> None:
    assert list(work()) == [0, 1, 2, 3]
    assert progress._METER.get() is None


def test_a_pipe_is_no_place_for_it(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    with progress_bar():
        list(work())
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("arguments", ((), ("--no-pager",)))
def test_the_whole_program_on_a_terminal(arguments: tuple[str, ...]) -> None:
    argv = [*arguments, "-c", str(SAMPLE), "-e", "owners --by order"]
    child = pexpect.spawn(
        sys.executable,
        ["-c", PROGRAM, *argv],
        env={**os.environ, "TERM": "xterm"},
        encoding="utf-8",
        timeout=60,
    )
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    *drawn, answer = child.before.split(ERASED)
    assert any(line.startswith("opening the kernel") for line in drawn)
    assert any(re.search(r"reading records .* pages/s", line) for line in drawn)
    plain = re.sub(r"\x1b\[[012]m", "", answer)
    assert plain.split()[:3] == ["order", "blocks", "pages"]
    assert "\x1b" not in plain


def test_the_whole_program_in_a_pipe() -> None:
    output, status = pexpect.run(
        f"sh -c '{sys.executable} -c \"$0\" -c {SAMPLE} owners --by order 2>&1 | cat'"
        f' "{PROGRAM}"',
        withexitstatus=True,
        env={**os.environ, "TERM": "xterm"},
    )
    assert status == 0
    assert (
        b"order  blocks" in output
        and b"reading" not in output
        and b"\x1b" not in output
    )

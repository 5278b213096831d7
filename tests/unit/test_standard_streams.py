# SPDX-License-Identifier: GPL-2.0-or-later
"""
Whatever standard streams pagedbg is started with it ends with a status and at most a
sentence, on standard error; Ctrl-C ends it at any time.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pagedbg.shell.command_line import SAMPLE

PROGRAM = [sys.executable, "-m", "pagedbg"]
BAD = "Bad file descriptor"
FULL = "No space left on device"


def run(
    redirections: str, *args: str, input: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run pagedbg with redirections as a shell has them."""
    shell = ["sh", "-c", f'exec "$@" {redirections}', "sh", *PROGRAM, *args]
    done = subprocess.run(
        shell, input=input, capture_output=True, text=True, timeout=120, check=False
    )
    assert "Traceback" not in done.stderr
    assert "bug in pagedbg" not in done.stderr
    assert "Exception ignored" not in done.stderr
    return done


def script(tmp_path: Path, line: str) -> list[str]:
    """Options that run a line from a file."""
    path = tmp_path / "script"
    path.write_text(f"{line}\n")
    return ["-x", str(path)]


WAYS: dict[str, Callable[[Path, str], tuple[list[str], str]]] = {
    "command": lambda tmp_path, line: (line.split(), ""),
    "-e": lambda tmp_path, line: (["-e", line], ""),
    "-x": lambda tmp_path, line: (script(tmp_path, line), ""),
    "stdin": lambda tmp_path, line: ([], f"{line}\n"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("redirections", "line", "status", "said"),
    [
        (">&-", "status", 1, BAD),
        (">&-", "nonsense", 2, "no such command"),
        ("2>&-", "status", 0, ""),
        ("2>&-", "nonsense", 2, ""),
        (">/dev/full", "status", 1, FULL),
        (">/dev/full", "nonsense", 2, "no such command"),
        ("2>/dev/full", "status", 0, ""),
        ("2>/dev/full", "nonsense", 2, ""),
        (">/dev/full 2>/dev/full", "status", 1, ""),
        (">&- 2>&-", "status", 1, ""),
    ],
)
def test_output_that_cannot_be_written(
    tmp_path: Path, way: str, redirections: str, line: str, status: int, said: str
) -> None:
    args, input = WAYS[way](tmp_path, line)
    done = run(redirections, "--sample", *args, input=input)
    assert done.returncode == status
    assert said in done.stderr
    assert done.stderr.count("\n") == (1 if said else 0)
    # Errors never go to standard output.
    assert ("kernel:" in done.stdout) is (
        line == "status" and ">" not in redirections.replace("2>", "")
    )
    assert "nonsense" not in done.stdout


@pytest.mark.parametrize("redirections", ["<&-", "</dev/null"])
def test_no_input_is_no_command(redirections: str) -> None:
    done = run(redirections, "--sample")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = run(redirections, "--sample", "status")
    assert (done.returncode, done.stderr) == (0, "")
    assert "kernel:" in done.stdout


@pytest.mark.parametrize("file", ["/dev/full", "/dev/zero"])
@pytest.mark.parametrize("option", ["<", "-x"])
def test_input_without_end_is_no_command(file: str, option: str) -> None:
    done = (
        run(f"<{file}", "--sample")
        if option == "<"
        else run("", "--sample", "-x", file)
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "too long" in done.stderr


def test_nothing_at_all_is_open() -> None:
    for args, status in (
        (["status"], 1),
        (["nonsense"], 2),
        ([], 0),
        (["--help"], 1),
        (["--nonsense"], 2),
    ):
        done = run("<&- >&- 2>&-", "--sample", *args)
        assert (done.returncode, done.stdout, done.stderr) == (status, "", "")


def test_what_is_opened_later_is_not_taken_for_standard_output(tmp_path: Path) -> None:
    copy = tmp_path / "vmcore"
    copy.write_bytes(SAMPLE.read_bytes())
    run("<&- >&- 2>&-", "-c", str(copy), "-e", "status", "-e", "nonsense")
    assert copy.read_bytes() == SAMPLE.read_bytes()


@pytest.mark.parametrize("args", [["--help"], ["--version"], ["help", "owners"]])
def test_help_that_nobody_can_read(args: list[str]) -> None:
    done = run(">/dev/full", *args)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert FULL in done.stderr


# ---- Ctrl-C before anything has begun


def started(*args: str) -> subprocess.Popen[str]:
    """
    Start pagedbg and wait until Ctrl-C is its own business: before that it is Python's.
    It is for as long as pagedbg catches nothing, which may be over before we look: then
    there is output.
    """
    process = subprocess.Popen(
        [*PROGRAM, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    path = Path(f"/proc/{process.pid}/status")
    caught, seen = True, False
    while (
        process.poll() is None
        and (caught or not seen)
        and not select.select([process.stdout], [], [], 0)[0]
    ):
        mask = next(
            line for line in path.read_text().splitlines() if line.startswith("SigCgt:")
        )
        caught = bool(int(mask.split()[1], 16) >> (signal.SIGINT - 1) & 1)
        seen = seen or caught
    assert process.poll() is None
    return process


def ended_quietly(process: subprocess.Popen[str]) -> None:
    """It was Ctrl-C that ended it, and nothing was said."""
    _, err = process.communicate(timeout=120)
    assert err == ""
    assert process.returncode in (-signal.SIGINT, 130)


@pytest.mark.parametrize("delay", range(0, 200, 20))
def test_ctrl_c_during_the_start_ends_it_without_a_word(delay: int) -> None:
    process = started("--sample", "owners")
    try:
        process.wait(delay / 1000)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
    ended_quietly(process)


def test_ctrl_c_while_drgn_loads_its_plugins_ends_it_without_a_word(
    tmp_path: Path,
) -> None:
    plugin, ready = tmp_path / "plugin.py", tmp_path / "ready"
    plugin.write_text(
        f"import pathlib, time\npathlib.Path({str(ready)!r}).touch()\ntime.sleep(60)\n"
    )
    # As root the program itself leaves out what this variable names.
    program = [
        sys.executable,
        "-c",
        "import sys; from pagedbg.cli import main; sys.exit(main())",
        "--sample",
        "status",
    ]
    environment = {**os.environ, "DRGN_PLUGINS": f"slow={plugin}"}
    process = subprocess.Popen(
        program,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    while not ready.exists():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    ended_quietly(process)

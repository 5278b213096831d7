# SPDX-License-Identifier: GPL-2.0-or-later
"""
One case: a process that opens what was damaged and runs commands on it, and what is to
be said of how that went.
"""

from __future__ import annotations

import faulthandler
import json
import os
import re
import resource
import select
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import IO, Any, NamedTuple

SECONDS = 30
MEMORY = 2 << 30

# Beyond it the machine that we run on would suffer.
_MOST = 6 << 30

# Whoever uses no CPU for so many seconds waits for what does not come.
_PATIENCE = 120


class Outcome(NamedTuple):
    """
    How a case went.

    ``failure`` is the class of a failure, empty if there is none; ``said`` what there
    was on standard error; ``statuses`` how many commands ended with each status.
    """

    failure: str
    command: str
    said: str
    statuses: Counter[int]
    seconds: float
    memory: int


def run(core: Path | None, capture: Path | None, commands: tuple[str, ...]) -> Outcome:
    """Run commands in a process of their own."""
    with (
        tempfile.TemporaryFile() as report,
        tempfile.TemporaryFile() as err,
        tempfile.TemporaryFile() as out,
    ):
        pid = os.fork()
        if pid == 0:
            _child(core, capture, commands, report, out, err)
        return _judge(pid, report, out, err)


def _child(
    core: Path | None,
    capture: Path | None,
    commands: tuple[str, ...],
    report: IO[bytes],
    out: IO[bytes],
    err: IO[bytes],
) -> None:
    status = 3
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        # pytest's would write to where nobody asked for it.
        faulthandler.disable()
        os.setpgid(0, 0)
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 5))
        resource.setrlimit(resource.RLIMIT_DATA, (_MOST, _MOST))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
        sys.stdout = open(1, "w", closefd=False, errors="backslashreplace")  # noqa: SIM115
        sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
        # So that a bug shows where it is.
        os.environ["PAGEDBG_DEBUG"] = "1"
        _commands(core, capture, commands, report)
        status = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(status)


def _commands(
    core: Path | None,
    capture: Path | None,
    commands: tuple[str, ...],
    report: IO[bytes],
) -> None:
    from drgn import Program

    from pagedbg.capture.directory import Capture
    from pagedbg.schema.settings import Settings
    from pagedbg.session import Session
    from pagedbg.shell.execute import execute
    from pagedbg.shell.failures import exit_status, explain
    from pagedbg.target.opening import open_target
    from pagedbg.target.target import Target

    def say(**what: Any) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        report.write(
            json.dumps({**what, "err": os.lseek(2, 0, os.SEEK_CUR)}).encode() + b"\n"
        )
        report.flush()

    say(command="(opening)")
    try:
        opened = Capture(capture) if capture is not None else None
        target = open_target(str(core)) if core is not None else Target(Program())
    except Exception as error:
        # As pagedbg.cli.main() does it.
        explained = explain(error)
        print(f"pagedbg: {explained}", file=sys.stderr)
        say(status=exit_status(explained))
        return
    session = Session(target, settings=Settings(pager="off"), capture=opened)
    session.keep()
    say(status=0)
    try:
        for command in commands:
            say(command=command)
            say(status=execute(session, command))
    finally:
        session.close()


def _judge(pid: int, report: IO[bytes], out: IO[bytes], err: IO[bytes]) -> Outcome:
    child = os.pidfd_open(pid)
    ended = _ends(pid, child)
    if not ended:
        os.killpg(pid, signal.SIGKILL)
    os.close(child)
    _, status, used = os.wait4(pid, 0)
    for file in (report, out, err):
        file.seek(0)
    marks = [json.loads(line) for line in report.read().splitlines()]
    said = err.read(1 << 20).decode(errors="replace")
    command = next(
        (mark["command"] for mark in reversed(marks) if "command" in mark), ""
    )
    statuses = Counter(mark["status"] for mark in marks if "status" in mark)
    memory, seconds = used.ru_maxrss << 10, used.ru_utime + used.ru_stime

    def failed(what: str, where: str = command) -> Outcome:
        return Outcome(what, where, said, statuses, seconds, memory)

    if not ended:
        return failed("it hangs")
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return failed(
            "more than 30 s of CPU"
            if number in (signal.SIGXCPU, signal.SIGKILL)
            else f"died of {signal.Signals(number).name}"
        )
    if os.WEXITSTATUS(status):
        return failed(f"ended with {os.WEXITSTATUS(status)}: {_where(said)}")
    if seconds > SECONDS:
        return failed("more than 30 s of CPU")
    if memory > MEMORY:
        return failed("more than 2 GB of memory")
    begun = 0
    data = said.encode()
    for mark in marks:
        if "command" in mark:
            begun, command = mark["err"], mark["command"]
        else:
            what = _complaint(
                mark["status"], data[begun : mark["err"]].decode(errors="replace")
            )
            if what:
                return failed(what, command)
    return failed("")


def _ends(pid: int, child: int) -> bool:
    """Wait for a process, as long as it gets on."""
    used = -1
    while not select.select([child], [], [], _PATIENCE)[0]:
        before, used = used, _ticks(pid)
        if used == before:
            return False
    return True


def _ticks(pid: int) -> int:
    """How long a process has run: ``utime`` and ``stime`` of proc_pid_stat(5)."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(after_name[11]) + int(after_name[12])


def _complaint(status: int, said: str) -> str:
    """
    What is wrong with how a command ended and what it said on standard error; nothing
    if all is well.
    """
    if status not in (0, 1, 2):
        return f"status {status}"
    if "this is a bug" in said or "Traceback" in said:
        return _where(said)
    if match := re.search(
        r"(?:\w+Warning: .*|Exception ignored.*|out of memory.*)", said
    ):
        return match[0][:100]
    if status and said.count("\n") != 1:
        return f"{said.count(chr(10))} lines and not one sentence"
    return ""


def _where(said: str) -> str:
    """The exception, and the innermost line of ours that it came through."""
    frames = re.findall(r'File "[^"]*/(pagedbg/[^"]+)", line (\d+), in (\w+)', said)
    error = re.findall(
        r"^([\w.]+(?:Error|Exception|Iteration|Interrupt|Exit|Fault)\b.{0,80})",
        said,
        re.MULTILINE,
    )
    frame = next(((path, name) for path, _, name in reversed(frames)), ("?", "?"))
    return f"{(error or ['?'])[-1][:100]} in {frame[0]} {frame[1]}()"


def monotonic() -> float:
    """Seconds."""
    return time.monotonic()

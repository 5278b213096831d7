# SPDX-License-Identifier: GPL-2.0-or-later
"""Work that several processes share: their order, and their end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pagedbg.parallel import in_processes

# Threads of who runs the tests would keep it from forking: in a process of its own.
PRELUDE = """
import os, signal, sys, time
from pagedbg.errors import PagedbgError
from pagedbg.parallel import Meanwhile, in_processes
"""


def run(program: str, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PRELUDE + program],
        capture_output=True,
        text=True,
        timeout=60,
        **more,
    )


def test_results_come_in_the_order_of_the_tasks() -> None:
    done = run("""
def work(task):
    # The first of each process is the slowest.
    time.sleep(0.2 if task < 4 else 0)
    return task, os.getpid(), os.nice(0)
found = list(in_processes(work, range(20), 3))
assert [task for task, _, _ in found] == list(range(20))
pids = [pid for _, pid, _ in found]
assert pids[0] == os.getpid() and len(set(pids)) == 4, pids
assert [nice - os.nice(0) for _, _, nice in found] == [0] + 19 * [5]
""")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("tasks", "jobs"), ((20, 1), (2, 8), (0, 8)))
def test_little_work_is_done_here(tasks: int, jobs: int) -> None:
    found = list(in_processes(lambda task: (task, os.getpid()), range(tasks), jobs))
    assert found == [(task, os.getpid()) for task in range(tasks)]


def test_what_goes_wrong_there_goes_wrong_here() -> None:
    done = run("""
def work(task):
    if task == 7:
        raise KeyError("seven", lambda: "that cannot be sent")
    return task
found = []
try:
    for each in in_processes(work, range(20), 3):
        found.append(each)
except KeyError as error:
    assert error.args[0] == "seven"
    assert found == list(range(7))
    sys.exit(3)
""")
    assert (done.returncode, done.stderr) == (3, "")


def test_a_process_that_is_killed_is_said_and_none_is_left() -> None:
    done = run("""
def work(task):
    if task == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return task
try:
    list(in_processes(work, range(20), 3))
except PagedbgError as error:
    print(error)
try:
    os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    print("none is left")
""")
    assert done.stderr == ""
    assert done.stdout == (
        "one of the processes that read memory was killed by signal 9. --jobs 1 reads"
        " in one process.\nnone is left\n"
    )


def test_who_wants_no_more_ends_them() -> None:
    done = run("""
for each in in_processes(lambda task: bytes(1 << 20), range(1000), 3):
    break
found = in_processes(lambda task: bytes(1 << 20), range(1000), 3)
next(found), next(found)
del found
try:
    os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    print("none is left")
""")
    assert (done.stderr, done.stdout) == ("", "none is left\n")


def test_one_piece_of_work_is_done_meanwhile() -> None:
    done = run("""
reading, writing = os.pipe()
asked = Meanwhile(lambda: os.read(reading, 1) * 3)
failing = Meanwhile(lambda: {}["nothing"])
killed = Meanwhile(lambda: os.kill(os.getpid(), signal.SIGKILL))
dropped = Meanwhile(lambda: time.sleep(3600))
os.kill(asked._worker._pid, signal.SIGINT)
print(asked.done)
os.write(writing, b"x")
print(asked.result(), failing.result())
try:
    killed.result()
except PagedbgError as error:
    print(str(error).partition(".")[0])
dropped.end()
try:
    # It is waited for here, or was already.
    os.waitpid(dropped._worker._pid, 0)
    os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    print("none is left")
""")
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "False",
        "b'xxx' None",
        "one of the processes that read memory was killed by signal 9",
        "none is left",
    ]


SLEEPING = """
def work(task):
    if task:
        time.sleep(3600)
    return bytes(1 << 18)
found = in_processes(work, range(20), 3)
next(found)
try:
    next(found)
except KeyboardInterrupt:
    sys.exit(4)
"""


def children(pid: int) -> list[int]:
    return [
        int(each)
        for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    ]


def alive(pid: int) -> bool:
    """Whether a process does anything; who has it to wait for may not be there."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def within_seconds(true: Callable[[], bool]) -> bool:
    end = time.monotonic() + 30
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


@pytest.mark.parametrize("to_all", (False, True))
def test_ctrl_c_ends_all_of_them(to_all: bool) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PRELUDE + SLEEPING],
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as parent:
        assert within_seconds(lambda: len(children(parent.pid)) == 3)
        pids = children(parent.pid)
        # A terminal sends it to all that are in the foreground.
        (os.killpg if to_all else os.kill)(parent.pid, signal.SIGINT)
        status = parent.wait(30)
    # Of processes that are gone already it says that they were killed.
    assert status == 4 or to_all
    assert within_seconds(lambda: not any(map(alive, pids)))


def test_ctrl_c_ends_one_that_has_just_begun() -> None:
    done = run("""
fork = os.fork
def forked():
    pid = fork()
    if pid:
        print(pid, flush=True)
        os.kill(os.getpid(), signal.SIGINT)
    return pid
os.fork = forked
def work(task):
    if task:
        time.sleep(3600)
try:
    list(in_processes(work, range(20), 3))
except KeyboardInterrupt:
    sys.exit(4)
""")
    assert done.returncode == 4
    (pid,) = map(int, done.stdout.split())
    assert not alive(pid)


def test_they_end_when_the_first_process_is_killed() -> None:
    busy = SLEEPING.replace("time.sleep(3600)", "time.sleep(0.01)").replace(
        "    next(found)\n", "    next(found)\n    time.sleep(3600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", PRELUDE + busy.replace("range(20)", "range(1 << 20)")],
        stdout=subprocess.PIPE,
    ) as parent:
        assert within_seconds(lambda: len(children(parent.pid)) == 3)
        pids = children(parent.pid)
        parent.kill()
    # Who takes them over may not wait for them: in a container, say.
    assert within_seconds(lambda: not any(map(alive, pids)))

# SPDX-License-Identifier: GPL-2.0-or-later
"""
A guest that is looked at from its host, through QEMU's monitor: while it waits every
command answers as it does on a dump of it, and while it runs nothing stops it for good.
"""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from booted import PAGEDBG, PATIENCE, Answer, Machine, boot, dump, pagedbg

# What answers as on a dump; with rows enough, in an order of its own.
COMMANDS = (
    "owners --by stack",
    "owners --orders 3 --no-stack",
    "memory",
    "memory --by file",
    "zones",
    "free --by migratetype",
    "blocks --by module,function",
    "map",
    "explain order 4 9",
    "stacks",
    "log",
    "inspect pfn 0x1000+64",
    "trace recover",
    "trace show --no-stack --last 100",
    "correlate --by state",
)

RECORDS = "trace set --orders 3", "trace start --flight --backend kmod"


class Seen(NamedTuple):
    """What pagedbg said of a guest while it ran, while it waited, and of its dump."""

    running: dict[str, Answer]
    waiting: dict[str, list[dict[str, Any]]]
    dumped: dict[str, list[dict[str, Any]]]
    killed: list[str]
    up: list[float]


def _state(machine: Machine) -> str:
    return str(machine.guest.qmp("query-status")["status"])


def _until(machine: Machine, state: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while _state(machine) != state:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _up(machine: Machine) -> float:
    return float(machine.sh("cat /proc/uptime").split()[0])


def _killed(machine: Machine, monitor: Path, directory: Path) -> Iterator[str]:
    """The guest's states before, while and after somebody has it wait and is killed."""
    ready = directory / "ready"
    yield _state(machine)
    process = subprocess.Popen(
        [
            *(PAGEDBG, "--qemu", monitor, "--pause"),
            *("-e", f"!touch {ready}; exec sleep 1000"),
        ],
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + PATIENCE
    while not ready.exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    yield _state(machine)
    process.send_signal(signal.SIGKILL)
    process.wait()
    _until(machine, "running")
    yield _state(machine)


def _answers(directory: Path, *target: str | Path) -> dict[str, list[dict[str, Any]]]:
    """The rows of each command, asked in one session."""
    files = {line: directory / f"{i}.json" for i, line in enumerate(COMMANDS)}
    lines = [f"{line} -o {file}" for line, file in files.items()]
    answer = pagedbg(*target, *(word for line in lines for word in ("-e", line)))
    assert answer.status == 0, answer
    return {line: json.loads(file.read_text()) for line, file in files.items()}


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    directory = tmp_path_factory.mktemp("qemu")
    monitor, core = directory / "monitor", directory / "vmcore"
    options = ["-qmp", f"unix:{monitor},server=on,wait=off"]
    with boot("6.12", "qemu", memory="512M", qemu_opts=options) as machine:
        machine.load_churn()
        machine.run(
            [PAGEDBG, *(word for each in RECORDS for word in ("-e", each))]
        ).check()
        machine.sh("for n in 1 2 3; do echo alloc 3 20 >/proc/pagedbg_churn; done")
        up = [_up(machine)]
        running = {
            line: pagedbg("--qemu", monitor, *line.split())
            for line in ("status", "owners --by module", "trace show", "trace start")
        }
        running["waited"] = pagedbg("--qemu", monitor, "--pause", "status")
        killed = list(_killed(machine, monitor, directory))
        up.append(_up(machine))
        machine.guest.qmp("stop")
        waiting = _answers(directory, "--qemu", monitor)
        raw = directory / "raw"
        machine.guest.qmp("dump-guest-memory", paging=False, protocol=f"file:{raw}")
    dump.mend_program_headers(raw)
    dump.filter_dump(raw, core)
    return Seen(running, waiting, _answers(directory, "-c", core), killed, up)


@pytest.mark.parametrize("line", COMMANDS)
def test_a_guest_that_waits_answers_as_its_dump(seen: Seen, line: str) -> None:
    assert seen.waiting[line]
    assert seen.waiting[line] == seen.dumped[line]


def test_what_a_guest_recorded_is_found(seen: Seen) -> None:
    (recorder,) = seen.waiting["trace recover"]
    assert recorder["backend"] == "kmod"
    events = seen.waiting["trace show --no-stack --last 100"]
    assert {event["order"] for event in events} == {3}


def test_a_guest_that_runs_is_looked_at(seen: Seen) -> None:
    status, owners = seen.running["status"], seen.running["owners --by module"]
    assert status.status == owners.status == 0, (status, owners)
    assert "a guest of QEMU's that runs" in status.stdout
    assert "pagedbg_churn" in owners.stdout
    assert "a guest of QEMU's that waits" in seen.running["waited"].stdout


def test_what_takes_a_guest_that_waits_or_its_own_kernel_says_so(seen: Seen) -> None:
    show, start = seen.running["trace show"], seen.running["trace start"]
    assert show.status == start.status == 1
    assert "have the guest wait, with pagedbg --qemu SOCKET --pause" in show.stderr
    assert "this needs the kernel that pagedbg itself runs on" in start.stderr
    assert show.stderr.count("\n") == start.stderr.count("\n") == 1


def test_it_goes_on_however_pagedbg_ends(seen: Seen) -> None:
    assert seen.killed == ["running", "paused", "running"]
    assert seen.up[0] < seen.up[1]

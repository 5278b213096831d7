# SPDX-License-Identifier: GPL-2.0-or-later
"""
Promise 1: root executes only what root owns. Root stands in a directory of somebody
else, in an environment of somebody else, in a booted kernel, and starts everything that
there is to start. (What needs no kernel is in tests/unit/test_trust.py.)
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import poison
import prebuilt
import pytest
from booted import LAB, OUT, PAGEDBG, Machine, boot
from poison import Poison

from pagedbg import trust
from pagedbg.capture.backends.bpf_programs import TRAMPOLINE

RUN = LAB.parent / "run"
STRANGER = Path("/run/stranger")
SWITCH = "/proc/sys/kernel/ftrace_enabled"
UNTOUCHED = "untouched\n644\n"
KPROBES = "/sys/kernel/debug/kprobes/enabled"

# What contrib/run opens: the prompt, with its history, recorders of both back ends, and
# the process that names their stacks.
PROMPT = f"""\
trace set --orders 3 --comm sh
trace start --backend bpf --output {OUT}/bpf
!echo alloc 3 5 >/proc/pagedbg_churn
trace stop
trace start --backend kmod --output {OUT}/kmod
!echo alloc 3 5 >/proc/pagedbg_churn
!echo 0 >{KPROBES}
trace status
!echo 1 >{KPROBES}
trace stop
trace start --slots 1048576
!echo 0 >{SWITCH}
trace start
doctor --format jsonl -o {OUT}/doctor
!echo 1 >{SWITCH}; echo 0 >{KPROBES}
trace start --backend kmod
!echo 1 >{KPROBES}
exit
"""

DRGN = f"""
from drgn.commands import run_command
run_command(prog, "pagedbg trace set --orders 3")
run_command(prog, "pagedbg trace start --backend bpf --output {OUT}/drgn")
run_command(prog, "pagedbg trace stop")
"""


@pytest.fixture(scope="module", params=["6.12"])
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    with boot(request.param, "trust", memory="768M") as booted:
        booted.load_churn()
        booted.run([sys.executable, "-I", poison.__file__, STRANGER]).check()
        # Where root's own cache is, which nothing of the environment below leads to.
        booted.sh(
            "mkdir -p /var/cache/pagedbg && mount --bind"
            f" {shlex.quote(str(prebuilt.CACHE / 'pagedbg'))} /var/cache/pagedbg"
        )
        yield booted


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What leads root to the poison in the guest."""
    here = Poison(tmp_path_factory.mktemp("poison") / "stranger")
    return {
        name: value.replace(str(here.directory), str(STRANGER))
        for name, value in here.environment.items()
    }


@pytest.fixture(scope="module")
def said(machine: Machine, environment: dict[str, str]) -> str:
    """
    What the prompt has said in a terminal, when root typed the commands of PROMPT.
    """
    # No sentence is broken.
    wide = {"TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1", "COLUMNS": "1000"}
    environment = {**environment, **wide}
    done = machine.run(
        [RUN, PAGEDBG], cwd=STRANGER, env=environment, stdin=PROMPT.encode(), tty=True
    )
    assert done.status == 0, done.text
    return str(done.text)


def swallowed(machine: Machine) -> str:
    """What was run of the poison, and what is in the file that links lead to."""
    return machine.sh(
        f"cat {STRANGER}/swallowed 2>/dev/null; cat {STRANGER}.victim; stat -c %a"
        f" {STRANGER}.victim"
    )


def test_the_prompt_and_all_that_it_starts_run_nothing_of_somebody_else(
    machine: Machine, said: str
) -> None:
    assert f"Recording --orders 3 --comm sh into {OUT}/bpf. Attached to" in said
    assert (
        f"Recording --orders 3 --comm sh into {OUT}/kmod. The kernel module listens"
        in said
    )
    for backend in ("bpf", "kmod"):
        assert "pagedbg_churn_alloc" in machine.sh(f"cat {OUT}/{backend}/stacks.jsonl")
    assert swallowed(machine) == UNTOUCHED


def test_what_root_types_is_remembered_where_only_root_reads(
    machine: Machine, said: str
) -> None:
    assert "+trace set --orders 3 --comm sh" in machine.sh(
        "cat /var/lib/pagedbg/history"
    )
    assert (
        machine.sh("stat -c '%a %u' /var/lib/pagedbg/history /var/lib/pagedbg")
        == "600 0\n700 0\n"
    )


def test_in_the_prompt_of_drgn_nothing_of_somebody_else_is_run(
    machine: Machine, environment: dict[str, str]
) -> None:
    # What drgn itself imports, and which plugins, is drgn's.
    environment = {
        name: value
        for name, value in environment.items()
        if name not in ("DRGN_PLUGINS", "PYTHONPATH")
    }
    drgn = machine.run(
        [PAGEDBG.with_name("drgn"), "-q", "-e", DRGN], cwd=STRANGER, env=environment
    ).check()
    assert f"Recording --orders 3 into {OUT}/drgn" in drgn.text
    assert swallowed(machine) == UNTOUCHED


def test_the_module_and_the_programs_are_made_by_nothing_of_somebody_else(
    machine: Machine, tmp_path: Path
) -> None:
    # On this machine, where it takes a twelfth of the time.
    for place in (tmp_path, tmp_path.parent):
        place.chmod(0o755)
    here = Poison(tmp_path / "stranger")
    (cache := tmp_path / "cache").mkdir(mode=0o700)
    code = f"""
import os, sys
sys.path[:0] = {[str(LAB), str(Path(__file__).parent)]!r}
import prebuilt, kernels
from pathlib import Path
kernel = kernels.build("6.12", say=print)
described = prebuilt.described(kernel, True)
os.environ.update({here.environment!r})
prebuilt.CACHE = Path({str(cache)!r})
prebuilt.module(kernel)
prebuilt.compile_programs(described, [(64, {TRAMPOLINE!r})])
"""
    subprocess.run(
        [sys.executable, "-I", "-c", code],
        check=True,
        cwd=here.directory,
        capture_output=True,
        text=True,
    )
    assert [path.suffix for path in sorted(cache.rglob("*.*")) if path.is_file()] == [
        ".json",
        ".ko",
    ]
    assert trust.is_trusted(next(cache.rglob("*.ko")))
    assert here.swallowed() == []


def test_rings_that_are_too_large_are_refused_before_anything_is_attached(
    said: str,
) -> None:
    assert (
        "--slots: rings of 1048576 slots for 2 CPUs would take 256 MiB, which is more"
        " than a sixteenth of this machine's memory" in said
    )


def test_where_probes_are_switched_off_it_is_said_and_not_recorded(
    machine: Machine, said: str
) -> None:
    silent = (
        "kernel.ftrace_enabled is 0, so that no event is seen: sysctl"
        " kernel.ftrace_enabled=1"
    )
    assert f"nothing can be attached: bpf: {silent}; kmod: {silent}" in said
    doctor = [json.loads(line) for line in machine.sh(f"cat {OUT}/doctor").splitlines()]
    assert [
        row["state"]
        for row in doctor
        if row["capability"] in ("ftrace on", "kprobes on")
    ] == ["no", "yes"]
    assert (
        f"nothing can be attached: {KPROBES} is 0, so that no event is seen: echo 1"
        f" >{KPROBES}" in said
    )
    assert (
        f"Events may be missing without a count: {KPROBES} is 0, so that no event is"
        " seen" in said
    )

# SPDX-License-Identifier: GPL-2.0-or-later
"""
Panic guests of the lab and take the dump as the field does: a crash kernel comes up and
runs makedumpfile on /proc/vmcore.

The crash kernel is the same kernel on the same root file system, and has the same
agent. What makedumpfile writes comes back as that agent's output, in the flattened
format that makedumpfile has for pipes.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import dump
import guest
import kernels
from completed_guest import CompletedGuest
from dump import ZERO_AND_FREE, Dump
from guest import Guest, LabError

# What the crash kernel gets of the guest's memory. Of 64M it has 6M to spare once it
# has booted, and makedumpfile crawls because pages of its own text are evicted and read
# again and again; of 80M, 20M. The rest is for kernels that need more than those of
# today.
CRASHKERNEL = "crashkernel=96M"

# One CPU, that which panicked: others cost memory, and an INIT would reset the machine
# if one of them is that which booted it.
ARGUMENTS = ("nr_cpus=1", "no_timer_check", "loglevel=5")

# Once the shell says that it is ready, a line makes it panic. No page is allocated for
# that, since a pipe keeps the page of the line before: what QEMU dumps in between has
# the same page owners.
PANIC = "read -r _; echo ready; read -r _; echo c >/proc/sysrq-trigger"


def crash(
    kernel: kernels.Kernel | str,
    core: Path,
    *,
    workload: Path | None = None,
    raw: Path | None = None,
    level: int = ZERO_AND_FREE,
    timeout: float = 300,
    append: str = "",
    **options: Any,
) -> Dump:
    """
    Boot ``kernel``, run ``workload``, panic unless that does, and write the dump that
    the crash kernel made to ``core``. With ``raw``, keep what QEMU dumped just before
    the panic. ``timeout`` is for each of these steps, ``append`` and ``options`` are
    :class:`Guest`'s.
    """
    machine = Guest(kernel, append=f"{CRASHKERNEL} {append}", **options)
    kernels.install(["kexec-tools", "makedumpfile", "e2fsprogs"], say=machine.say)
    with machine:
        load(machine)
        if not (workload and panics(machine, workload, timeout=timeout)):
            panic(machine, raw, timeout=timeout)
        elif raw:
            raise LabError(
                "the workload panicked by itself, so there was no moment just before"
                " that for QEMU to dump."
            )
        fetch(machine, core, level=level, timeout=timeout)
    return Dump(machine.kernel, core, raw, None)


def load(machine: Guest) -> None:
    """
    Load the guest's kernel as its own crash kernel, with virtme-ng's command line: the
    guest's own arguments are for the one that crashes.
    """
    reserved, *booted = (
        machine.run(["cat", "/sys/kernel/kexec_crash_size", "/proc/cmdline"])
        .check()
        .text.split()
    )
    if reserved == "0":
        raise LabError(
            "the guest has no memory in one piece for its crash kernel: it needs more"
            " memory, or a smaller crashkernel=."
        )
    line = [argument for argument in booted if argument not in machine.append]
    done = machine.run(
        [
            "kexec",
            "--load-panic",
            "--kexec-syscall",
            f"--append={' '.join([*line, *ARGUMENTS])}",
            *([f"--initrd={machine.initramfs}"] if machine.initramfs else []),
            machine.kernel.image,
        ]
    )
    if done.status:
        raise LabError(f"the crash kernel could not be loaded: {why(machine, done)}")


def panics(machine: Guest, workload: Path, *, timeout: float) -> bool:
    """
    Run ``workload``; whether that has panicked the guest, whose crash kernel is up
    then.
    """
    done = dump.run_workload(machine, workload, timeout=timeout)
    if done.crash_kernel:
        return True
    if done.failure:
        raise LabError(
            "the workload did not end, nor did a crash kernel come up:"
            f" {why(machine, done)}"
        )
    done.check()
    return False


def panic(machine: Guest, raw: Path | None, *, timeout: float) -> None:
    """
    Panic, and wait until the crash kernel's agent answers; with ``raw``, QEMU dumps the
    guest right before.
    """
    go, ready = os.pipe()

    def on_output(stream: str, data: bytes) -> None:
        if stream == "stdout":
            if raw:
                machine.say("dumping with QEMU")
                raw.parent.mkdir(parents=True, exist_ok=True)
                machine.qmp("dump-guest-memory", paging=False, protocol=f"file:{raw}")
            machine.say("panicking; the crash kernel boots")
            os.write(ready, b"\n")

    os.write(ready, b"\n")
    try:
        done = machine.run(
            ["sh", "-c", PANIC], stdin=go, on_output=on_output, timeout=timeout
        )
    finally:
        os.close(go)
        os.close(ready)
    if not done.crash_kernel:
        raise LabError(f"the crash kernel did not come up: {why(machine, done)}")
    if raw:
        dump.mend_program_headers(raw)


def fetch(machine: Guest, core: Path, *, level: int, timeout: float) -> None:
    """
    Let the crash kernel's makedumpfile write ``core`` without the pages that ``level``
    (see makedumpfile(8), -d) leaves out.
    """
    machine.say("dumping in the crash kernel")
    core.parent.mkdir(parents=True, exist_ok=True)
    core.unlink(missing_ok=True)
    command = [
        "makedumpfile",
        "-F",
        dump.FORMATS["kdump-zlib"],
        "-d",
        str(level),
        "--message-level",
        "4",
        "/proc/vmcore",
    ]
    errors: list[bytes] = []

    def on_output(stream: str, data: bytes) -> None:
        flat.write(data) if stream == "stdout" else errors.append(data)

    with tempfile.TemporaryFile(dir=core.parent) as flat:
        done = machine.run(command, timeout=timeout, on_output=on_output)
        if done.status:
            raise LabError(
                "makedumpfile failed in the crash kernel:"
                f" {why(machine, done, b''.join(errors))}"
            )
        flat.seek(0)
        run = subprocess.run(
            ["makedumpfile", "-R", str(core)],
            stdin=flat,
            capture_output=True,
            text=True,
            check=False,
        )
    if run.returncode:
        core.unlink(missing_ok=True)
        raise LabError(
            f"makedumpfile failed: {(run.stderr + run.stdout).strip()[-500:]}"
        )


def why(machine: Guest, done: CompletedGuest, errors: bytes = b"") -> str:
    """What stopped a command, and the end of the console."""
    if done.status == guest.CRASHED and done.failure:
        return done.failure  # tells the console's end
    said = (done.stderr or errors).decode(errors="replace").strip()[-500:]
    return (
        f"{(done.failure or said or f'exit status {done.status}').rstrip('.')};"
        f" {machine.console_end()}"
    )

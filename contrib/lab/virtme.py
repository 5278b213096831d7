# SPDX-License-Identifier: GPL-2.0-or-later
"""
How QEMU is started with a kernel for x86-64 over this machine's own root file system:
by virtme-ng.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import kernels
import virtiofs
from booting import ROOT_FLAGS, Booting
from kernels import LabError
from stock import StockKernel

HERE = Path(__file__).resolve().parent
VIRTME_NG = "virtme-ng==1.42"

# Everything that QEMU can emulate; older models without five-level page tables and the
# like boot no faster. Without "rep movsb", which it emulates a byte at a time.
CPU = "max,-erms,-fsrm"

# What a guest may write to without writing to the host; /usr only where the mount point
# /lib/modules has to be made.
OVERLAYS = ("/etc", "/home", "/opt", "/root", "/srv", "/tmp", "/var")

# How the agent takes the place of virtme-ng's shell.
START = ("exec", "/usr/bin/python3", "-IS")


def command(booting: Booting) -> list[str]:
    """QEMU's command line."""
    kernel, rw = booting.kernel, booting.rw
    no_9p = isinstance(kernel, StockKernel) and kernel.no_9p
    overlays = [d for d in OVERLAYS if os.path.isdir(d)] + (
        [] if os.path.isdir("/lib/modules") else ["/usr"]
    )
    virtme = subprocess.run(
        [
            *(
                *virtme_run(say=booting.say),
                "--dry-run",
                "--show-command",
                "--script-sh",
                shlex.join([*START, str(booting.agent)]),
            ),
            *(
                *(
                    ("--kimg", str(kernel.image))
                    if isinstance(kernel, StockKernel)
                    else ("--kdir", str(kernel.directory))
                ),
                "--mods",
                "none",
                "--force-9p",
                "--name",
                "lab",
            ),
            *(
                "--memory",
                booting.memory,
                "--cpus",
                str(booting.cpus),
                *([] if booting.kvm else ["--disable-kvm"]),
            ),
            *(f"--overlay-rwdir={d}" for d in overlays),
            *(f"--rwdir={d}" for d in rw),
            f"--kopt=PATH={idle_commands()}",
            *("--kopt", f"virtme_link_mods={booting.modules}"),
            f"--kopt=rootflags={ROOT_FLAGS}",
            *(f"--kopt={a}" for a in booting.append),
            *(f"--kopt={a}" for a in (virtiofs.arguments(rw) if no_9p else ())),
        ],
        stdin=subprocess.DEVNULL,
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "TMPDIR": str(booting.scratch)},
    )
    if virtme.returncode:
        raise LabError(
            f"virtme-ng failed: {(virtme.stderr or virtme.stdout).strip()[-500:]}"
        )
    line = shlex.split(virtme.stdout.splitlines()[-1])
    try:
        line[line.index("file,id=console,path=/dev/null")] = (
            f"file,id=console,path={booting.scratch / 'console'}"
        )
    except ValueError:
        raise LabError(
            f"this virtme-ng makes another command line than {VIRTME_NG} does:"
            " install that one."
        ) from None
    if no_9p:
        line = virtiofs.command(
            line, memory=booting.memory, rw=rw, scratch=booting.scratch
        )
    return [
        *line,
        *([] if booting.kvm else ["-cpu", CPU]),
        *(
            ("-initrd", str(kernel.initramfs))
            if isinstance(kernel, StockKernel)
            else ()
        ),
    ]


def virtme_run(*, say: Callable[[str], None] = lambda _: None) -> list[str]:
    """
    How to start virtme-ng's ``virtme-run``: from the checkout, beside this Python, on
    PATH, else from the lab's own environment.
    """
    private = kernels.cache_root() / "venv"
    for directory in (
        HERE.parents[1] / ".venv/bin",
        Path(sys.executable).parent,
        *os.get_exec_path(),
        private / "bin",
    ):
        if os.access(script := Path(directory) / "virtme-run", os.X_OK):
            return [str(script)]
    kernels.install(["python3-venv"], say=say)
    say("installing virtme-ng into the lab's cache")
    install = subprocess.run(
        f"/usr/bin/python3 -m venv {private} && {private}/bin/pip install -q"
        f" {VIRTME_NG}",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )
    if install.returncode:
        raise LabError(
            "virtme-ng could not be installed:"
            f" {(install.stderr or install.stdout).strip().splitlines()[-1]}"
        )
    return [str(private / "bin/virtme-run")]


def idle_commands() -> Path:
    """
    A directory to be first in the init process's PATH, with commands that do nothing.

    virtme-ng's init would set up a whole system with these, which takes 2 to 20 seconds
    under emulation and is of no use here.
    """
    directory = kernels.cache_root() / "idle"
    directory.mkdir(parents=True, exist_ok=True)
    for name in ("systemd-tmpfiles", "udevadm"):
        if not (directory / name).is_symlink():
            (directory / name).symlink_to(shutil.which("true") or "/bin/true")
    return directory

# SPDX-License-Identifier: GPL-2.0-or-later
"""
Take dumps of guests of the lab, as a crashed machine would leave them, and keep beside
them what the guest said of itself.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import kernels
import modules
from completed_guest import CompletedGuest
from guest import Guest, LabError
from kernels import ARM64, Kernel
from stock import StockKernel

# makedumpfile's option for each format.
FORMATS = {"kdump-zlib": "-c", "kdump-lzo": "-l", "kdump-zstd": "-z", "elf": "-E"}

# makedumpfile's level that leaves out zero and free pages. More would be more like the
# field, but makedumpfile 1.7.2 takes some slab pages of 6.12 and later for page cache
# (PG_slab is no flag any more), so that a level of 31 loses a few inodes and tasks.
ZERO_AND_FREE = 17

# What the guest is asked before it is stopped; page_owner last, so that it is nearest
# to the dump.
ORACLE = {
    "dmesg": ["dmesg"],
    "pagetypeinfo": ["cat", "/proc/pagetypeinfo"],
    "zoneinfo": ["cat", "/proc/zoneinfo"],
    "meminfo": ["cat", "/proc/meminfo"],
    "modules": ["cat", "/proc/modules"],
    "kallsyms": ["cat", "/proc/kallsyms"],
    "pagedbg_blocks": ["cat", "/proc/pagedbg_blocks"],
    "page_owner": ["cat", "/sys/kernel/debug/page_owner"],
    "buddyinfo": ["cat", "/proc/buddyinfo"],
}


@dataclasses.dataclass(frozen=True)
class Dump:
    """
    A dump's ``core``, its unfiltered ``raw`` ELF and directory of ``oracle`` texts if
    they were asked for, and its kernel.
    """

    kernel: Kernel
    core: Path
    raw: Path | None
    oracle: Path | None


def dump(
    machine: Guest,
    core: Path,
    *,
    workload: Path | None = None,
    env: Mapping[str, str] | None = None,
    oracle: Path | None = None,
    raw: Path | None = None,
    format: str | None = None,
    level: int = ZERO_AND_FREE,
    timeout: float = 300,
) -> Dump:
    """
    Run ``workload`` in a started ``machine``, stop that for good, and write a dump
    without the pages that ``level`` leaves out.

    The workload's environment has the paths of the modules that it may load, and
    ``env``. It may end in a panic if the machine is one to keep then; nobody can be
    asked any more, and of ``oracle`` there is the console alone. Of an arm64 guest,
    the dump is the ELF with all pages.
    """
    foreign = machine.kernel.arch == ARM64
    format = format or ("elf" if foreign else "kdump-zlib")
    if foreign and format != "elf":
        raise LabError(
            "this machine's makedumpfile knows no arm64, and kdump files that QEMU"
            " writes of it cannot be read: --format elf, or lab crash."
        )
    kernels.install(["makedumpfile", "e2fsprogs"], say=machine.say)
    if workload:
        done = run_workload(machine, workload, env=env, timeout=timeout)
        if not machine.halted:
            done.check()
    if oracle:
        machine.say("asking the guest about itself")
        oracle.mkdir(parents=True, exist_ok=True)
        if workload:
            (oracle / "workload").write_bytes(done.stdout + done.stderr)
        if machine.halted:
            (oracle / "console").write_text(machine.console())
        for name, command in () if machine.halted else ORACLE.items():
            answer = machine.run(command, timeout=timeout)
            if answer.failure:
                answer.check()
            if answer.status == 0:
                (oracle / name).write_bytes(answer.stdout)
    core.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=core.parent, prefix=".dump-") as scratch:
        elf = Path(scratch) / "raw"
        machine.say("dumping")
        machine.qmp("stop")
        machine.qmp("dump-guest-memory", paging=False, protocol=f"file:{elf}")
        machine.stop()
        mend_program_headers(elf)
        if foreign:
            shutil.copyfile(elf, core)
        else:
            filter_dump(elf, core, format=format, level=level)
        if raw:
            raw.parent.mkdir(parents=True, exist_ok=True)
            os.replace(elf, raw)
    return Dump(machine.kernel, core, raw, oracle)


def run_workload(
    machine: Guest,
    script: Path,
    *,
    env: Mapping[str, str] | None = None,
    timeout: float,
) -> CompletedGuest:
    """
    Run a shell script as root, which finds in its environment the paths of the modules
    that it may load, unless the kernel is one of Debian's own, and ``env``.
    """
    machine.say(f"running {script.name}")
    builders = {
        "BLOCKS": modules.blocks_module,
        "CHURN": modules.churn_module,
        "LEAKY": modules.leaky_module,
        "METER": modules.meter_module,
        "CAMERA": modules.camera_module,
        "REQUEST": modules.request_module,
    }
    paths = {
        f"LAB_{name}": str(build(machine.kernel))
        for name, build in builders.items()
        if not isinstance(machine.kernel, StockKernel)
    }
    return machine.run(
        ["sh", script.resolve()], env={**paths, **(env or {})}, timeout=timeout
    )


def mend_program_headers(elf: Path) -> None:
    """
    Move the program headers to where makedumpfile expects them.

    QEMU writes section headers at offset 64, right behind the ELF header, and program
    headers after them; makedumpfile reads program headers at 64 whatever e_phoff says.
    Nobody needs the sections.
    """
    elf.chmod(0o600)  # QEMU leaves it read-only
    with elf.open("r+b") as file:
        header = bytearray(file.read(64))
        (offset,) = struct.unpack_from("<Q", header, 32)  # e_phoff
        size, count = struct.unpack_from("<HH", header, 54)  # e_phentsize, e_phnum
        file.seek(offset)
        programs = file.read(size * count)
        struct.pack_into("<QQ", header, 32, 64, 0)  # e_phoff, e_shoff
        struct.pack_into("<HH", header, 60, 0, 0)  # e_shnum, e_shstrndx
        file.seek(0)
        file.write(header + programs)


def filter_dump(
    elf: Path, core: Path, *, format: str = "kdump-zlib", level: int = ZERO_AND_FREE
) -> None:
    """
    Let makedumpfile write ``core`` from ``elf`` without the pages that ``level`` (see
    makedumpfile(8), -d) leaves out.
    """
    core.unlink(missing_ok=True)
    command = ["makedumpfile", FORMATS[format], "-d", str(level), str(elf), str(core)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        raise LabError(
            f"makedumpfile failed: {(run.stderr + run.stdout).strip()[-500:]}"
        )

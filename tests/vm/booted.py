# SPDX-License-Identifier: GPL-2.0-or-later
"""What a booted kernel said, and the lab's own modules; in a module of its own, since tests cannot import from one of several ``conftest.py``."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

from debugfs_text import Record

from pagedbg.capture import kmod_build

LAB = Path(__file__).parents[2] / "contrib" / "lab"
sys.path.insert(0, str(LAB))

import crash  # noqa: E402
import dump  # noqa: E402
import guest  # noqa: E402
import kernels  # noqa: E402

__all__ = ("KERNELS", "LAB", "PAGEDBG", "PATIENCE", "Answer", "Live", "crash", "dump", "guest", "kernels", "pagedbg", "pagedbg_module")

PAGEDBG = Path(sys.executable).parent / "pagedbg"
KERNELS = ("6.1", "6.12", "newest")

# Much longer than it takes on two idle cores: the machine may be building something else.
PATIENCE = 900


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a command printed, and how it ended."""

    status: int
    stdout: str
    stderr: str


@dataclasses.dataclass(frozen=True)
class Live:
    """
    What pagedbg and the kernel said in one guest.

    ``owners`` are pagedbg's rows by pfn, ``records`` the kernel's own text, ``blocks`` what the test module says it holds:
    ``{name: (order, pfn, pages)}``. ``kmsg`` is the kernel's log as the kernel reads it, ``core`` is the dump that the guest ended as.
    """

    kernel: kernels.Kernel
    owners: dict[int, dict[str, Any]]
    records: list[Record]
    blocks: dict[str, tuple[int, int, int]]
    inspected: dict[int, dict[str, Any]]
    kmsg: str
    answers: dict[str, Answer]
    core: Path


def pagedbg_module(kernel: kernels.Kernel) -> Path:
    """``pagedbg.ko`` for a kernel of the lab, in the cache, where pagedbg in a guest finds it."""
    return kmod_build.build((kernel.directory / "include/config/kernel.release").read_text().strip(), kernel.directory)


def pagedbg(*arguments: str | Path) -> Answer:
    """Run pagedbg on this machine."""
    run = subprocess.run([PAGEDBG, *arguments], capture_output=True, text=True, check=False, timeout=PATIENCE)
    return Answer(run.returncode, run.stdout, run.stderr)

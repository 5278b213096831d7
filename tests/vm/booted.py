# SPDX-License-Identifier: GPL-2.0-or-later
"""
Guests as tests use them, and what is built for them; in a module of its own, since
tests cannot import from one of several ``conftest.py``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import forkserver
from debugfs_text import Record
from polluted import Piece

LAB = Path(__file__).parents[2] / "contrib" / "lab"
sys.path.insert(0, str(LAB))

import crash  # noqa: E402
import dump  # noqa: E402
import kernels  # noqa: E402
import modules  # noqa: E402
import prebuilt  # noqa: E402
from completed_guest import CompletedGuest  # noqa: E402
from guest import Guest  # noqa: E402

__all__ = (
    "ATTACHED",
    "CONSOLES",
    "KERNELS",
    "LAB",
    "NO_BCC",
    "OUT",
    "PAGEDBG",
    "PATIENCE",
    "Answer",
    "Guest",
    "Live",
    "Machine",
    "boot",
    "crash_in",
    "dump",
    "give_back",
    "kernels",
    "modules",
    "pagedbg",
)

PAGEDBG = Path(sys.executable).parent / "pagedbg"
"""The program, which takes seconds to start in a guest."""

KERNELS = ("6.1", "6.12", "newest")

# What a command may take: much longer than it does on two idle cores, since the machine
# may be busy with something else.
PATIENCE = 600

OUT = Path("/run/out")
"""
A directory in a guest's own memory. Captures are recorded there and not on this
machine's files: Linux 6.12 reads a file that is replaced meanwhile again and again for
ever when it is on 9p.
"""

ATTACHED = (
    "cat /sys/kernel/tracing/enabled_functions /sys/kernel/debug/kprobes/list"
    " | grep -cE 'page_owner|  [kr]  '"
)
"""
How many functions, and places in them, have something of ours attached: what does not
ride on ftrace is a kprobe.
"""

NO_BCC = "mount --bind /dev/null $(readlink -f /usr/lib/x86_64-linux-gnu/libbcc.so.0)"
"""Has bcc not be found from then on."""

CONSOLES = kernels.cache_root() / "consoles"
"""What each guest's kernel wrote to its console the last time."""


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

    ``owners`` are pagedbg's rows by pfn, ``records`` the kernel's own text, ``blocks``
    what the test module says it holds: ``{name: (order, pfn, pages)}``. ``pieces`` are
    what keeps known pageblocks from being free, ``busy`` the pages that a pipe has
    references to. ``kmsg`` is the kernel's log as the kernel reads it, ``core`` is the
    dump that the guest ended as.
    """

    kernel: kernels.Kernel
    owners: dict[int, dict[str, Any]]
    records: list[Record]
    blocks: dict[str, tuple[int, int, int]]
    inspected: dict[int, dict[str, Any]]
    pieces: list[Piece]
    busy: set[int]
    kmsg: str
    answers: dict[str, Answer]
    core: Path


class Machine:
    """
    A guest that has booted. What runs in it finds what was built here for its kernel
    (:mod:`prebuilt`).
    """

    def __init__(self, booted: Guest) -> None:
        self.guest = booted
        self.kernel = booted.kernel

    def run(
        self,
        argv: Sequence[str | os.PathLike[str]],
        *,
        env: Mapping[str, str] | None = None,
        **more: Any,
    ) -> CompletedGuest:
        """Run a command, for so long at most."""
        return self.guest.run(
            argv,
            env={"XDG_CACHE_HOME": str(prebuilt.CACHE), **(env or {})},
            **{"timeout": PATIENCE, **more},
        )

    def sh(self, script: str, **more: Any) -> str:
        """Run a shell script, which must not fail, and return what it prints."""
        return str(self.run(["sh", "-c", script], **more).check().text)

    def write(self, path: Path, text: str) -> None:
        """Write a file there."""
        self.run(["tee", path], stdin=text.encode()).check()

    def load_churn(self) -> None:
        """Load the module that allocates and frees on demand."""
        self.run(["insmod", modules.churn_module(self.kernel)]).check()

    def serve(self, *modules: str) -> None:
        """
        Have the programs in :func:`forkserver.programs` run here. To start their server
        takes as long as to start pagedbg three times, less if only ``modules`` are
        wanted of it.
        """
        socket = shlex.quote(str(forkserver.programs() / "socket"))
        server = shlex.join([sys.executable, "-I", str(forkserver.SERVER)])
        # The file of this machine's own server is seen in the guest.
        self.sh(f"""
            rm -f {socket}
            {{ sleep infinity | setsid {server} {socket} {shlex.join(modules)}; }} >/tmp/forkserver 2>&1 </dev/null &
            until [ -e {socket} ]; do kill -0 $! || {{ cat /tmp/forkserver >&2; exit 1; }}; sleep 0.1; done
        """)  # noqa: E501


def _prepared(kernel: str, name: str) -> tuple[kernels.Kernel, Path]:
    """
    A kernel with all that its guests may want, and where the console is kept of the one
    for the tests called ``name``.
    """
    found = kernels.build(kernel, say=print)
    prebuilt.prepare(found)
    CONSOLES.mkdir(parents=True, exist_ok=True)
    return found, CONSOLES / f"{name}-{kernel}"


@contextlib.contextmanager
def boot(
    kernel: str, name: str, *, out: Path | None = None, **options: Any
) -> Iterator[Machine]:
    """
    Boot a kernel for the tests called ``name``, under which its console is kept. What
    is in :data:`OUT` at the end is copied to ``out``. ``options`` are those of
    :class:`Guest`.
    """
    found, console = _prepared(kernel, name)
    if out:
        options["rw"] = [out]
    with Guest(found, console=console, **options) as booted:
        machine = Machine(booted)
        machine.sh(f"mkdir {OUT}")
        yield machine
        if out:
            machine.run(["cp", "-r", f"{OUT}/.", out]).check()


def give_back(machine: Guest, memory: int, pages: int) -> None:
    """
    Have a guest with a virtio balloon put pages into it, and wait until it has.

    :param memory: how many bytes it has
    """
    wanted = memory - 4096 * pages
    machine.qmp("balloon", value=wanted)
    while machine.qmp("query-balloon")["actual"] != wanted:
        time.sleep(0.1)


def crash_in(kernel: str, name: str, out: Path, script: str, **options: Any) -> None:
    """
    Boot a kernel as :func:`boot` does, run a workload that finds ``$PAGEDBG`` and
    ``$OUT``, which it may write to, and panic: ``out / "vmcore"`` is the dump.
    ``options`` are those of :func:`crash.crash`.
    """
    found, console = _prepared(kernel, name)
    where = {"OUT": out, "PAGEDBG": PAGEDBG, "XDG_CACHE_HOME": prebuilt.CACHE}
    workload = out / "workload.sh"
    workload.write_text(
        "".join(
            f"export {name}={shlex.quote(str(path))}\n" for name, path in where.items()
        )
        + script
    )
    crash.crash(
        found,
        out / "vmcore",
        workload=workload,
        timeout=PATIENCE,
        rw=[out],
        console=console,
        **options,
    )


def pagedbg(*arguments: str | Path) -> Answer:
    """Run pagedbg on this machine."""
    run = subprocess.run(
        [forkserver.pagedbg(), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    return Answer(run.returncode, run.stdout, run.stderr)

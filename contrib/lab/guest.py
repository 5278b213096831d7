# SPDX-License-Identifier: GPL-2.0-or-later
"""
Run commands inside a booted kernel of the lab.

    completed = guest.run("6.12", ["uname", "-r"])

boots, runs and stops. Who has more to ask of one guest keeps it::

    with guest.Guest("6.12", memory="256M") as machine:
        machine.run(["insmod", modules.blocks_module(machine.kernel)]).check()
        print(machine.run(["cat", "/proc/pagedbg_blocks"]).stdout.decode())

The guest's root file system is this machine's, by way of virtme-ng. What it writes is
lost with it, but for the directories given as ``rw``. Commands run through
:mod:`agent`, which is started in the guest and talks over a virtio-serial port.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import arm64
import kernels
import virtme
from agent import CHUNK, PORT, pack_request
from agent_channel import Channel
from booting import Booting
from completed_guest import CompletedGuest
from kernels import ARM64, Kernel, LabError
from modules import modules_directory
from qmp import Qmp
from stock import StockKernel
from terminal import resizing, terminal_size

HERE = Path(__file__).resolve().parent
TIMED_OUT, CRASHED = 124, 125

# Seconds until the agent has to answer; a loaded machine may take ten times what an
# idle one does.
BOOT_LIMIT = 300.0

# What QEMU 7.2 gets wrong of AVX2 leaves every fourth array out of order that NumPy
# sorts with it, by whichever name it knows it. (A CPU that has none is no way out:
# DuckDB does not ask before it uses it.)
EMULATED = {"NPY_DISABLE_CPU_FEATURES": "AVX2 X86_V3"}

# The guest's CPUs by turns in one thread. Each in a thread of its own may still execute
# the breakpoint by which the kernel patches a function when the kernel has removed it,
# waited for all CPUs and forgotten it: "Oops: int3" where there is no int3, seen with
# QEMU 7.2 under BPF trampolines.
ACCEL = ("-accel", "tcg,thread=single")

# How often QEMU is asked, in seconds, whether a guest has panicked that is to be kept
# then: it does not end.
GLANCE = 1.0

# Of the caller's environment, what a command in the guest is given.
ENVIRONMENT = (
    "COLORTERM",
    "HOME",
    "LANG",
    "LC_ALL",
    "NO_COLOR",
    "PAGER",
    "PATH",
    "TERM",
)

Output = Callable[[str, bytes], None]


def run(
    kernel: Kernel | str,
    argv: Sequence[str | os.PathLike[str]],
    *,
    cwd: str | os.PathLike[str] | None = None,
    env: dict[str, str] | None = None,
    stdin: bytes | int | None = None,
    timeout: float | None = 120,
    on_output: Output | None = None,
    tty: bool = False,
    **options: Any,
) -> CompletedGuest:
    """
    Boot ``kernel``, run ``argv`` in it as root, stop it. ``options`` are
    :class:`Guest`'s; ``timeout`` includes the boot.
    """
    begun = time.monotonic()
    machine = Guest(kernel, **options)
    try:
        machine.start(timeout=timeout)
        left = None if timeout is None else max(timeout - (time.monotonic() - begun), 0)
        return machine.run(
            argv,
            cwd=cwd,
            env=env,
            stdin=stdin,
            timeout=left,
            on_output=on_output,
            tty=tty,
        )
    except GuestGone as gone:
        return CompletedGuest(
            [os.fspath(a) for a in argv],
            b"",
            b"",
            gone.status,
            machine.console(),
            str(gone),
        )
    finally:
        machine.stop()


class GuestGone(LabError):
    """
    The guest does not answer any more; ``status`` says whether by time (124) or by a
    crash (125).
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Guest:
    """
    A kernel of the lab, running in QEMU. Use as a context manager, or :meth:`start` and
    :meth:`stop`.
    """

    def __init__(
        self,
        kernel: Kernel | str,
        *,
        memory: str = "1G",
        cpus: int = 2,
        append: str = "",
        page_owner: bool = True,
        vmcoreinfo: bool = True,
        rw: Iterable[str | os.PathLike[str]] = (),
        kvm: bool = False,
        keep: bool = False,
        qemu_opts: Sequence[str] = (),
        console: str | os.PathLike[str] | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.kernel = (
            kernels.build(kernel, say=say) if isinstance(kernel, str) else kernel
        )
        if kvm and self.kernel.arch == ARM64:
            arm64.refuse_kvm()
        self.memory, self.cpus, self.kvm = memory, cpus, kvm
        self.vmcoreinfo = vmcoreinfo
        # A kernel that has oopsed is not worth a test's trust: it stops there, and QEMU
        # with it (virtme-ng gives panic=-1). Emulated on a busy machine, the timer may
        # miss the check that it works, over which the kernel would panic.
        self.append = [
            *(["page_owner=on"] if page_owner else []),
            *(["no_timer_check"] if self.kernel.arch != ARM64 else []),
            "oops=panic",
            "loglevel=5",
            *shlex.split(append),
        ]
        self.rw = [os.path.realpath(d) for d in rw]
        for directory in self.rw:
            if not os.path.isdir(directory):
                raise LabError(
                    f"{directory} is no directory, so the guest cannot be given it."
                )
        # A reset ends QEMU (virtme-ng gives -no-reboot), or with this stops the guest
        # as it is: its memory can still be dumped.
        self.qemu_opts = [*(["-no-shutdown"] if keep else []), *qemu_opts]
        self.keep = keep
        self.console_copy = Path(console) if console else None
        self.say = say
        self._process: subprocess.Popen[bytes] | None = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._channel: Channel | None = None
        self._qmp: Qmp | None = None
        self._console = ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # ---- life ----

    def start(self, timeout: float | None = None) -> None:
        """Boot, and return once commands can be run."""
        deadline = time.monotonic() + (
            BOOT_LIMIT if timeout is None else min(timeout, BOOT_LIMIT)
        )
        self._scratch = tempfile.TemporaryDirectory(prefix="pagedbg-lab-")
        try:
            with (
                listener(self._path("channel")) as channel,
                listener(self._path("qmp")) as qmp,
            ):
                if self.kernel.arch == ARM64:
                    arm64.need_qemu(say=self.say)
                elif not shutil.which("qemu-system-x86_64"):
                    kernels.install(["qemu-system-x86"], say=self.say)
                command = self._command()
                with open(self._path("qemu.log"), "ab") as log:
                    # setpriv: QEMU must not outlive us even if we are killed with
                    # SIGKILL.
                    self._process = subprocess.Popen(
                        ["setpriv", "--pdeathsig", "KILL", "--", *command],
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.DEVNULL,
                        stderr=log,
                        start_new_session=True,
                    )
                self._qmp = Qmp(self._accept(qmp, deadline))
                self._channel = Channel(self._accept(channel, deadline))
            self._await_agent(deadline)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the guest at once, whatever it does, and remove its traces."""
        if self._process:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        for connection in (self._channel, self._qmp):
            if connection:
                connection.close()
        self._console = self.console()
        if self.console_copy:
            self.console_copy.write_text(self._console)
        if self._scratch:
            self._scratch.cleanup()
        self._process = self._channel = self._qmp = self._scratch = None

    def console(self) -> str:
        """What the kernel has written to its serial console."""
        if self._scratch:
            with contextlib.suppress(FileNotFoundError):
                return (
                    Path(self._path("console"))
                    .read_bytes()
                    .decode(errors="replace")
                    .replace("\r", "")
                )
        return self._console

    def console_end(self) -> str:
        """Its last lines, as the end of a sentence."""
        lines = [line for line in self.console().splitlines() if line.strip()]
        return "\n".join(["its console ended:", *lines[-40:]])

    @property
    def initramfs(self) -> Path | None:
        """What the kernel boots with until it has its root file system."""
        if self.kernel.arch == ARM64:
            return Path(self._path("initramfs"))
        if isinstance(self.kernel, StockKernel):
            return self.kernel.initramfs
        return None

    def _path(self, name: str) -> str:
        assert self._scratch
        return os.path.join(self._scratch.name, name)

    def _accept(self, server: socket.socket, deadline: float) -> socket.socket:
        """QEMU's end of a socket; it connects before it starts the guest."""
        assert self._process
        server.settimeout(0.1)
        while time.monotonic() < deadline:
            with contextlib.suppress(TimeoutError):
                return server.accept()[0]
            if self._process.poll() is not None:
                said = Path(self._path("qemu.log")).read_text(errors="replace")
                raise LabError(f"QEMU did not start: {said.strip()[-500:]}")
        raise GuestGone(TIMED_OUT, "QEMU did not start within the time limit.")

    def _await_agent(self, deadline: float) -> None:
        assert self._channel
        for kind, _ in self._frames(self._channel, deadline):
            if kind == b"r":
                return

    def _frames(
        self, channel: Channel, deadline: float | None
    ) -> Iterator[tuple[bytes, bytes]]:
        """Frames from the agent, until :class:`GuestGone` ends it."""
        while True:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                self.stop()
                raise GuestGone(
                    TIMED_OUT, f"the time limit has passed; {self.console_end()}"
                )
            limits = [
                limit
                for limit in (left, GLANCE if self.keep else None)
                if limit is not None
            ]
            yield from channel.exchange(min(limits, default=None))
            if channel.closed:
                raise self._crashed()
            if self.keep and self.halted:
                raise GuestGone(CRASHED, "the guest's kernel panicked.")

    @property
    def halted(self) -> bool:
        """
        Whether the guest stands still as its kernel's panic has left it: one that is to
        be kept.
        """
        return bool(self._qmp) and self.qmp("query-status")["status"] == "shutdown"

    def _crashed(self) -> GuestGone:
        """Stop what is left of the guest and tell from its console what happened."""
        said = Path(self._path("qemu.log")).read_text(errors="replace").strip()
        self.stop()
        what = (
            "the guest's kernel crashed"
            if "Kernel panic" in self._console
            else "the guest ended before the command did"
        )
        return GuestGone(
            CRASHED,
            f"{what};"
            f" {f'QEMU said: {said[-500:]}; ' if said else ''}{self.console_end()}",
        )

    def _command(self) -> list[str]:
        """QEMU's command line, with our channel and monitor in it."""
        make = arm64.command if self.kernel.arch == ARM64 else virtme.command
        booting = Booting(
            self.kernel,
            memory=self.memory,
            cpus=self.cpus,
            append=self.append,
            rw=self.rw,
            modules=modules_directory(self.kernel),
            agent=HERE / "agent.py",
            scratch=Path(self._path("")),
            kvm=self.kvm,
            say=self.say,
        )
        return [
            *make(booting),
            *([] if self.kvm else ACCEL),
            *(
                "-device",
                "virtio-serial-pci",
                "-device",
                f"virtserialport,name={PORT},chardev=lab",
            ),
            *("-chardev", f"socket,id=lab,path={self._path('channel')}"),
            *(
                "-chardev",
                f"socket,id=qmp,path={self._path('qmp')}",
                "-mon",
                "chardev=qmp,mode=control",
            ),
            *(("-device", "vmcoreinfo") if self.vmcoreinfo else ()),
            *self.qemu_opts,
        ]

    # ---- use ----

    def run(
        self,
        argv: Sequence[str | os.PathLike[str]],
        *,
        cwd: str | os.PathLike[str] | None = None,
        env: dict[str, str] | None = None,
        stdin: bytes | int | None = None,
        timeout: float | None = 120,
        on_output: Output | None = None,
        tty: bool = False,
    ) -> CompletedGuest:
        """
        Run ``argv`` as root in ``cwd`` (default: the caller's) and wait for it.

        ``stdin`` is what the command reads, or a descriptor to read that from. With
        ``on_output``, output is handed to it as it comes (``"stdout"`` or ``"stderr"``,
        bytes) instead of being kept. With ``tty``, the command has a terminal, as large
        as ours, whose keyboard is ``stdin``. Past ``timeout`` seconds, or if the kernel
        crashes, the guest is stopped and the status is 124 or 125. A guest that panics
        lives on where a crash kernel was loaded; one that was made with ``keep`` stands
        still, to be dumped.
        """
        if not self._channel:
            raise LabError("this guest is not running.")
        arguments = [os.fspath(a) for a in argv]
        kept: dict[str, list[bytes]] = {"stdout": [], "stderr": []}
        keep = on_output or (lambda stream, data: kept[stream].append(data))
        status, failure, crash_kernel = 0, None, False
        ours = {k: v for k in ENVIRONMENT if (v := os.environ.get(k)) is not None}
        if self.kernel.arch == ARM64:
            ours["PATH"] = arm64.PATH
        environment = {**({} if self.kvm else EMULATED), **ours, **(env or {})}
        size = terminal_size() if tty else ()
        self._channel.send(
            b"c",
            pack_request(
                arguments, os.path.abspath(cwd or os.getcwd()), environment, size
            ),
        )
        if isinstance(stdin, int):
            self._channel.stdin = stdin
        else:
            for start in range(0, len(stdin or b""), CHUNK):
                self._channel.send(b"i", stdin[start : start + CHUNK])  # type: ignore[index]
            self._channel.send(b"i")
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            with resizing(self._channel) if tty else contextlib.nullcontext():
                for kind, data in self._frames(self._channel, deadline):
                    if kind == b"x":
                        status = int(data)
                        break
                    if kind == b"r":
                        status, failure, crash_kernel = (
                            CRASHED,
                            (
                                "the guest's kernel crashed, and its crash kernel has"
                                " come up."
                            ),
                            True,
                        )
                        break
                    keep("stderr" if kind == b"e" else "stdout", data)
        except GuestGone as gone:
            status, failure = gone.status, str(gone)
        finally:
            if self._channel:
                self._channel.stdin = None
        output = b"".join(kept["stdout"]), b"".join(kept["stderr"])
        return CompletedGuest(
            arguments, *output, status, self.console(), failure, crash_kernel
        )

    def qmp(self, command: str, **arguments: Any) -> Any:
        """
        Ask QEMU's monitor, for example ``qmp("stop")``; underscores in arguments' names
        stand for hyphens.
        """
        if not self._qmp:
            raise LabError("this guest is not running.")
        return self._qmp.execute(
            command, {k.replace("_", "-"): v for k, v in arguments.items()}
        )


@contextlib.contextmanager
def listener(path: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen(1)
        yield server

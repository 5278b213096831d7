# SPDX-License-Identifier: GPL-2.0-or-later
"""
Run commands inside a booted kernel of the lab.

    completed = guest.run("6.12", ["uname", "-r"])

boots, runs and stops. Who has more to ask of one guest keeps it::

    with guest.Guest("6.12", memory="256M") as machine:
        machine.run(["insmod", guest.blocks_module(machine.kernel)]).check()
        print(machine.run(["cat", "/proc/pagedbg_blocks"]).stdout.decode())

The guest's root file system is this machine's, by way of virtme-ng. What it writes is
lost with it, but for the directories given as ``rw``. Commands run through
:mod:`agent`, which is started in the guest and talks over a virtio-serial port.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import time
import tty
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import arm64
import kernels
from agent import CHUNK, HEADER, PORT, pack_request
from kernels import ARM64, Kernel, LabError
from stock import StockKernel

HERE = Path(__file__).resolve().parent
VIRTME_NG = "virtme-ng==1.42"
TIMED_OUT, CRASHED = 124, 125

# Seconds until the agent has to answer; a loaded machine may take ten times what an
# idle one does.
BOOT_LIMIT = 300.0

# Everything that QEMU can emulate; older models without five-level page tables and the
# like boot no faster. Without "rep movsb", which it emulates a byte at a time.
CPU = "max,-erms,-fsrm"

# What QEMU 7.2 gets wrong of AVX2 leaves every fourth array out of order that NumPy
# sorts with it, by whichever name it knows it. (A CPU that has none is no way out:
# DuckDB does not ask before it uses it.)
EMULATED = {"NPY_DISABLE_CPU_FEATURES": "AVX2 X86_V3"}

# The guest's CPUs by turns in one thread. Each in a thread of its own may still execute
# the breakpoint by which the kernel patches a function when the kernel has removed it,
# waited for all CPUs and forgotten it: "Oops: int3" where there is no int3, seen with
# QEMU 7.2 under BPF trampolines.
ACCEL = ("-accel", "tcg,thread=single")

# How the guest mounts this machine's files: it keeps what it has read, so that starting
# Python a second time takes a fraction. What changes here while it runs, it does not
# see; directories given as `rw` are mounted apart from this.
ROOT_FLAGS = "version=9p2000.L,trans=virtio,access=any,msize=512000,cache=loose"

# What a guest may write to without writing to the host; /usr only where the mount point
# /lib/modules has to be made.
OVERLAYS = ("/etc", "/home", "/opt", "/root", "/srv", "/tmp", "/var")

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


@dataclasses.dataclass(frozen=True)
class CompletedGuest:
    """
    What came of a command: its output and exit status, what the serial console said so
    far, and why it failed if it was cut short. With ``crash_kernel`` that was by a
    panic, and the agent of the crash kernel answers now.
    """

    argv: list[str]
    stdout: bytes
    stderr: bytes
    status: int
    console: str
    failure: str | None = None
    crash_kernel: bool = False

    @property
    def text(self) -> str:
        return self.stdout.decode(errors="replace")

    def check(self) -> CompletedGuest:
        """Itself, or :class:`LabError` if the exit status was not 0."""
        if self.status:
            said = (
                self.failure
                or self.stderr.decode(errors="replace").strip()
                or self.text.strip()
            )
            raise LabError(
                f"{shlex.join(self.argv)} in the guest: exit status {self.status}:"
                f" {said[-2000:]}"
            )
        return self


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
        return [
            *(self._arm64() if self.kernel.arch == ARM64 else self._virtme()),
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

    def _arm64(self) -> list[str]:
        return arm64.command(
            self.kernel,
            memory=self.memory,
            cpus=self.cpus,
            append=self.append,
            rw=self.rw,
            root_flags=ROOT_FLAGS,
            modules=modules_directory(self.kernel),
            agent=HERE / "agent.py",
            scratch=Path(self._path("")),
            say=self.say,
        )

    def _virtme(self) -> list[str]:
        """virtme-ng's command line, with our console in it."""
        agent = ["exec", "/usr/bin/python3", "-IS", str(HERE / "agent.py")]
        overlays = [d for d in OVERLAYS if os.path.isdir(d)] + (
            [] if os.path.isdir("/lib/modules") else ["/usr"]
        )
        virtme = subprocess.run(
            [
                *(
                    *virtme_run(say=self.say),
                    "--dry-run",
                    "--show-command",
                    "--script-sh",
                    shlex.join(agent),
                ),
                *(
                    *(
                        ("--kimg", str(self.kernel.image))
                        if isinstance(self.kernel, StockKernel)
                        else ("--kdir", str(self.kernel.directory))
                    ),
                    "--mods",
                    "none",
                    "--force-9p",
                    "--name",
                    "lab",
                ),
                *(
                    "--memory",
                    self.memory,
                    "--cpus",
                    str(self.cpus),
                    *([] if self.kvm else ["--disable-kvm"]),
                ),
                *(f"--overlay-rwdir={d}" for d in overlays),
                *(f"--rwdir={d}" for d in self.rw),
                f"--kopt=PATH={idle_commands()}",
                *("--kopt", f"virtme_link_mods={modules_directory(self.kernel)}"),
                f"--kopt=rootflags={ROOT_FLAGS}",
                *(f"--kopt={a}" for a in self.append),
            ],
            stdin=subprocess.DEVNULL,
            check=False,
            capture_output=True,
            text=True,
            env={**os.environ, "TMPDIR": self._path("")},
        )
        if virtme.returncode:
            raise LabError(
                f"virtme-ng failed: {(virtme.stderr or virtme.stdout).strip()[-500:]}"
            )
        command = shlex.split(virtme.stdout.splitlines()[-1])
        try:
            command[command.index("file,id=console,path=/dev/null")] = (
                f"file,id=console,path={self._path('console')}"
            )
        except ValueError:
            raise LabError(
                f"this virtme-ng makes another command line than {VIRTME_NG} does:"
                " install that one."
            ) from None
        return [
            *command,
            *([] if self.kvm else ["-cpu", CPU]),
            *(
                ("-initrd", str(self.kernel.initramfs))
                if isinstance(self.kernel, StockKernel)
                else ()
            ),
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


class Channel:
    """
    Frames to and from the agent; writing never waits for the guest, so neither side can
    block the other.
    """

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self.connection = connection
        self.received = bytearray()
        self.unsent = bytearray()
        self.stdin: int | None = None  # a descriptor whose bytes go to the command
        self.closed = False

    def send(self, kind: bytes, data: bytes = b"") -> None:
        self.unsent += HEADER.pack(kind, len(data)) + data

    def close(self) -> None:
        self.closed = True
        self.connection.close()

    def exchange(self, timeout: float | None) -> list[tuple[bytes, bytes]]:
        """
        Wait until something can be moved, move it, and return the frames that are
        complete.
        """
        # One more chunk of the command's input only when the last has gone.
        source = [self.stdin] if self.stdin is not None and not self.unsent else []
        readable, writable, _ = select.select(
            [self.connection, *source],
            [self.connection] if self.unsent else [],
            [],
            timeout,
        )
        with contextlib.suppress(BlockingIOError):
            if writable:
                del self.unsent[: self.connection.send(self.unsent)]
        if self.stdin is not None and self.stdin in readable:
            self.send(b"i", data := os.read(self.stdin, CHUNK))
            self.stdin = self.stdin if data else None
        if self.connection in readable:
            try:
                data = self.connection.recv(1 << 20)
            except ConnectionError:
                data = b""
            self.closed = not data
            self.received += data
        return list(self._complete())

    def _complete(self) -> Iterator[tuple[bytes, bytes]]:
        while len(self.received) >= HEADER.size:
            kind, length = HEADER.unpack_from(self.received)
            end = HEADER.size + length
            if len(self.received) < end:
                return
            yield kind, bytes(self.received[HEADER.size : end])
            del self.received[:end]


class Qmp:
    """QEMU's monitor."""

    def __init__(self, connection: socket.socket) -> None:
        self.stream = connection.makefile("rwb")
        connection.close()
        self.stream.readline()  # the greeting
        self.execute("qmp_capabilities", {})

    def execute(self, command: str, arguments: dict[str, Any]) -> Any:
        self.stream.write(
            json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n"
        )
        self.stream.flush()
        while line := self.stream.readline():
            answer = json.loads(line)
            if "error" in answer:
                raise LabError(f"QEMU refused {command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]
        raise LabError(f"QEMU ended before it answered {command}.")

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.stream.close()


@contextlib.contextmanager
def listener(path: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen(1)
        yield server


# ---- the caller's terminal ----


def terminal_size() -> tuple[int, int]:
    """Rows and columns; of a terminal that does not know, 24 and 80."""
    size = shutil.get_terminal_size()
    return size.lines, size.columns


@contextlib.contextmanager
def resizing(channel: Channel) -> Iterator[None]:
    """Pass changes of our terminal's size on to the guest's."""

    def tell(*_: object) -> None:
        channel.send(b"w", b"%d %d" % terminal_size())

    before = signal.signal(signal.SIGWINCH, tell)
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)


@contextlib.contextmanager
def raw_terminal(fd: int) -> Iterator[None]:
    """
    Hand every key to the guest, whose terminal echoes and makes signals of them; and
    give ours back as it was.
    """
    before = termios.tcgetattr(fd)
    try:
        tty.setraw(fd)
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


# ---- what a guest needs of the host ----


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


def modules_directory(kernel: Kernel) -> Path:
    """
    What becomes ``/lib/modules/$(uname -r)`` in the guest: a directory with a link to
    the build directory; of Debian's own kernels, all of their modules, too.
    """
    if isinstance(kernel, StockKernel):
        return kernel.modules
    directory = kernels.cache_root() / "modules" / kernel.directory.name
    directory.mkdir(parents=True, exist_ok=True)
    link = directory / "build"
    if not link.is_symlink():
        link.symlink_to(kernel.directory)
    return directory


def blocks_module(kernel: Kernel) -> Path:
    """
    The test module ``pagedbg_blocks.ko`` for ``kernel``, built unless the cache has it.
    """
    return build_module(HERE / "blocks", kernel) / "pagedbg_blocks.ko"


def churn_module(kernel: Kernel) -> Path:
    """``pagedbg_churn.ko``, which allocates and frees on demand."""
    return build_module(HERE / "churn", kernel) / "pagedbg_churn.ko"


def request_module(kernel: Kernel) -> Path:
    """``pagedbg_request.ko``, which asks for pages on demand."""
    return build_module(HERE / "request", kernel) / "pagedbg_request.ko"


def leaky_module(kernel: Kernel) -> Path:
    """``leaky.ko``, a driver with a bug."""
    return build_module(HERE / "leaky", kernel) / "leaky.ko"


def pollute_module(kernel: Kernel) -> Path:
    """``pagedbg_pollute.ko``, which keeps known pageblocks from being free."""
    return build_module(HERE / "pollute", kernel) / "pagedbg_pollute.ko"


def holders_module(kernel: Kernel) -> Path:
    """
    ``pagedbg_holders.ko``, whose pages structures of the kernel name the holder of.
    """
    return build_module(HERE / "holders", kernel) / "pagedbg_holders.ko"


def meter_module(kernel: Kernel) -> Path:
    """``meter.ko``, a driver that keeps a page of each program."""
    return build_module(HERE / "order9", kernel) / "meter.ko"


def camera_module(kernel: Kernel) -> Path:
    """``camera.ko``, a driver that needs memory in large pieces."""
    return build_module(HERE / "order9", kernel) / "camera.ko"


def build_module(source: Path, kernel: Kernel) -> Path:
    """
    Build the module whose Kbuild is in ``source`` for ``kernel``, in a copy of its own;
    returns the copy.
    """
    files = sorted(
        p
        for p in source.iterdir()
        if p.suffix in (".c", ".h") or p.name in ("Kbuild", "Makefile")
    )
    return build_files(source.name, files, kernel)


def build_files(name: str, files: list[Path], kernel: Kernel) -> Path:
    """Build the module that some files are the source of; returns where."""
    key = hashlib.sha256(
        b"\0".join(p.name.encode() + b"\0" + p.read_bytes() for p in files)
    ).hexdigest()[:8]
    copy = kernels.cache_root() / "built" / f"{name}-{kernel.directory.name}-{key}"
    with kernels.locked(copy.parent / ".lock"):
        if not (copy / ".done").exists():
            compile_module(files, kernel, copy)
    return copy


def compile_module(files: list[Path], kernel: Kernel, copy: Path) -> None:
    """
    Build a module in ``copy``; ``.done`` is written last, so a build that was cut short
    is begun again.
    """
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir(parents=True)
    for path in files:
        shutil.copy2(path, copy)
    make = subprocess.run(
        ["make", "-C", str(kernel.build_directory), f"M={copy}", "modules"],
        env=kernel.make_environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if make.returncode:
        raise LabError(
            f"{copy.name} was not built for"
            f" {kernel.version}:\n{make.stderr.strip()[-2000:]}"
        )
    (copy / ".done").touch()

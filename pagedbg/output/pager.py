# SPDX-License-Identifier: GPL-2.0-or-later
"""
Where a command's output goes: straight out, through a pager if it overflows the
terminal, or through the user's own ``| ...``.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any, TextIO, cast

from pagedbg import progress, trust
from pagedbg.errors import PagedbgError
from pagedbg.output.interrupt import Interrupts
from pagedbg.output.printable import printed, raw

_LESS_OPTIONS = "SRXF"
"""
Long lines are scrolled to, not wrapped; colours stay; nothing is cleared; one screenful
does not stop.
"""


class PipelineError(PagedbgError):
    """
    The shell command behind ``|`` failed; a prompt need not repeat what that command
    has said itself.
    """


def _start(
    command: str, stdout: TextIO, environment: Mapping[str, str] = os.environ
) -> subprocess.Popen[str]:
    """Start a shell command that reads from us and writes where ``stdout`` goes."""
    stdout.flush()
    target: int | None = None
    with contextlib.suppress(OSError, io.UnsupportedOperation):
        target = stdout.fileno()
    env = {"LESS": _LESS_OPTIONS, **environment}
    return subprocess.Popen(
        command,
        shell=True,
        stdin=subprocess.PIPE,
        stdout=target,
        text=True,
        errors="backslashreplace",
        env=env,
    )


def _finish(process: subprocess.Popen[str], interrupts: Interrupts) -> int:
    """
    Close the pipe and return the exit status, however often Ctrl-C is pressed
    meanwhile.
    """
    interrupts.hold()
    with contextlib.suppress(BrokenPipeError):
        cast(IO[str], process.stdin).close()
    return process.wait()


@contextlib.contextmanager
def shown(pipeline: str | None, pager: str) -> Iterator[None]:
    """
    Send ``sys.stdout`` where a command's output goes for the time of a block, and have
    it printable.

    What goes through a shell command that the terminal belongs to will be seen there:
    ``| head`` lets all pass.

    :param pipeline: the shell command to send it through, if any
    :param pager: as of :func:`pager_command`
    """
    terminal = sys.stdout.isatty()
    way = piped(pipeline) if pipeline is not None else paged(pager)
    with way:
        out = sys.stdout
        if terminal and not isinstance(out, _Overflow):
            out = cast(TextIO, _Heralded(raw(out)))
        with contextlib.redirect_stdout(printed(out, terminal=terminal)):
            yield


class _Heralded:
    """A way to the terminal; what is written there ends what shows progress on it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        progress.quiet()
        return self._stream.write(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def piped(command: str) -> Iterator[None]:
    """
    Send ``sys.stdout`` through a shell command for the time of a block.

    A reader that leaves early (``| head``) ends the block quietly; one that fails is a
    :class:`PipelineError`.
    """
    with Interrupts() as interrupts:
        process = _start(command, sys.stdout)
        try:
            with (
                contextlib.redirect_stdout(process.stdin),
                contextlib.suppress(BrokenPipeError),
                interrupts.allowed(),
            ):
                yield
        finally:
            status = _finish(process, interrupts)
    if status:
        raise PipelineError(f"{command!r} ended with status {status}")


def pager_command(chosen: str = "on") -> str | None:
    """
    Return the user's pager, or None where there is none or the terminal cannot take
    one.

    :param chosen: a command; or ``on`` for ``$PAGER``, ``off`` for none
    """
    if chosen == "off" or os.environ.get("TERM", "dumb") == "dumb":
        return None
    if chosen != "on":
        return chosen
    pager = trust.chosen_environment().get("PAGER")
    if pager is None:
        return "less" if trust.program("less") else None
    return None if pager.strip() in ("", "cat") else pager


class _Overflow(io.TextIOBase):
    """A terminal that turns into a pager as soon as more is written than fits on it."""

    def __init__(self, terminal: TextIO, pager: str, interrupts: Interrupts) -> None:
        self._terminal = terminal
        self._pager = pager
        self._interrupts = interrupts
        self._size = shutil.get_terminal_size()
        self._held: list[str] = []
        self._lines = 0
        self._process: subprocess.Popen[str] | None = None

    def isatty(self) -> bool:
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._terminal.encoding

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if self._process is not None:
            return cast(IO[str], self._process.stdin).write(text)
        self._held.append(text)
        self._lines += text.count("\n")
        # One line stays free for the prompt.
        if self._lines >= self._size.lines - 1:
            progress.quiet()
            with self._interrupts.held():
                self._process = _start(
                    self._pager, self._terminal, trust.chosen_environment()
                )
            self._release(cast(IO[str], self._process.stdin))
        return len(text)

    def flush(self) -> None:
        if self._process is not None:
            cast(IO[str], self._process.stdin).flush()

    def finish(self) -> None:
        """Show what was held, or wait for the pager to be left."""
        if self._process is None:
            progress.quiet()
            self._release(self._terminal)
            self._terminal.flush()
        else:
            # Whoever collects this object flushes it, and the pipe is closed by then.
            process, self._process = self._process, None
            _finish(process, self._interrupts)

    def _release(self, out: IO[str]) -> None:
        held, self._held = self._held, []
        out.write("".join(held))


@contextlib.contextmanager
def paged(chosen: str) -> Iterator[None]:
    """
    Send ``sys.stdout`` through the pager for the time of a block, if it is a terminal
    and more is written than fits on it.

    :param chosen: as of :func:`pager_command`
    """
    pager = pager_command(chosen) if sys.stdout.isatty() else None
    if pager is None:
        yield
        return
    with Interrupts() as interrupts:
        overflow = _Overflow(raw(sys.stdout), pager, interrupts)
        try:
            # Leaving the pager early is no error.
            with (
                contextlib.redirect_stdout(cast(Any, overflow)),
                contextlib.suppress(BrokenPipeError),
                interrupts.allowed(),
            ):
                yield
        finally:
            overflow.finish()

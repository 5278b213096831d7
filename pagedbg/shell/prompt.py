# SPDX-License-Identifier: GPL-2.0-or-later
"""
The prompt: history, completion and a line that says what is looked at; or, where the
terminal can do nothing, plain input.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from pagedbg import __version__, trust
from pagedbg.errors import UsageError
from pagedbg.output.interrupt import Interrupts
from pagedbg.output.lines import commands_in
from pagedbg.output.printable import printable, printed, raw
from pagedbg.session import Session
from pagedbg.shell.execute import Leave, execute
from pagedbg.sources.capabilities import capabilities_of

if TYPE_CHECKING:
    from prompt_toolkit.history import History
    from prompt_toolkit.output import Output

PROMPT = "pagedbg> "

ReadLine = Callable[[], str]


def run_prompt(session: Session) -> int:
    """Read lines and run them until the user leaves; return 0."""
    # drgn's own prompt opens ours, too, with its streams.
    streams = (
        contextlib.redirect_stdout(printed(sys.stdout)),
        contextlib.redirect_stderr(printed(sys.stderr, unheard=True)),
    )
    with contextlib.suppress(Leave), streams[0], streams[1]:
        print(
            f"pagedbg {__version__}: {_subject(session)}. Type help for the commands."
        )
        _loop(session)
    return 0


def _reader(session: Session, interrupts: Interrupts) -> ReadLine:
    """
    Return what reads a line: EOFError means leave, KeyboardInterrupt means drop the
    line.
    """
    if os.environ.get("TERM", "dumb") == "dumb" or not (
        sys.stdin.isatty() and sys.stdout.isatty()
    ):
        return functools.partial(_plain_line, interrupts)
    return _prompt_toolkit_line(session)


def _loop(session: Session) -> None:
    with Interrupts() as interrupts:
        read_line = _reader(session, interrupts)
        while True:
            try:
                text = read_line()
            except KeyboardInterrupt:
                continue
            except EOFError:
                return
            try:
                with interrupts.allowed():
                    # What was pasted may be several lines. None is run before all are
                    # understood.
                    for line in commands_in(text):
                        execute(session, line)
            except UsageError as error:
                print(error, file=sys.stderr)
            except KeyboardInterrupt:
                interrupts.hold()
                print("Interrupted.", file=sys.stderr)


def _plain_line(interrupts: Interrupts) -> str:
    try:
        with interrupts.allowed():
            return input(PROMPT)
    except (EOFError, KeyboardInterrupt):
        print()
        raise


def _prompt_toolkit_line(session: Session) -> ReadLine:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.auto_suggest import AutoSuggestFromHistory

    from pagedbg.shell.completion import LineCompleter

    completer = LineCompleter(session)
    page_owner = _page_owner(session)
    prompt: PromptSession[str] = PromptSession(
        PROMPT,
        history=_history(),
        completer=completer,
        complete_while_typing=False,
        auto_suggest=AutoSuggestFromHistory(),
        enable_history_search=True,
        enable_suspend=True,
        bottom_toolbar=lambda: f" {_subject(session)}{page_owner}{_trace(session)} ",
        output=_output(),
    )

    def read_line() -> str:
        if session.target.live:
            completer.forget()
        # Ctrl-C is a key here. A signal comes only before the terminal has been told
        # so, and would end in a traceback of asyncio's.
        return prompt.prompt(handle_sigint=False)

    return read_line


def _output() -> Output:
    """
    The terminal, with what is drawn on it printable: prompt_toolkit takes care of
    control characters only.
    """
    from prompt_toolkit.output import ColorDepth
    from prompt_toolkit.output.vt100 import Vt100_Output
    from prompt_toolkit.utils import get_cwidth

    class PrintableOutput(Vt100_Output):
        """
        A terminal that gets escape sequences from prompt_toolkit and from nobody else.
        """

        def write(self, data: str) -> None:
            if not data.isprintable():
                # As wide as prompt_toolkit takes it to be. It moves the cursor by the
                # two that are let through.
                data = "".join(
                    c if c.isprintable() or c in "\r\n" else "?" * get_cwidth(c)
                    for c in data
                )
            super().write(data)

    return PrintableOutput.from_pty(
        raw(sys.stdout),
        term=os.environ.get("TERM"),
        default_color_depth=ColorDepth.from_env(),
    )


def _subject(session: Session) -> str:
    """What is looked at."""
    if session.target.has_kernel or session.capture is None:
        return printable(session.target.name)
    return printable(
        f"{session.capture.path.name} ({session.capture.meta.kernel.release})"
    )


def _page_owner(session: Session) -> str:
    """Whether the target tracks page owners."""
    page_owner = (
        capabilities_of(session.target).get("page_owner")
        if session.target.has_kernel
        else None
    )
    return (
        ""
        if page_owner is None
        else f" · page_owner {'on' if page_owner.state else 'off'}"
    )


def _trace(session: Session) -> str:
    """Whether a trace is running."""
    return (
        " · recording"
        if session.recording is not None and session.recording.running
        else ""
    )


def _history() -> History:
    """
    Return the history in its file, readable by nobody else; in memory where the file
    cannot be had.
    """
    from prompt_toolkit.history import FileHistory, InMemoryHistory

    class OfDescriptor(FileHistory):
        """
        A history in the file that was opened, whatever is at its path by now:
        prompt_toolkit opens it anew for each line. A full disk is not turned into an
        error at every line.
        """

        def __init__(self, descriptor: int) -> None:
            super().__init__(f"/proc/self/fd/{descriptor}")

        def store_string(self, string: str) -> None:
            with contextlib.suppress(OSError):
                super().store_string(string)

    try:
        return OfDescriptor(
            trust.open_private(os.path.join(trust.state_directory(), "history"))
        )
    except OSError as error:
        print(
            f"The history of this session will not be kept ({error.filename}:"
            f" {error.strerror}).",
            file=sys.stderr,
        )
        return InMemoryHistory()

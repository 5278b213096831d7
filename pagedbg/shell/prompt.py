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
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pagedbg import __version__, trust
from pagedbg.errors import UsageError
from pagedbg.output.interrupt import Interrupts
from pagedbg.output.lines import commands_in, goes_on
from pagedbg.output.paragraphs import fitted
from pagedbg.output.printable import printable, printed
from pagedbg.session import Session
from pagedbg.shell.execute import Leave, execute
from pagedbg.shell.terminal_output import terminal_output
from pagedbg.sources.capabilities import capabilities_of

if TYPE_CHECKING:
    from prompt_toolkit.history import History
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

PROMPT = "pagedbg> "
_MORE = "....> "
_AGAIN = "!!"

ReadLine = Callable[[], str]


def run_prompt(session: Session, start: Sequence[str] = ()) -> int:
    """
    Read lines and run them until the user leaves; return 0.

    :param start: lines to run before
    """
    # drgn's own prompt opens ours, too, with its streams.
    streams = (
        contextlib.redirect_stdout(printed(sys.stdout)),
        contextlib.redirect_stderr(printed(sys.stderr, unheard=True)),
    )
    with contextlib.suppress(Leave), streams[0], streams[1]:
        greeting = f"pagedbg {__version__}: {printable(session.subject)}."
        print(fitted(f"{greeting} Type help for the commands.", sys.stdout))
        _loop(session, start)
    return 0


def _reader(
    session: Session, interrupts: Interrupts, ending: contextlib.ExitStack
) -> ReadLine:
    """
    Return what reads a line: EOFError means leave, KeyboardInterrupt means drop the
    line.

    :param ending: gets what is to be ended when no more lines are read
    """
    if os.environ.get("TERM", "dumb") == "dumb" or not (
        sys.stdin.isatty() and sys.stdout.isatty()
    ):
        typed: list[str] = []
        session.typed = lambda: typed
        return functools.partial(_plain_line, interrupts, typed)
    return _prompt_toolkit_line(session, ending)


def _loop(session: Session, start: Sequence[str]) -> None:
    with Interrupts() as interrupts, contextlib.ExitStack() as ending:
        read_line = _reader(session, interrupts, ending)
        waiting = list(start)
        while True:
            try:
                text = waiting.pop(0) if waiting else read_line()
                text = _again(session, text)
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
                print(fitted(str(error), sys.stderr), file=sys.stderr)
            except KeyboardInterrupt:
                interrupts.hold()
                print("Interrupted.", file=sys.stderr)


def _again(session: Session, text: str) -> str:
    """
    A line with the one that was typed before in place of ``!!`` at its beginning, which
    is said then.
    """
    if not text.lstrip().startswith(_AGAIN):
        return text
    before = [line for line in session.typed() if not line.lstrip().startswith(_AGAIN)]
    line = (before[-1] if before else "") + text.lstrip().removeprefix(_AGAIN)
    print(line)
    return line


def _plain_line(interrupts: Interrupts, typed: list[str]) -> str:
    try:
        with interrupts.allowed():
            text = input(PROMPT)
            while goes_on(text):
                text += "\n" + input(_MORE)
            typed.append(text)
            return text
    except (EOFError, KeyboardInterrupt):
        print()
        raise


def _prompt_toolkit_line(session: Session, ending: contextlib.ExitStack) -> ReadLine:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.application import get_app
    from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
    from prompt_toolkit.enums import EditingMode
    from prompt_toolkit.filters import Condition
    from prompt_toolkit.output import ColorDepth

    from pagedbg.shell.completion import LineCompleter
    from pagedbg.shell.highlighting import LineLexer
    from pagedbg.shell.recording_line import RecordingLine

    completer = LineCompleter(session)
    values = completer.values
    ending.callback(values.forget)
    recording = RecordingLine(session)
    bindings, pasted = _paste_bindings()
    page_owner = _page_owner(session)
    history = _history()
    # The newest comes first.
    session.typed = lambda: [*history.load_history_strings()][::-1]
    prompt: PromptSession[str] = PromptSession(
        PROMPT,
        history=history,
        multiline=Condition(lambda: goes_on(get_app().current_buffer.text)),
        # Not before what only the window's width has broken.
        prompt_continuation=lambda width, number, wrapped: "" if wrapped else _MORE,
        completer=completer,
        lexer=LineLexer(session.aliases, values),
        complete_while_typing=False,
        auto_suggest=AutoSuggestFromHistory(),
        enable_history_search=True,
        enable_suspend=True,
        bottom_toolbar=lambda: _bottom_line(
            printable(session.subject),
            f"{recording()}{page_owner}{_guest(session)}"
            f"{' · reading…' if values.reading else ''}",
            get_app().output.get_size().columns,
        ),
        key_bindings=bindings,
        output=terminal_output(),
    )

    def draw_again() -> None:
        # What the former one has said of a line is kept.
        prompt.lexer = LineLexer(session.aliases, values)
        prompt.app.invalidate()

    values.draw_again = draw_again

    def watch() -> None:
        app = get_app()
        app.create_background_task(recording.watch(app.invalidate))

    def read_line() -> str:
        if session.target.changes:
            values.forget()
        prompt.editing_mode = EditingMode[session.settings.keys.upper()]
        prompt.color_depth = ColorDepth.from_env()
        text = ""
        while True:
            pasted.clear()
            # Ctrl-C is a key here. A signal comes only before the terminal has been
            # told so, and would end in a traceback of asyncio's.
            text = prompt.prompt(default=text, pre_run=watch, handle_sigint=False)
            if not pasted or _confirmed(text):
                return text

    return read_line


def _bottom_line(subject: str, state: str, columns: int) -> str:
    """What is looked at and its state, of which the former may be too long."""
    room = max(columns - len(state) - 2, 1)
    if len(subject) > room:
        subject = f"{subject[: room - 1]}…"
    return f" {subject}{state} "


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


def _guest(session: Session) -> str:
    """Whether a machine waits until we leave."""
    guest = session.target.guest
    return " · the guest waits" if guest is not None and guest.waits_for_us else ""


def _paste_bindings() -> tuple[KeyBindings, list[str]]:
    """Keys that paste as ever, and a list of what was pasted of several lines."""
    from prompt_toolkit.key_binding import KeyBindings
    from prompt_toolkit.keys import Keys

    bindings = KeyBindings()
    pasted: list[str] = []

    @bindings.add(Keys.BracketedPaste)
    def paste(event: KeyPressEvent) -> None:
        text = event.data.replace("\r\n", "\n").replace("\r", "\n")
        if "\n" in text:
            pasted.append(text)
        event.current_buffer.insert_text(text)

    return bindings, pasted


def _confirmed(text: str) -> bool:
    """Whether several commands that were pasted are to run."""
    from prompt_toolkit.application import create_app_session
    from prompt_toolkit.shortcuts.prompt import create_confirm_session

    try:
        count = sum(1 for line in commands_in(text) if line.strip())
    except UsageError:
        # It will be said what is wrong with them.
        return True
    if count < 2:
        return True
    with create_app_session(output=terminal_output()):
        asked = create_confirm_session(f"Run these {count} commands?")
        return asked.prompt(handle_sigint=False)


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

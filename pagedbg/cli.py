# SPDX-License-Identifier: GPL-2.0-or-later
"""
The command line: arguments become a session, and the session a prompt, some commands or
a script.

Nothing heavy is imported before it is needed: ``--help`` and ``--version`` answer at
once, and a command that only inspects a page pays neither for the prompt nor for the
tables' database.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import os
import shlex
import signal
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pagedbg.output.interrupt import Interrupts
from pagedbg.output.lines import commands_in
from pagedbg.output.printable import printable
from pagedbg.output.standard import finish, standard_streams
from pagedbg.session import Session
from pagedbg.shell.command_line import Source, command_line_parser
from pagedbg.shell.registry import COMMANDS, command_of
from pagedbg.shell.script import SourceLine, file_lines, numbered, run_lines

if TYPE_CHECKING:
    from pagedbg.capture.directory import Capture
    from pagedbg.capture.snapshot_directory import Snapshot
    from pagedbg.target.target import Target


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run pagedbg and return the exit status that the process is to end with at once.
    """
    with standard_streams(), Interrupts(for_good=True) as interrupts:
        try:
            with interrupts.allowed():
                status = _main(argv, interrupts)
        except KeyboardInterrupt:
            status = 130
        except BrokenPipeError:
            status = 141
        except OSError as error:
            # What argparse prints has nowhere to go; all else is explained by then.
            print(f"pagedbg: standard output: {error.strerror}", file=sys.stderr)
            status = 1
        except SystemExit as leave:
            # argparse's, a command's "exit", or that of a command whose reader has
            # left.
            status = int(leave.code or 0)
        return finish(status)


def _main(argv: Sequence[str] | None, interrupts: Interrupts) -> int:
    parser = command_line_parser()
    args = parser.parse_args(argv)
    if args.words and args.sources:
        parser.error("COMMAND cannot be given together with -e or -x")
    if args.snapshot and args.capture:
        parser.error("--snapshot cannot be given together with --capture")
    if args.pause and not args.qemu:
        parser.error("--pause is for the guest of --qemu")
    if (
        args.words
        and command_of(args.words) not in COMMANDS
        and os.path.isfile(args.words[0])
    ):
        parser.error(
            f"{args.words[0]} is a file, not a command; did you mean -c"
            f" {args.words[0]}?"
        )
    try:
        if args.words and (
            args.words[0] == "help" or {"-h", "--help"} & set(args.words)
        ):
            return _help(args.words)
        if args.crash:
            _open_as_crash(args)
        return _run(args, interrupts)
    except BrokenPipeError:
        raise
    except Exception as error:
        from pagedbg.shell.failures import exit_status, explain

        explained = explain(error)
        print(f"pagedbg: {explained}", file=sys.stderr)
        return exit_status(explained)


def _open_as_crash(args: argparse.Namespace) -> None:
    """Take what crash has open for what was named; symbols that were come first."""
    from pagedbg.target.crash_session import CrashSession

    args.core, symbols = CrashSession.above()
    args.symbols += symbols


def _help(words: Sequence[str]) -> int:
    """Explain a command without a target: one may not be allowed to open it."""
    from pagedbg.commands.help import explanation

    names = [word for word in words if not word.startswith("-")]
    print(explanation(names[1:] if names[0] == "help" else names))
    return 0


def _run(args: argparse.Namespace, interrupts: Interrupts) -> int:
    lines = _lines(args)
    with interrupts.fatal():
        _import_numpy()
        from drgn import Program

        from pagedbg.target.target import Target

        capture = _open_capture(args.capture) if args.capture else None
        snapshot = _open_snapshot(args.snapshot) if args.snapshot else None
        target = (
            Target(Program())
            if args.core is None
            and args.qemu is None
            and not args.crash
            and (capture or snapshot or _needs_no_kernel(args))
            else _opened(args)
        )
    gc.freeze()
    gc.enable()
    session = Session(
        target,
        config=args.config,
        capture=capture,
        snapshot=snapshot,
    )
    session.keep()
    start = _configured(session, args, lines)
    if capture is not None and capture.recording and target.elsewhere:
        # Its recorder has died: the two are joined, and have to be of one boot.
        from pagedbg.sources.same_boot import check_same_boot

        check_same_boot(session, capture)
    _end_well()
    for note in session.target.notes:
        print(f"pagedbg: {printable(note)}", file=sys.stderr)
    try:
        try:
            if lines is None:
                from pagedbg.shell.prompt import run_prompt

                return run_prompt(session, start)
            return run_lines(session, lines)
        finally:
            interrupts.hold()
    finally:
        # SIGTERM still ends it, should a recorder not stop.
        session.close()


def _import_numpy() -> None:
    """
    Have NumPy start no threads: its library for matrices, of which there are none here,
    would have one for each CPU, and they all look for work for a while. What a user
    starts from here has threads as before.
    """
    name = "OPENBLAS_NUM_THREADS"
    if name in os.environ:
        return
    os.environ[name] = "1"
    import numpy  # noqa: F401

    del os.environ[name]


def _configured(
    session: Session, args: argparse.Namespace, lines: object
) -> Sequence[str]:
    """
    Take over what the user has chosen: for a prompt, and where a file was named. What
    is scripted does not hang on his own.

    :return: the commands to run when the prompt opens
    """
    start: Sequence[str] = ()
    if lines is None or args.config:
        from pagedbg.shell.configuration import configure

        start = configure(session)
    if args.format is not None:
        session.settings.format = args.format
    if not args.pager:
        session.settings.pager = "off"
    return start


def _needs_no_kernel(args: argparse.Namespace) -> bool:
    """Whether all that is asked for is a command that opens what it needs itself."""
    return bool(args.words) and not getattr(
        COMMANDS.get(command_of(args.words)), "kernel", True
    )


def _end_well() -> None:
    """
    Have the session closed when a terminal goes away, or somebody ends us: there may be
    a recorder, or files of what was recovered.
    """

    def leave(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, leave)


def _opened(args: argparse.Namespace) -> Target:
    from pagedbg.output.progress import progress_bar
    from pagedbg.target.opening import open_target

    with progress_bar():
        return open_target(args.core, args.symbols, qemu=args.qemu, pause=args.pause)


def _open_capture(path: str) -> Capture:
    from pagedbg.capture.directory import Capture

    return Capture(path)


def _open_snapshot(path: Path) -> Snapshot:
    from pagedbg.capture.snapshot_directory import Snapshot

    return Snapshot(path)


def _lines(args: argparse.Namespace) -> Iterable[SourceLine] | None:
    """Return the lines to run, or None for a prompt."""
    if args.words:
        return [SourceLine(shlex.join(args.words), "")]
    if args.sources:
        return itertools.chain.from_iterable([*map(_source_lines, args.sources)])
    if not sys.stdin.isatty():
        return numbered(sys.stdin, "stdin")
    return None


def _source_lines(source: Source) -> Iterable[SourceLine]:
    if source.option == "-e":
        return [SourceLine(text, "") for text in commands_in(source.value)]
    if source.value == "-":
        return numbered(sys.stdin, "stdin")
    return file_lines(source.value)

# SPDX-License-Identifier: GPL-2.0-or-later
"""
How a command is written, and the one place where it is run.

A command file declares what it takes and needs, and returns a table::

    from pagedbg.shell.command import argument, command

    @command(
        "owners",
        long_description="List the blocks that page_owner has on record ...",
        arguments=(
            argument("--orders", metavar="ORDERS", help="only these orders: 4, 4-9"),
            argument("--top", type=int, metavar="N", help="only the first N rows"),
        ),
        needs=("page_owner",),
        examples=(("owners --by comm --top 5", "which programs hold the most"),),
        table=True,
    )
    def owners(session: Session, args: argparse.Namespace) -> Table | None:
        return Table.of([Column("pfn", "hex"), Column("comm")], rows)

and one line in :data:`pagedbg.shell.registry.COMMANDS` says in which module it is, in
which group, and describes it. What follows by itself:

* ``--help``, ``help owners``, completion of the options and of their ``choices``;
* ``table=True`` adds ``--format {text,json,jsonl,csv}`` and ``-o FILE``; the returned
  :class:`Table` is drawn to ``sys.stdout``, where a pager, a pipe or a redirection has
  been put already;
* ``needs`` are names of :meth:`pagedbg.target.opening.Target.capabilities`; where one
  is missing the command is not run, and says what is missing and how to get it;
* a command that has no table prints to ``sys.stdout`` and returns None;
* to refuse what was typed, raise :class:`UsageError` (also from an argument's ``type=``
  function: the option's name is put before the sentence); to give up, raise
  :class:`PagedbgError`. The command's name is put before the sentence.
  ``drgn.FaultError``, a ``LookupError`` of drgn and an ``OSError`` may be let through;
  anything else is reported as a bug, in one line, with a traceback if ``PAGEDBG_DEBUG``
  is set;
* KeyboardInterrupt is not caught by a command, but by one that it is the usual end of
  (``record``, ``trace follow``).
"""

from __future__ import annotations

import argparse
import functools
import importlib
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TextIO

from drgn import Program
from drgn.commands import (
    CommandNamespace,
    CommandNotFoundError,
    ParsedCommand,
    argument,
    argument_group,
    mutually_exclusive_group,
    parse_shell_command,
)

from pagedbg.errors import PagedbgError, UsageError
from pagedbg.output import pager, render
from pagedbg.output.interrupt import Interrupts
from pagedbg.output.printable import printable, printed
from pagedbg.schema.table import Table
from pagedbg.session import FORMATS, Session
from pagedbg.shell.failures import did_you_mean, exit_status, explain
from pagedbg.shell.parser import Argument, HelpRequested, Parser, flat_arguments
from pagedbg.shell.registry import COMMANDS, GROUPS
from pagedbg.sources.capabilities import capabilities_of

__all__ = (
    "NAMESPACE",
    "Command",
    "Leave",
    "Namespace",
    "argument",
    "argument_group",
    "command",
    "execute",
    "exit_status",
    "explain",
    "flat_arguments",
    "load_commands",
    "mutually_exclusive_group",
    "require",
)

CommandFunc = Callable[[Session, argparse.Namespace], Table | None]
Example = tuple[str, str]


def _output_arguments(formats: Sequence[str]) -> Argument:
    return argument_group(
        argument(
            "--format",
            choices=formats,
            help="how to print: "
            + ", ".join(formats)
            + " (spreadsheets: take names as text, = begins a formula)",
        ),
        argument(
            "-o",
            "--output",
            metavar="FILE",
            help=(
                "write to FILE; its ending (.json, .jsonl, .csv) chooses the format"
                " where --format does not"
            ),
        ),
        title="output",
    )


# ---- one command ----------


class Line(NamedTuple):
    """A command's words, and the shell command that its output goes through."""

    words: Sequence[str]
    pipeline: str | None


class Command:
    """One command, in the shape that drgn's command namespaces take."""

    def __init__(
        self,
        name: str,
        func: CommandFunc,
        *,
        description: str,
        long_description: str,
        arguments: Sequence[Argument],
        needs: Sequence[str],
        examples: Sequence[Example],
        table: bool,
        formats: Sequence[str],
        paged: bool,
        kernel: bool,
    ) -> None:
        self.name = name
        self.func = func
        self.long_description = textwrap.dedent(long_description).strip()
        self.arguments = (
            (*arguments, _output_arguments((*FORMATS, *formats)))
            if table
            else tuple(arguments)
        )
        self.needs = needs
        self.examples = examples
        self.table = table
        self.paged = paged
        self.kernel = kernel
        self._description = description

    @functools.cached_property
    def parser(self) -> Parser:
        """The parser of the command's words."""
        parser = Parser(
            prog=self.name,
            description=self.long_description or self._description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            add_help=False,
            allow_abbrev=False,
        )
        parser.add_arguments(self.arguments)
        return parser

    def description(self) -> str:
        """Return the one-line description."""
        return self._description

    def format_usage(self) -> str:
        """Return the synopsis."""
        return self.parser.format_usage().removeprefix("usage: ").rstrip()

    def format_help(self, *, indent: str = "") -> str:
        """Return the synopsis, the description, the options and the examples."""
        parts = [self.parser.format_help().rstrip().replace("usage: ", "", 1)]
        if self.examples:
            parts.append(
                "examples:\n"
                + "\n".join(f"  {line}\n      {text}" for line, text in self.examples)
            )
        return textwrap.indent("\n\n".join(parts), indent)

    def enabled(self, prog: Program) -> bool:
        """
        Say that the command is always there: one that cannot run says why, which is
        better than not being found.
        """
        return True

    def parse(self, source: str, /) -> ParsedCommand[Line]:
        """
        Split a command's tail into words, redirections and a pipeline, which we run
        ourselves (Ctrl-C must leave ``| less`` alone).
        """
        try:
            parsed = parse_shell_command(source)
        except SyntaxError as error:
            raise UsageError(
                f"{self.name}: {error.msg}; quote what belongs to a value, as in"
                " --orders '>=3'"
            ) from None
        for redirection in parsed.redirections:
            if redirection.path.startswith("="):
                value = redirection.op + redirection.path
                raise UsageError(
                    f"{self.name}: {value} would write to a file named"
                    f" {redirection.path!r}; quote it: '{value}'"
                )
            if parsed.pipeline is not None and redirection.fd == 1:
                raise UsageError(
                    f"{self.name}: output cannot go both through | and into"
                    f" {redirection.path}"
                )
        if parsed.pipeline is not None and not _ends_with(source, parsed.pipeline):
            raise UsageError(f"{self.name}: what follows | has to be on one line")
        return ParsedCommand(Line(parsed.args, parsed.pipeline), parsed.redirections)

    def run(self, prog: Program, name: str, args: Line, /, **_: Any) -> None:
        """
        Run the command; whatever goes wrong leaves as a PagedbgError that begins with
        the command's name.
        """
        try:
            session = Session.of(prog)
            with pager.shown(args.pipeline, self.paged and session.pager):
                self._run(session, args.words)
                sys.stdout.flush()
        except BrokenPipeError:
            # Whoever read our standard output has left (pagedbg ... | head): so do we,
            # as if the signal had been taken.
            raise SystemExit(141) from None
        except Exception as error:
            raise explain(error, name) from error

    def _run(self, session: Session, words: Sequence[str]) -> None:
        try:
            args = self.parser.parse_line(words)
        except HelpRequested:
            print(self.format_help())
            return
        self._check_needs(session)
        table = self.func(session, args)
        if table is not None:
            _draw(session, table, args)

    def _check_needs(self, session: Session) -> None:
        if self.kernel and not session.target.has_kernel:
            raise PagedbgError(
                "there is no kernel here, only a capture: start pagedbg without"
                " --capture, or with -c CORE as well."
            )
        require(session, *self.needs)


def _ends_with(source: str, pipeline: str) -> bool:
    """
    Say whether a pipeline is the whole end of a source: drgn ends it with its line,
    even in the middle of a word of the shell's.
    """
    before = source.rstrip().removesuffix(pipeline).rstrip()
    return before.endswith("|") and parse_shell_command(before[:-1]).pipeline is None


def require(session: Session, *needs: str) -> None:
    """
    Check that the target has some capabilities.

    :raises PagedbgError: if one is missing: what it is, and how to get it
    """
    if not needs:
        return
    capabilities: Mapping[str, Any] = capabilities_of(session.target)
    for need in needs:
        capability = capabilities.get(need)
        if capability is None:
            raise PagedbgError(
                f"needs {need}, which only a running kernel has: {session.target.name}"
                " is a dump."
            )
        if not capability.state:
            said = ". ".join(
                part.rstrip(".")
                for part in (f"needs {need}: {capability.detail}", capability.remedy)
                if part
            )
            raise PagedbgError(f"{said}.")


def command(
    name: str,
    *,
    long_description: str = "",
    arguments: Sequence[Argument] = (),
    needs: Sequence[str] = (),
    examples: Sequence[Example] = (),
    table: bool = False,
    formats: Sequence[str] = (),
    paged: bool = True,
    kernel: bool = True,
) -> Callable[[CommandFunc], CommandFunc]:
    """
    Declare a command; see the module's text for an example.

    :param name: Its name, which :data:`pagedbg.shell.registry.COMMANDS` lists with a
        one-line description.
    :param long_description: What ``help NAME`` says of it.
    :param arguments: As in :mod:`drgn.commands`.
    :param needs: Names of capabilities without which the command is refused.
    :param examples: ``(command line, what it shows)``; the tests run them.
    :param table: Add ``--format`` and ``-o``.
    :param formats: Formats that this command has besides; its table's ``text`` is then
        in that one.
    :param paged: False for a command that shows what happens as it happens, so must not
        be held back until a screen is full.
    :param kernel: False for a command that also works with nothing but a capture.
    """

    def decorator(func: CommandFunc) -> CommandFunc:
        NAMESPACE.register(
            name,
            Command(
                name,
                func,
                description=COMMANDS[name].description,
                long_description=long_description,
                arguments=arguments,
                needs=needs,
                examples=examples,
                table=table,
                formats=formats,
                paged=paged,
                kernel=kernel,
            ),
        )
        return func

    return decorator


# ---- output ----------


def _draw(session: Session, table: Table, args: argparse.Namespace) -> None:
    path = getattr(args, "output", None)
    format_ = getattr(args, "format", None)
    if path is None:
        _write(table, format_ or session.format, sys.stdout)
        return
    with open(
        path, "w", encoding="utf-8", errors="backslashreplace", newline=""
    ) as out:
        _write(table, format_ or _format_of(path) or session.format, printed(out))


def _write(table: Table, format_: str, out: TextIO) -> None:
    if format_ in FORMATS:
        render.show(table, format_, out)
        return
    # A format of the command's own, for programs.
    for line in table.text or ():
        out.write(printable(line) + "\n")
    for note in table.notes:
        print(printable(note), file=sys.stderr)


def _format_of(path: str) -> str | None:
    ending = os.path.splitext(path)[1].removeprefix(".").lower()
    return ending if ending in FORMATS else None


# ---- the namespace ----------


class _OnError(Protocol):
    def __call__(self, error: Exception, /) -> None: ...


class Namespace(CommandNamespace):
    """
    Our commands; each one's module is imported when the command is first looked up.
    """

    def lookup(self, prog: Program, name: str) -> Any:
        """Find a command by name."""
        if name in COMMANDS:
            importlib.import_module(COMMANDS[name].module)
        return super().lookup(prog, name)

    def get(self, name: str) -> Command:
        """
        Return a command by name, without a program; raise UsageError where there is
        none.
        """
        if name not in COMMANDS:
            raise explain(CommandNotFoundError(name))
        importlib.import_module(COMMANDS[name].module)
        found = self._commands[name]
        assert isinstance(found, Command)
        return found

    def enabled(self, prog: Program) -> Iterable[tuple[str, Any]]:
        """Iterate over all commands; this imports them all."""
        load_commands()
        return super().enabled(prog)

    def run(
        self,
        prog: Program,
        command: str,
        *,
        globals: dict[str, Any] | None = None,
        onerror: _OnError | None = None,
    ) -> None:
        """
        Run a line; errors are PagedbgErrors, raised or, where there is one, given to
        ``onerror``.
        """
        try:
            super().run(
                prog, _joined(command), globals={} if globals is None else globals
            )
        except Exception as error:
            explained = explain(error)
            if onerror is None:
                raise explained from error
            onerror(explained)


def _joined(command: str) -> str:
    """
    Make one word of the two that some commands' names have, by the shell's own means.
    """
    match = re.match(r"\s*([\w-]+)(?:\s+([\w-]+))?(?=\s|$)", command)
    if match is None or match[1] not in GROUPS:
        return command
    known = [
        name.partition(" ")[2] for name in COMMANDS if name.startswith(match[1] + " ")
    ]
    if match[2] not in known:
        near = (
            did_you_mean(match[2] or "", known)
            or f"; it is followed by one of {', '.join(known)}"
        )
        what = "a word is missing" if match[2] is None else f"there is no {match[2]!r}"
        raise UsageError(f"{match[1]}: {what}{near}")
    return f"'{match[1]} {match[2]}'{command[match.end() :]}"


NAMESPACE = Namespace()
"""All of pagedbg's commands."""


def load_commands() -> list[Command]:
    """Import every command's module and return the commands."""
    return [NAMESPACE.get(name) for name in COMMANDS]


class Leave(SystemExit):
    """
    Raised by ``exit``: a SystemExit, so that nothing on the way takes it for an error.
    """


def execute(session: Session, line: str, where: str = "") -> int:
    """
    Run one line of a prompt or a script and return its exit status; errors go to
    standard error.

    An empty line and a ``# comment`` do nothing, ``!command`` is the shell's: so the
    line must be what somebody wrote as a line (see
    :mod:`pagedbg.output.lines`).

    :param where: Put before an error: the file and line that it comes from.
    """
    line = line.strip(" \t\r\n")
    if not line or line.startswith("#"):
        return 0
    if line.startswith("!"):
        sys.stdout.flush()
        with Interrupts():
            return subprocess.call(
                line[1:].strip() or os.environ.get("SHELL", "sh"), shell=True
            )
    try:
        NAMESPACE.run(session.prog, line)
    except PagedbgError as error:
        if not isinstance(error, pager.PipelineError):
            print(where + str(error), file=sys.stderr)
        return exit_status(error)
    return 0

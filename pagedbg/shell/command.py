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
* ``table=True`` adds ``--columns COLUMNS``, ``--format FORMAT`` and ``-o FILE``; the
  returned :class:`Table` is drawn to ``sys.stdout``, where a pager, a pipe or a
  redirection has been put already;
* ``needs`` are names of :func:`pagedbg.sources.capabilities.capabilities_of`; where one
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
import shlex
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

from drgn import Program
from drgn.commands import (
    CommandNamespace,
    CommandNotFoundError,
    ParsedCommand,
    argument,
    argument_group,
    mutually_exclusive_group,
)

from pagedbg.capture.database import was_interrupted
from pagedbg.errors import PagedbgError
from pagedbg.output import pager
from pagedbg.output.paragraphs import reflow, window
from pagedbg.output.progress import progress_bar
from pagedbg.schema.settings import FORMATS
from pagedbg.schema.table import Table
from pagedbg.session import Session
from pagedbg.shell.drgn_scripts import DRGN, Script, script_for
from pagedbg.shell.failures import explain
from pagedbg.shell.needs import require
from pagedbg.shell.parser import Argument, HelpFormatter, HelpRequested, Parser
from pagedbg.shell.registry import COMMANDS
from pagedbg.shell.table_output import draw, format_for, output_arguments, with_columns
from pagedbg.shell.words import Line, joined, split

__all__ = (
    "NAMESPACE",
    "Command",
    "Namespace",
    "argument",
    "argument_group",
    "command",
    "load_commands",
    "mutually_exclusive_group",
)

CommandFunc = Callable[[Session, argparse.Namespace], Table | None]
Example = tuple[str, str]


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
        drgn: Script | None,
    ) -> None:
        self.name = name
        self.func = func
        self.long_description = textwrap.dedent(long_description).strip()
        self.arguments = (
            *arguments,
            *((DRGN,) if drgn else ()),
            *((output_arguments((*FORMATS, *formats)),) if table else ()),
        )
        self.needs = needs
        self.examples = examples
        self.table = table
        self.paged = paged
        self.kernel = kernel
        self.drgn = drgn
        self._description = description

    @functools.cached_property
    def parser(self) -> Parser:
        """The parser of the command's words."""
        parser = Parser(
            prog=self.name,
            description=self.long_description or self._description,
            formatter_class=HelpFormatter,
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
            lines = "\n".join(f"  {line}\n      {text}" for line, text in self.examples)
            parts.append("examples:\n" + reflow(lines, window()))
        return textwrap.indent("\n\n".join(parts), indent)

    def enabled(self, prog: Program) -> bool:
        """
        Say that the command is always there: one that cannot run says why, which is
        better than not being found.
        """
        return True

    def parse(self, source: str, /) -> ParsedCommand[Line]:
        """Split what follows the command's name."""
        return split(self.name, source)

    def run(self, prog: Program, name: str, args: Line, /, **_: Any) -> None:
        """
        Run the command; whatever goes wrong leaves as a PagedbgError that begins with
        the command's name.
        """
        try:
            session = Session.of(prog)
            with (
                progress_bar(),
                pager.shown(
                    args.pipeline, session.settings.pager if self.paged else "off"
                ),
            ):
                self._run(session, args)
                sys.stdout.flush()
        except BrokenPipeError:
            # Whoever read our standard output has left (pagedbg ... | head): so do we,
            # as if the signal had been taken.
            raise SystemExit(141) from None
        except Exception as error:
            if was_interrupted(error):
                raise KeyboardInterrupt from None
            raise explain(error, name) from error

    def _run(self, session: Session, line: Line) -> None:
        try:
            args = self.parser.parse_line(line.words)
        except HelpRequested:
            print(self.format_help())
            return
        if self.drgn is not None and args.drgn:
            print(script_for(self.drgn, args, self.parser.get_default))
            return
        if not self.table:
            self.check(session)
            self.func(session, args)
            return
        # Asked for before the command works, so that what cannot be is refused first.
        format_ = format_for(args, line.file) or session.settings.format
        table = self._answer(session, args)
        if table is not None:
            what = f"{self.name} {' '.join(_without_output(line.words))}".rstrip()
            draw(
                with_columns(table, args.columns),
                args,
                format_,
                f"{what}: {session.subject}",
            )

    def table_of(self, session: Session, args: argparse.Namespace) -> Table:
        """
        Return the table that the command gives, for one that works on it.

        :param args: of :attr:`parser`
        :raises PagedbgError: if the command cannot run here, or it cannot give one
        """
        table = self._answer(session, args)
        assert table is not None
        return with_columns(table, args.columns)

    def _answer(self, session: Session, args: argparse.Namespace) -> Table | None:
        if session.snapshot is not None:
            from pagedbg.shell.snapshot_answers import ANSWERS, answer

            if self.kernel or self.name in ANSWERS:
                return answer(session, self.name, args)
        self.check(session)
        return self.func(session, args)

    def check(self, session: Session) -> None:
        """
        Check that the command can ask what is open.

        :raises PagedbgError: if not, with what is missing
        """
        if self.kernel and not session.target.has_kernel:
            raise PagedbgError(
                f"there is no kernel here, only {session.snapshot.path}: a snapshot"
                " does not hold what this takes."
                if session.snapshot is not None
                else "there is no kernel here, only a capture: start pagedbg without"
                " --capture, or with -c CORE as well."
            )
        require(session, *self.needs)


def _without_output(words: Sequence[str]) -> Iterator[str]:
    """The words of a command but for where its output goes."""
    following = iter(words)
    for word in following:
        if word in ("-o", "--output"):
            next(following, None)
        elif not word.startswith(("-o", "--output=")):
            yield shlex.quote(word)


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
    drgn: Script | None = None,
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
    :param kernel: False for a command that also works with nothing but a capture. Where
        a snapshot is open in place of a kernel, the others' tables come from
        :mod:`pagedbg.shell.snapshot_answers`.
    :param drgn: Add ``--drgn``, which prints Python that does the same.
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
                drgn=drgn,
            ),
        )
        return func

    return decorator


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
                prog, joined(command), globals={} if globals is None else globals
            )
        except Exception as error:
            explained = explain(error)
            if onerror is None:
                raise explained from error
            onerror(explained)


NAMESPACE = Namespace()
"""All of pagedbg's commands."""


def load_commands() -> list[Command]:
    """Import every command's module and return the commands."""
    return [NAMESPACE.get(name) for name in COMMANDS]

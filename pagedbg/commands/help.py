# SPDX-License-Identifier: GPL-2.0-or-later
"""``help``, and the commands that leave."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterator, Sequence

from pagedbg.output.paragraphs import reflow, window
from pagedbg.session import Session
from pagedbg.shell.command import NAMESPACE, Example, argument, command, load_commands
from pagedbg.shell.execute import Leave
from pagedbg.shell.registry import COMMANDS, GROUPS, command_of

_MANNERS = """\
Ways of the prompt:
  COMMAND | less   through the shell; COMMAND > FILE, into a file
  COMMAND; COMMAND
                   one after the other; a line that ends with \\ goes on
  !COMMAND         the shell's own; !! the last line again
  help COMMAND     options and examples; also COMMAND --help, ?COMMAND
  Ctrl-C           stops a command; Ctrl-D leaves, Tab completes"""


def _overview(names: Collection[str]) -> Iterator[str]:
    """Iterate over the lines that list commands by group."""
    width = max(map(len, names))
    group = ""
    for name in names:
        entry = COMMANDS[name]
        if entry.group != group:
            group = entry.group
            yield f"{group}:"
        yield f"  {name:{width}}  {entry.description}"


def explanation(words: Sequence[str]) -> str:
    """
    Return the list of commands, or all about one, or the list of those that begin with
    one word.
    """
    if not words:
        return reflow("\n".join((*_overview(COMMANDS), "", _MANNERS)), window())
    name = command_of(words)
    if name in GROUPS and len(words) == 1:
        those = [each for each in COMMANDS if each.startswith(name + " ")]
        return reflow("\n".join(_overview(those)), window())
    return NAMESPACE.get(
        name if name not in GROUPS else " ".join(words[:2])
    ).format_help()


def examples() -> list[Example]:
    """Return the examples of all commands, ``(command line, what it shows)``."""
    return [example for each in load_commands() for example in each.examples]


@command(
    "help",
    long_description="""
    List the commands by group; with the name of one, show how it is called, what its
    options mean, and examples.
    """,
    arguments=(
        argument("words", nargs="*", metavar="COMMAND", help="the command to explain"),
    ),
    examples=(("help", "the commands"), ("help help", "how help itself is called")),
    kernel=False,
)
def show_help(session: Session, args: argparse.Namespace) -> None:
    """List the commands or explain one."""
    print(explanation(args.words))


@command("exit", kernel=False)
@command("quit", kernel=False)
def leave(session: Session, args: argparse.Namespace) -> None:
    """Leave the prompt or the script."""
    raise Leave(0)

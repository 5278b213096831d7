# SPDX-License-Identifier: GPL-2.0-or-later
"""``help``, and the commands that leave."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from pagedbg.commands import COMMANDS
from pagedbg.commands.base import NAMESPACE, Example, Leave, argument, command, load_commands
from pagedbg.session import Session

_MANNERS = """\
COMMAND | less, COMMAND > file    through the shell, into a file
!COMMAND                          the shell's own
help COMMAND, COMMAND --help      options and examples
Ctrl-C stops a command, Ctrl-D leaves, Tab completes."""


def _overview() -> Iterator[str]:
    """Iterate over the lines that list the commands by group."""
    width = max(map(len, COMMANDS))
    group = ""
    for name, entry in COMMANDS.items():
        if entry.group != group:
            group = entry.group
            yield f"{group}:"
        yield f"  {name:{width}}  {entry.description}"


def explanation(name: str | None) -> str:
    """Return the list of commands, or all about one."""
    if name is None:
        return "\n".join((*_overview(), "", _MANNERS))
    return NAMESPACE.get(name).format_help()


def examples() -> list[Example]:
    """Return the examples of all commands, ``(command line, what it shows)``."""
    return [example for each in load_commands() for example in each.examples]


@command(
    "help",
    long_description="""
    List the commands by group; with the name of one, show how it is called, what its options mean, and examples.
    """,
    arguments=(argument("name", nargs="?", metavar="COMMAND", help="the command to explain"),),
    examples=(("help", "the commands"), ("help help", "how help itself is called")),
)
def show_help(session: Session, args: argparse.Namespace) -> None:
    """List the commands or explain one."""
    print(explanation(args.name))


@command("exit")
@command("quit")
def leave(session: Session, args: argparse.Namespace) -> None:
    """Leave the prompt or the script."""
    raise Leave(0)

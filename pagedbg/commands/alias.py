# SPDX-License-Identifier: GPL-2.0-or-later
"""``alias``: words of the user's own for commands."""

from __future__ import annotations

import argparse
import shlex

from pagedbg.errors import UsageError
from pagedbg.session import Session
from pagedbg.shell.aliases import name_alias
from pagedbg.shell.command import argument, command


@command(
    "alias",
    long_description="""
Have a word stand for a command, or for how one begins: what is typed behind it comes
behind that. It lasts until the prompt is left, or unset forgets it; one that is to stay
stands in [aliases] of ~/.config/pagedbg/config.toml. Without a word, list them.

A command with a | or a > in it is to be in quotes.
""",
    arguments=(
        argument("word", metavar="WORD", nargs="?", help="the word"),
        argument("line", metavar="COMMAND", nargs="...", help="what it stands for"),
    ),
    examples=(
        ("alias programs owners --by comm", "have programs --top 5 list five"),
        ("alias errors 'log | grep -i error'", "with a pipe of the shell's"),
        ("alias", "all of them"),
    ),
    kernel=False,
)
def alias(session: Session, args: argparse.Namespace) -> None:
    """Run the command."""
    if args.line:
        # One word is a line as it is, several are those of one.
        line = args.line[0] if len(args.line) == 1 else shlex.join(args.line)
        try:
            name_alias(session, args.word, line)
        except UsageError as error:
            raise UsageError(f"{args.word}: {error}") from None
        return
    if args.word is not None and args.word not in session.aliases:
        raise UsageError(f"{args.word!r} stands for nothing; alias lists what does")
    for name, line in sorted(session.aliases.items()):
        if args.word in (None, name):
            print(f"{name}  {line}")
    if not session.aliases:
        print("There is no alias.")

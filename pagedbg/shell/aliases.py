# SPDX-License-Identifier: GPL-2.0-or-later
"""Words of the user's own for commands: making one, and what a line stands for."""

from __future__ import annotations

import re

from pagedbg.errors import UsageError
from pagedbg.session import Session
from pagedbg.shell.given_name import could_be_name
from pagedbg.shell.registry import COMMANDS, GROUPS

__all__ = ("expanded", "name_alias")

_FIRST_WORD = re.compile(r"[\w-]+(?=\s|$)")


def name_alias(session: Session, name: str, line: str) -> None:
    """
    Have a word stand for a command, or for how one begins.

    :raises UsageError: if it cannot
    """
    if not could_be_name(name):
        raise UsageError(
            "it is no name: that has letters, digits, - and _, and begins with a letter"
        )
    if name in COMMANDS or name in GROUPS:
        raise UsageError(f"{name} is a command already")
    if not line.strip() or not line.isprintable():
        raise UsageError("it has to stand for a command, on one line")
    session.aliases[name] = line.strip()


def expanded(session: Session, line: str) -> str:
    """A line with what its first word stands for. That is not looked at again."""
    if line.startswith("?"):
        return f"help {line[1:]}"
    match = _FIRST_WORD.match(line)
    if match is None or match[0] not in session.aliases:
        return line
    return session.aliases[match[0]] + line[match.end() :]

# SPDX-License-Identifier: GPL-2.0-or-later
"""Lines of a script: where each comes from, and running them up to one that fails."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, TextIO

from pagedbg.errors import UsageError
from pagedbg.output.lines import LONGEST, gather
from pagedbg.session import Session

__all__ = ("SourceLine", "file_lines", "numbered", "run_lines")


class SourceLine(NamedTuple):
    """A line to run, and what to put before an error in it: where it stands."""

    text: str
    where: str


def file_lines(path: str) -> list[SourceLine]:
    """
    Return the lines of a file, each a command.

    :raises OSError: if it cannot be read
    :raises UsageError: if it has no lines of commands
    """
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return list(numbered(file, path))


def numbered(file: TextIO, name: str) -> Iterator[SourceLine]:
    """
    Iterate over the commands in an open file.

    :raises UsageError: as :func:`file_lines`
    """
    try:
        for number, text in gather(iter(lambda: file.readline(LONGEST + 1), "")):
            yield SourceLine(text, f"{name}:{number}: ")
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from None


def run_lines(session: Session, lines: Iterable[SourceLine]) -> int:
    """Run lines up to the first that fails, and return its status."""
    from pagedbg.shell.execute import execute

    for line in lines:
        status = execute(session, line.text, line.where)
        if status:
            return status
    return 0

# SPDX-License-Identifier: GPL-2.0-or-later
"""
Where a command ends: at the end of its line, unless that is inside quotes.

What is inside quotes belongs to a word, as in a shell. So nothing that was completed or
pasted there becomes a command, ``!`` at the beginning of a line of it least of all.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pagedbg.errors import UsageError

__all__ = ("LONGEST", "Gathered", "commands_in", "gather", "last_command", "open_quote")

LONGEST = 1 << 20
"""Characters that a command may have: whoever gives more has given the wrong file."""

# Up to the next quote: escaped characters, comments (they begin where a word might) and
# all others.
_PLAIN = re.compile(r"""(?:[^"'\\#]+|\\[^\n]|(?<![^\s|;&()<>])#[^\n]*|[\\#])*""")
_CLOSED = {"'": re.compile(r"[^']*'"), '"': re.compile(r'(?:\\.|[^"\\])*"', re.DOTALL)}


class Gathered(NamedTuple):
    """A command, and the number of the line that it begins on."""

    number: int
    text: str


def open_quote(line: str, quote: str = "") -> str:
    """
    Return the quote that is open at the end of a line or a word, or nothing; ``quote``
    is open at its beginning.
    """
    at = 0
    while True:
        if quote:
            closed = _CLOSED[quote].match(line, at)
            if closed is None:
                return quote
            at = closed.end()
        plain = _PLAIN.match(line, at)
        assert plain is not None
        at = plain.end()
        if at == len(line):
            return ""
        quote = line[at]
        at += 1


def _gather(lines: Iterable[str]) -> Iterator[tuple[Gathered, str]]:
    """
    Iterate over commands, each with the quote that is open at its end: only the last
    may have one.
    """
    first, size, quote = 1, 0, ""
    parts: list[str] = []
    for number, line in enumerate(lines, 1):
        if not parts:
            first = number
        parts.append(line)
        size += len(line)
        if size > LONGEST:
            raise UsageError(
                f"line {first:,} is too long for a command: it has more than"
                f" {LONGEST:,} characters"
            )
        quote = open_quote(line, quote)
        if not quote:
            yield Gathered(first, "".join(parts)), ""
            parts, size = [], 0
    if parts:
        yield Gathered(first, "".join(parts)), quote


def gather(lines: Iterable[str]) -> Iterator[Gathered]:
    """
    Iterate over the commands in lines, each of which has its line feed still, but
    perhaps the last.

    :raises UsageError: where a quote is not closed, and what follows it would be
        guesswork
    """
    for command, quote in _gather(lines):
        if quote:
            raise UsageError(
                f"line {command.number:,} opens a quote, {quote}, that nothing closes;"
                f" write \\{quote} for the character itself"
            )
        yield command


def commands_in(text: str) -> list[str]:
    """
    Return the commands of a text that was typed or pasted.

    :raises UsageError: as :func:`gather`
    """
    return [command.text for command in gather(_lines(text))]


def last_command(text: str) -> str:
    """Return the command that somebody is writing at the end of a text."""
    last = ""
    for command, quote in _gather(_lines(text)):
        last = "" if command.text.endswith("\n") and not quote else command.text
    return last


def _lines(text: str) -> Iterable[str]:
    """
    Lines end with a line feed, and not with one of the other characters that Python's
    splitlines() knows.
    """
    return io.StringIO(text, newline="\n")

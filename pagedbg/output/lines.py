# SPDX-License-Identifier: GPL-2.0-or-later
"""
Where a command ends: at a ``;`` or at the end of its line, unless that is inside quotes
or behind a ``\\``. What follows a ``!`` at its beginning is the shell's, to the end of
the line.

What is inside quotes belongs to a word, as in a shell. So nothing that was completed or
pasted there becomes a command, ``!`` at the beginning of a line of it least of all.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pagedbg.errors import UsageError

__all__ = (
    "LONGEST",
    "Gathered",
    "commands_in",
    "gather",
    "goes_on",
    "last_command",
    "open_quote",
)

LONGEST = 1 << 20
"""Characters that a command may have: whoever gives more has given the wrong file."""

# Up to the next quote: escaped characters, comments (they begin where a word might) and
# all others.
_PLAIN = re.compile(r"""(?:[^"'\\#]+|\\[^\n]|(?<![^\s|;&()<>])#[^\n]*|[\\#])*""")
# A line that the next is part of: what it says up to a last backslash.
_GOES_ON = re.compile(
    r"""(?>[^"'\\#]+|\\[^\n]|\\\n(?=[^\n]|\n)|(?<![^\s|;&()<>])#[^\n]*|\#)*+\\\n?\Z"""
)
# Up to where a command ends, which is no part of it.
_COMMAND = re.compile(
    r"""(?>[^"'\\#;]+|\\.|(?<![^\s|;&()<>])#[^\n]*|'[^']*'?|"(?:\\.|[^"\\])*"?|[^;])*+""",
    re.DOTALL,
)
_SHELL = re.compile(r"\s*!")
_BREAK = re.compile(
    r"""\\\n|(\\.|'[^']*'|"(?:\\.|[^"\\])*"|(?<![^\s|;&()<>])#[^\n]*)""", re.DOTALL
)
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
    return _open_at_end(line, quote)[0]


def goes_on(text: str) -> bool:
    """Whether a text ends with a backslash by which the next line belongs to it."""
    quote, begun = _open_at_end(text, "")
    return not quote and _GOES_ON.match(text, begun) is not None


def _open_at_end(line: str, quote: str) -> tuple[str, int]:
    """The quote that is open, or nothing and where the last was closed."""
    at = 0
    while True:
        if quote:
            closed = _CLOSED[quote].match(line, at)
            if closed is None:
                return quote, at
            at = closed.end()
        begun = at
        plain = _PLAIN.match(line, at)
        assert plain is not None
        at = plain.end()
        if at == len(line):
            return "", begun
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
        quote, begun = _open_at_end(line, quote)
        if not quote and not (line.endswith("\n") and _GOES_ON.match(line, begun)):
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
        for text in _separate(command.text):
            yield Gathered(command.number, text)


def _separate(text: str) -> Iterator[str]:
    """
    Iterate over the commands of a line, without the ``;`` between them and the
    backslashes by which it goes on.
    """
    at = 0
    while True:
        end = len(text)
        if _SHELL.match(text, at) is None:
            found = _COMMAND.match(text, at)
            assert found is not None
            end = found.end()
        yield _joined(text[at:end])
        if end == len(text):
            return
        at = end + 1


def _joined(command: str) -> str:
    if "\\\n" not in command or command.lstrip().startswith(("!", "#")):
        return command
    return _BREAK.sub(lambda match: match[1] or "", command)


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
        ended = command.text.endswith("\n") and not (quote or goes_on(command.text))
        last = "" if ended else [*_separate(command.text)][-1]
    return last


def _lines(text: str) -> Iterable[str]:
    """
    Lines end with a line feed, and not with one of the other characters that Python's
    splitlines() knows.
    """
    return io.StringIO(text, newline="\n")

# SPDX-License-Identifier: GPL-2.0-or-later
"""
Text that cannot drive a terminal.

Names come from a dump, a capture or a task that called itself so, and may hold escape
sequences, or characters that turn the direction of writing.
:class:`Printed` stands where standard output and standard error are: what is written to
it is printable, whoever writes it. What passes by it takes one of two doors:
:func:`raw`, for text whose parts are :func:`printable` already, with our own colours
between them, and for data that goes to no terminal.
"""

from __future__ import annotations

import contextlib
import re
from typing import TextIO, cast

__all__ = ("Printed", "printable", "printable_line", "printed", "raw")

_NOT_PLAIN = re.compile(r"[^\n\t -~]")


def printable_line(text: str) -> str:
    """Return a line of text: as :func:`printable`, but tabs stay."""
    return "\t".join(map(printable, text.split("\t")))


def printable(value: object) -> str:
    """
    Return text of one line: what is not printable, line breaks included, is written as
    Python writes it in a string (``\\x1b``).
    """
    text = str(value)
    return text if text.isprintable() else _escape(text)


def _escape(text: str) -> str:
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in text
    )


def _lines_of(text: str) -> str:
    """
    Return text of several lines: as :func:`printable`, but line feeds and tabs stay.
    """
    return _NOT_PLAIN.sub(lambda match: _escape(match[0]), text)


class Printed:
    """
    A stream of text that people read.

    It has no ``buffer``, on purpose: that would be a way past it.

    :param stream: where the text goes
    :param terminal: whether a terminal shows it in the end, if need be through another
        program
    :param unheard: whether to go on where the text cannot be written: there is nobody
        to tell
    """

    def __init__(
        self, stream: TextIO, *, terminal: bool, unheard: bool = False
    ) -> None:
        self.stream = stream
        self.terminal = terminal
        self._failures = (OSError,) if unheard else ()

    def write(self, text: str) -> int:
        """Write text of one line or more."""
        with contextlib.suppress(*self._failures):
            self.stream.write(_lines_of(text))
        return len(text)

    def flush(self) -> None:
        """Write what is held back."""
        with contextlib.suppress(*self._failures):
            self.stream.flush()

    def writable(self) -> bool:
        """Say that it can be written to."""
        return True

    def isatty(self) -> bool:
        """Say whether the stream itself is a terminal."""
        return self.stream.isatty()

    def fileno(self) -> int:
        """The descriptor of the stream."""
        return self.stream.fileno()

    @property
    def encoding(self) -> str:
        """The encoding of the stream."""
        return self.stream.encoding

    @property
    def errors(self) -> str | None:
        """What the stream does with characters that it cannot encode."""
        return self.stream.errors


def printed(
    stream: TextIO, *, terminal: bool | None = None, unheard: bool = False
) -> TextIO:
    """
    Return a stream of text that people read and that is written to another; :param
    terminal: as of :class:`Printed`, if it is known.
    """
    stream = raw(stream)
    return cast(
        TextIO,
        Printed(
            stream,
            terminal=stream.isatty() if terminal is None else terminal,
            unheard=unheard,
        ),
    )


def raw(stream: TextIO) -> TextIO:
    """
    Return the stream behind a :class:`Printed`, to write escape sequences of our own to
    it.
    """
    return stream.stream if isinstance(stream, Printed) else stream

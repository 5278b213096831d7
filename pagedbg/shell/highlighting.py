# SPDX-License-Identifier: GPL-2.0-or-later
"""
Colours of a line while it is typed: what is a command, an option, the shell's; and what
is wrong, where it is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.lexers import Lexer

from pagedbg.output.lines import last_command
from pagedbg.shell.background_values import BackgroundValues
from pagedbg.shell.line_check import wrong_words
from pagedbg.shell.registry import command_of
from pagedbg.shell.typed_words import TOKEN, unquoted

__all__ = ("LineLexer",)

_COMMAND, _OPTION, _VALUE = "bold", "ansicyan", "ansigreen"
_SHELL, _WRONG = "ansimagenta", "ansired underline"


class LineLexer(Lexer):
    """
    Colours a line of our prompt. It reads nothing: what it has to know of the target is
    read afterwards, and the line is drawn again then.

    :param aliases: the user's own words for commands
    :param values: what is known of the target
    """

    def __init__(self, aliases: Collection[str], values: BackgroundValues) -> None:
        self._aliases = aliases
        self._values = values

    def lex_document(self, document: Document) -> Callable[[int], StyleAndTextTuples]:
        """Return what gives a line with its colours."""
        text = document.text
        # Of several commands the last is what is being typed.
        begins = len(text) - len(last_command(text))
        styles = [*_plain(text[:begins]), *self._command(text[begins:])]
        lines: list[StyleAndTextTuples] = [[]]
        for style, part in styles:
            first, *others = part.split("\n")
            lines[-1].append((style, first))
            lines += [[(style, other)] for other in others]
        return lambda number: lines[number] if number < len(lines) else []

    def _command(self, text: str) -> Iterator[tuple[str, str]]:
        if text.lstrip().startswith(("!", "#")):
            yield _SHELL, text
            return
        parts = [*_parts(text)]
        places = [i for i, (style, _) in enumerate(parts) if style is None]
        words = [unquoted(parts[i][1]) for i in places]
        # The last word may not be all yet.
        typing = bool(places) and places[-1] == len(parts) - 1
        wrong = {places[i] for i in self._wrong(words, typing)}
        named = places[: len(command_of(words).split())] if words else []
        for i, (style, part) in enumerate(parts):
            if i in wrong:
                style = _WRONG
            elif i in named:
                style = _COMMAND
            elif style is None:
                style = (
                    _OPTION
                    if part.startswith("-")
                    else _VALUE
                    if part[0] in "'\""
                    else ""
                )
            yield style, part

    def _wrong(self, words: Sequence[str], typing: bool) -> Iterator[int]:
        """The places of wrong words."""
        complete = words[:-1] if typing else words
        if not complete or complete[0] in self._aliases:
            return
        for number in wrong_words(words, self._values.known):
            if number < len(complete):
                yield number


def _parts(text: str) -> Iterator[tuple[str | None, str]]:
    """
    Take a command apart: what is the shell's has its style, a blank none, and a word of
    the command None.
    """
    shell = file = False
    at = 0
    for match in TOKEN.finditer(text):
        token = match.group()
        yield from _plain(text[at : match.start()])
        at = match.end()
        if token.isspace():
            yield "", token
        elif shell or token == "|" or token[-1] in "<>":
            shell, file = shell or token == "|", token[-1] in "<>"
            yield _SHELL, token
        elif file:
            file = False
            yield _VALUE, token
        else:
            yield None, token
    yield from _plain(text[at:])


def _plain(text: str) -> Iterator[tuple[str, str]]:
    if text:
        yield "", text

# SPDX-License-Identifier: GPL-2.0-or-later
"""
Colours of a line while it is typed: what is a command, an option, the shell's; and what
is wrong, where it is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

from drgn.commands import unquote_shell_word
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.lexers import Lexer

from pagedbg.output.lines import last_command, open_quote
from pagedbg.shell.command import NAMESPACE
from pagedbg.shell.completion import TOKEN
from pagedbg.shell.parser import Parser
from pagedbg.shell.registry import COMMANDS, GROUPS, command_of

__all__ = ("LineLexer",)

_COMMAND, _OPTION, _VALUE = "bold", "ansicyan", "ansigreen"
_SHELL, _WRONG = "ansimagenta", "ansired underline"


class LineLexer(Lexer):
    """
    Colours a line of our prompt.

    :param aliases: the user's own words for commands
    """

    def __init__(self, aliases: Collection[str]) -> None:
        self._aliases = aliases

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
        words: list[str] = []
        shell = file = False
        at = 0
        for match in TOKEN.finditer(text):
            token = match.group()
            yield from _plain(text[at : match.start()])
            at = match.end()
            typing = at == len(text)
            if token.isspace():
                yield "", token
                continue
            if shell or token == "|" or token[-1] in "<>":
                shell, file = shell or token == "|", token[-1] in "<>"
                yield _SHELL, token
                continue
            if file:
                file = False
                yield _VALUE, token
                continue
            words.append(unquote_shell_word(token + open_quote(token)))
            name = command_of(words)
            if len(words) == 1 or (len(words) == 2 and words[0] in GROUPS):
                known = name in COMMANDS or words[0] in self._aliases
                known |= len(words) == 1 and words[0] in GROUPS
                yield _of(token, _COMMAND, known or typing)
            elif token.startswith("-") and name in COMMANDS:
                known = typing or _is_known(words, NAMESPACE.get(name).parser)
                yield _of(token, _OPTION, known)
            else:
                yield ("" if token[0] not in "'\"" else _VALUE), token
        yield from _plain(text[at:])


def _is_known(words: Sequence[str], parser: Parser) -> bool:
    """
    Whether the last word, which begins with a dash, is an option or its beginning, a
    number, or what the option before it is given: ``--sort -pages``.
    """
    *_, before, word = words
    if word[1:2].isdigit() or word == "--":
        return True
    option = word.partition("=")[0]
    return (before in parser.options() and not word.startswith("--")) or any(
        each.startswith(option) for each in parser.options()
    )


def _of(token: str, style: str, known: bool) -> tuple[str, str]:
    return (style if known else _WRONG), token


def _plain(text: str) -> Iterator[tuple[str, str]]:
    if text:
        yield "", text

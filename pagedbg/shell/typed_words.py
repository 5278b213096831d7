# SPDX-License-Identifier: GPL-2.0-or-later
"""
A line that is being typed, taken apart: its words, and what the cursor is behind.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from drgn.commands import unquote_shell_word

from pagedbg.output.lines import open_quote
from pagedbg.shell.command import NAMESPACE
from pagedbg.shell.parser import flat_arguments, is_option, takes_value

__all__ = (
    "HOLDING",
    "TOKEN",
    "TypedPlace",
    "behind",
    "command_words",
    "place_of",
    "unquoted",
)

TOKEN = re.compile(
    r"""\s+|[0-9]*[<>]+|\||(?:\\.?|"(?:\\.|[^"])*"?|'[^']*'?|[^\s<>|"'\\])+"""
)

HOLDING = frozenset(("watch", "alias"))
"""The commands whose last words are another of pagedbg's."""


@dataclasses.dataclass
class TypedPlace:
    """
    Where the cursor is: behind ``words``, in the unfinished ``word``, which is a file's
    name if ``file``. All of it is the shell's if ``shell``.
    """

    words: list[str]
    word: str
    file: bool = False
    shell: bool = False


def unquoted(word: str) -> str:
    """What a word says, be it unfinished."""
    return unquote_shell_word(word + open_quote(word))


def place_of(text: str) -> TypedPlace:
    """Take the text before the cursor apart; of a pipeline, its last part."""
    words: list[str] = []
    word, file, shell = "", False, text.startswith("!")
    for match in TOKEN.finditer(text, shell):
        token = match.group()
        if token == "|" and word and (words[-1:] == ["--gfp"] or "--gfp=" in word):
            # Between flags: what is offered is in quotes.
            word += token
        elif word.endswith("|") and not token.isspace():
            word += token
        elif token == "|" or word.endswith("|"):
            words, word, file, shell = [], "", False, True
        elif token.isspace():
            if word and not file:
                words.append(unquote_shell_word(word))
            if word:
                file = False
            word = ""
        elif token[-1] in "<>":
            word, file = "", True
        else:
            word = token
    return TypedPlace(words, word, file, shell)


def command_words(line: str) -> list[str]:
    """
    The words of the command that a line begins with, without what is the shell's; none
    where the line has several commands, or is the shell's.
    """
    if line.startswith(("!", "?", "#")) or ";" in line:
        return []
    words: list[str] = []
    file = False
    for token in TOKEN.findall(line):
        if token == "|":
            break
        if token[-1] in "<>":
            file = True
        elif file and not token.isspace():
            file = False
        elif not token.isspace():
            words.append(unquoted(token))
    return words


def behind(place: TypedPlace) -> TypedPlace:
    """A place in a command that another one holds, where its own name is known."""
    begin = _held(place.words)
    return place if begin is None else dataclasses.replace(place, words=begin)


def _held(words: Sequence[str]) -> list[str] | None:
    """The words of the command that another one holds, if there are some."""
    if not words or words[0] not in HOLDING:
        return None
    arguments = [*flat_arguments(NAMESPACE.get(words[0]).arguments)]
    options = [arg for arg in arguments if is_option(arg)]
    valued = {name for arg in options if takes_value(arg) for name in arg.args}
    # All but the last stand before it.
    before = len(arguments) - len(options) - 1
    following = iter(range(1, len(words)))
    for number in following:
        if words[number] in valued:
            next(following, None)
        elif not words[number].startswith("-"):
            if before == 0:
                return [*words[number:]]
            before -= 1
    return None

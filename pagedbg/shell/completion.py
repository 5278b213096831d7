# SPDX-License-Identifier: GPL-2.0-or-later
"""
Completion of a line: commands, their words and options, the options' values, and files.

Values and files are named by strangers. Only printable text is offered, and as one word
whatever it holds: nobody reads it again before it is run.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import os
import re
import shlex
from collections.abc import (
    AsyncGenerator,
    Hashable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)

from drgn.commands import argument, unquote_shell_word
from prompt_toolkit.application import get_app
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.completion import (
    CompleteEvent,
    Completer,
    Completion,
    ExecutableCompleter,
    FuzzyCompleter,
    PathCompleter,
    WordCompleter,
)
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import AnyFormattedText

from pagedbg.output.lines import last_command, open_quote
from pagedbg.session import Session
from pagedbg.shell.background_values import BackgroundValues, NotYet
from pagedbg.shell.command import NAMESPACE
from pagedbg.shell.option_values import VALUES
from pagedbg.shell.parser import flat_arguments, is_option, takes_value
from pagedbg.shell.registry import COMMANDS, GROUPS, command_of
from pagedbg.shell.table_options import PAGE_KEY_WORDS, SORTABLE, ByParser

TOKEN = re.compile(
    r"""\s+|[0-9]*[<>]+|\||(?:\\.?|"(?:\\.|[^"])*"?|'[^']*'?|[^\s<>|"'\\])+"""
)
# What stands for a value that is a file, or a directory.
PATHS = frozenset(("FILE", "CORE", "DIR", "SYMBOLS", "KEYFILE", "LAKE", "OLD", "NEW"))


WATCH = "watch"
"""The command whose last words are another of pagedbg's."""


@dataclasses.dataclass
class _Place:
    """
    Where the cursor is: behind ``words``, in the unfinished ``word``, which is a file's
    name if ``file``. All of it is the shell's if ``shell``.
    """

    words: list[str]
    word: str
    file: bool = False
    shell: bool = False


def _place(text: str) -> _Place:
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
    return _Place(words, word, file, shell)


def _inside(place: _Place) -> _Place:
    """A place in a command that is watched, where its own name is known."""
    if place.words[:1] != [WATCH]:
        return place
    following = iter(range(1, len(place.words)))
    valued = {
        name
        for arg in flat_arguments(NAMESPACE.get(WATCH).arguments)
        if is_option(arg) and takes_value(arg)
        for name in arg.args
    }
    for number in following:
        if place.words[number] in valued:
            next(following, None)
        elif not place.words[number].startswith("-"):
            return dataclasses.replace(place, words=place.words[number:])
    return place


def _unquoted(word: str) -> str:
    """What a word says, be it unfinished."""
    return unquote_shell_word(word + open_quote(word))


class LineCompleter(Completer):
    """
    Complete a line of our prompt.

    ``values`` are what had to be read for that. The prompt does not wait until it has
    been, :meth:`get_completions` does.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.values = BackgroundValues(session)
        self._paths, self._programs = PathCompleter(), ExecutableCompleter()
        self._given_up: CompleteEvent | None = None

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        """Iterate over what may stand at the cursor."""
        while True:
            try:
                yield from [*self._found(document, complete_event)]
                return
            except NotYet as missing:
                self.values.wait(missing.what)

    async def get_completions_async(
        self, document: Document, complete_event: CompleteEvent
    ) -> AsyncGenerator[Completion, None]:
        """
        Iterate over what may stand at the cursor, once it is known. If something else
        is typed meanwhile, nothing may.
        """
        buffer = get_app().current_buffer
        # It is asked for once more with what was typed then.
        while complete_event is not self._given_up:
            try:
                found = [*self._found(document, complete_event)]
            except NotYet as missing:
                get_app().invalidate()
                if not await self._arrival(missing.what, buffer, document):
                    self._given_up = complete_event
                continue
            for each in found:
                yield each
            return

    async def _arrival(self, what: Hashable, buffer: Buffer, wanted: Document) -> bool:
        """Wait for what is being read, and return whether it is still wanted."""
        arrived = False
        try:
            while buffer.document == wanted and not arrived:
                arrived = await self.values.arrival(what)
        finally:
            # What the target has is known for later, what a directory has is not.
            if not arrived and what not in VALUES:
                self.values.drop(what)
        return arrived

    def _found(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterator[Completion]:
        text = last_command(document.text_before_cursor).lstrip()
        if text.startswith("#"):
            return
        place = _inside(_place(text))
        if place.file or (place.shell and (place.words or "/" in place.word)):
            yield from self._files(place.word, self._paths, complete_event)
        elif place.shell:
            yield from self._files(place.word, self._programs, complete_event)
        elif place.words[:1] == ["help"]:
            yield from _commands(place.words[1:], place.word, _first_words())
        elif place.words and command_of(place.words) in COMMANDS:
            yield from self._arguments(place, complete_event)
        else:
            own = {**_first_words(), **self._session.aliases}
            yield from _commands(place.words, place.word, own)

    def _arguments(self, place: _Place, event: CompleteEvent) -> Iterator[Completion]:
        name = command_of(place.words)
        command = NAMESPACE.get(name)
        arguments = list(flat_arguments(command.arguments))
        options = {
            name: arg for arg in arguments if is_option(arg) for name in arg.args
        }
        before = place.words[len(name.split()) :]
        option, equals, value = place.word.partition("=")
        if equals and option in options:
            yield from self._values(options[option], value, place, event)
        elif before and before[-1] in options and takes_value(options[before[-1]]):
            yield from self._values(options[before[-1]], place.word, place, event)
        else:
            positional = _positional(arguments, options, before)
            if positional is not None and not place.word.startswith("-"):
                yield from self._values(positional, place.word, place, event)
            if place.word.startswith("-") or not place.word:
                yield from _matching(place.word, _options_left(arguments, before))

    def _values(
        self, arg: argument, word: str, place: _Place, event: CompleteEvent
    ) -> Iterator[Completion]:
        if arg.kwargs.get("metavar") in PATHS:
            yield from self._files(word, self._paths, event)
        elif "choices" in arg.kwargs:
            choices = arg.kwargs["choices"]
            said = choices if isinstance(choices, Mapping) else {}
            yield from _matching(
                word, {name: said.get(name, "") for name in map(str, choices)}
            )
        else:
            # Of a list, complete its last member with those that are not in it yet. The
            # word is written anew, since it may have been quoted, or has to be now.
            sign = "|" if "--gfp" in arg.args else ","
            before, comma, member = _unquoted(word).rpartition(sign)
            there = before.split(sign)
            known = self._known(arg, " ".join(place.words))
            left = [name for name in known if name not in there]
            for name, drawn in _those_like(member, left):
                yield Completion(
                    shlex.quote(before + comma + name),
                    start_position=-len(word),
                    display=drawn,
                    display_meta=known[name],
                )

    def _known(self, arg: argument, before: str) -> Mapping[str, str]:
        """
        Return the values that an argument may have on this target, behind words, with
        what is said of each.
        """
        if {"--sort", "--columns"} & {*arg.args}:
            return sortable(before.split())
        if isinstance(parser := arg.kwargs.get("type"), ByParser):
            return {
                word: _meanings().get(PAGE_KEY_WORDS.get(word, word), "")
                for word in parser.words
            }
        for key in (*arg.args, before, str(arg.kwargs.get("metavar"))):
            if key in VALUES:
                return self.values.of(key)
        return {}

    def _files(
        self, word: str, completer: PathCompleter, event: CompleteEvent
    ) -> Iterator[Completion]:
        begun = os.path.expanduser(_unquoted(word))
        if not begun.isprintable():
            return
        # Nobody keeps what is in a directory: it may be another moment later.
        what = (completer, begun)
        found: Sequence[tuple[str, AnyFormattedText]] | None = self.values.get(
            what,
            lambda: [
                (begun + each.text, each.display)
                for each in completer.get_completions(Document(begun), event)
            ],
        )
        self.values.drop(what)
        # A program may be in several directories of $PATH.
        for path, drawn in dict(found or ()).items():
            if path.isprintable():
                yield Completion(
                    shlex.quote(f"./{path}" if path.startswith("-") else path),
                    start_position=-len(word),
                    display=drawn,
                )


def sortable(words: Sequence[str]) -> Mapping[str, str]:
    """The columns that a command's rows have, behind the words that were typed."""
    name = command_of(words)
    rows, sums = SORTABLE.get(name, ((), ()))
    by = NAMESPACE.get(name).parser.get_default("by")
    for word, following in itertools.zip_longest(words, words[1:]):
        if word == "--by" and following is not None:
            by = following.split(",")
        elif word.startswith("--by="):
            by = word.removeprefix("--by=").split(",")
    keys = [PAGE_KEY_WORDS.get(key, key) for key in by or ()]
    names = [*keys, *(column.name for column in (sums if by else rows))]
    return {name: _meanings().get(name, "") for name in names}


@functools.cache
def _meanings() -> dict[str, str]:
    """What columns are, by their names."""
    from pagedbg.schema.relations import RELATIONS

    every = (column for columns in RELATIONS.values() for column in columns)
    return {column.name: column.meaning.rstrip(".") for column in every}


def _commands(
    words: Sequence[str], word: str, first: dict[str, str]
) -> Iterator[Completion]:
    """Complete the name of a command, of which there are some words."""
    if not words:
        yield from _matching(word, first)
    elif len(words) == 1 and words[0] in GROUPS:
        known = {
            name.partition(" ")[2]: entry.description
            for name, entry in COMMANDS.items()
            if name.startswith(words[0] + " ")
        }
        yield from _matching(word, known)


def _first_words() -> dict[str, str]:
    words: dict[str, str] = {}
    for name, entry in COMMANDS.items():
        first, _, second = name.partition(" ")
        words.setdefault(first, entry.group.lower() if second else entry.description)
    return words


def _positional(
    arguments: Sequence[argument], options: dict[str, argument], before: Sequence[str]
) -> argument | None:
    """Return the positional argument that the next word is for."""
    count = 0
    skip = False
    for word in before:
        if skip:
            skip = False
        elif word in options:
            skip = takes_value(options[word])
        elif not word.startswith("-"):
            count += 1
    for arg in arguments:
        if is_option(arg):
            continue
        if count == 0 or arg.kwargs.get("nargs") in ("*", "+", "..."):
            return arg
        count -= 1
    return None


def _options_left(
    arguments: Sequence[argument], before: Sequence[str]
) -> dict[str, str]:
    """Return the long options that were not given yet, with their help."""
    left = {}
    for arg in arguments:
        if is_option(arg) and (
            arg.kwargs.get("action") == "append" or not set(arg.args) & set(before)
        ):
            left[arg.args[-1]] = str(arg.kwargs.get("help") or "")
    left["--help"] = "show this help"
    return left


def _those_like(word: str, known: Iterable[str]) -> list[tuple[str, AnyFormattedText]]:
    """
    Return the known words that begin with a word, and how each is drawn; where none
    does, those that have its letters in this order, the nearest first. So what Tab
    finds by its beginning is never in doubt.
    """
    names = list(known)
    if begun := [(name, name) for name in names if name.startswith(word)]:
        return [*begun]
    fuzzy = FuzzyCompleter(WordCompleter(names, sentence=True), pattern="^.+")
    found = fuzzy.get_completions(Document(word), CompleteEvent())
    return [(each.text, each.display) for each in found]


def _matching(word: str, known: Mapping[str, str]) -> Iterator[Completion]:
    """
    Iterate over those like a word of our own words, which need no quotes, with what is
    said of each.
    """
    for name, drawn in _those_like(word, known):
        yield Completion(
            name, start_position=-len(word), display=drawn, display_meta=known[name]
        )

# SPDX-License-Identifier: GPL-2.0-or-later
"""
Completion of a line: commands, their words and options, the options' values, and files.

Values and files are named by strangers. Only printable text is offered, and as one word
whatever it holds: nobody reads it again before it is run.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import (
    AsyncGenerator,
    Hashable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)

from drgn.commands import argument
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

from pagedbg.output.lines import last_command
from pagedbg.session import Session
from pagedbg.shell.background_values import BackgroundValues, NotYet
from pagedbg.shell.command import NAMESPACE
from pagedbg.shell.option_values import VALUES
from pagedbg.shell.parser import flat_arguments, is_option, takes_value
from pagedbg.shell.registry import COMMANDS, GROUPS, command_of
from pagedbg.shell.table_columns import columns, meanings, sortable
from pagedbg.shell.table_options import PAGE_KEY_WORDS, ByParser
from pagedbg.shell.typed_words import TypedPlace, behind, place_of, unquoted

# What stands for a value that is a directory, and for one that is a file or either.
DIRECTORIES = frozenset(("DIR", "LAKE"))
PATHS = frozenset((*DIRECTORIES, "FILE", "CORE", "SYMBOLS", "KEYFILE", "OLD", "NEW"))


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
        self._directories = PathCompleter(only_directories=True)
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
        place = behind(place_of(text))
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

    def _arguments(
        self, place: TypedPlace, event: CompleteEvent
    ) -> Iterator[Completion]:
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
        self, arg: argument, word: str, place: TypedPlace, event: CompleteEvent
    ) -> Iterator[Completion]:
        if arg.kwargs.get("metavar") in DIRECTORIES:
            yield from self._files(word, self._directories, event)
        elif arg.kwargs.get("metavar") in PATHS:
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
            before, comma, member = unquoted(word).rpartition(sign)
            there = before.split(sign)
            known = self._known(arg, " ".join(place.words))
            if "--columns" in arg.args and member.startswith("-"):
                known = {f"-{name}": meaning for name, meaning in known.items()}
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
        if "--sort" in arg.args:
            return sortable(before.split()) or {}
        if "--columns" in arg.args:
            return columns(before.split()) or {}
        if isinstance(parser := arg.kwargs.get("type"), ByParser):
            return {
                word: meanings().get(PAGE_KEY_WORDS.get(word, word), "")
                for word in parser.words
            }
        for key in (*arg.args, before, str(arg.kwargs.get("metavar"))):
            if key in VALUES:
                return self.values.of(key)
        return {}

    def _files(
        self, word: str, completer: PathCompleter, event: CompleteEvent
    ) -> Iterator[Completion]:
        begun = os.path.expanduser(unquoted(word))
        if not begun.isprintable():
            return
        # Nobody keeps what is in a directory: it may be another moment later.
        what = (completer, begun)
        found: Sequence[tuple[str, str]] | None = self.values.get(
            what,
            lambda: [
                (begun + each.text, each.display_text)
                for each in completer.get_completions(Document(begun), event)
            ],
        )
        self.values.drop(what)
        # A program may be in several directories of $PATH.
        for path, drawn in dict(found or ()).items():
            if path.isprintable():
                # So that the next Tab goes on in it.
                path += "/" if drawn.endswith("/") else ""
                yield Completion(
                    shlex.quote(f"./{path}" if path.startswith("-") else path),
                    start_position=-len(word),
                    display=drawn,
                )


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

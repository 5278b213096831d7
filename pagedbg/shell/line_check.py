# SPDX-License-Identifier: GPL-2.0-or-later
"""
Which words of a command cannot be right, while it is typed: options that it does not
have, words that have no place, values that would be refused.

Nothing is read for that. Of what only the target has, as zones, any word may be right
until they are known.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence

from drgn.commands import argument

from pagedbg.errors import PagedbgError, UsageError
from pagedbg.schema import filter_words
from pagedbg.schema.event_filter import read_events
from pagedbg.schema.flag_words import parse_flags
from pagedbg.schema.settings import SETTINGS
from pagedbg.shell.command import NAMESPACE, Command
from pagedbg.shell.parser import flat_arguments, is_option, takes_value
from pagedbg.shell.registry import COMMANDS, GROUPS, command_of
from pagedbg.shell.table_columns import columns, meanings, sortable
from pagedbg.shell.table_options import parse_columns
from pagedbg.shell.typed_words import HOLDING, command_words
from pagedbg.sources.page_address import parse_range

__all__ = ("wrong_words",)

Known = Callable[[str], Mapping[str, str] | None]
"""The values that there are by an option or what stands for them; None if unknown."""

# How a value is read, by the option or by what stands for it, where only the command
# itself does so.
_READ: dict[str, Callable[[str], object]] = {
    "--orders": filter_words.parse_orders,
    "--node": filter_words.parse_numbers,
    "--pid": filter_words.parse_numbers,
    "--pfns": filter_words.parse_pfns,
    "--events": read_events,
    "NUMBER": parse_range,
}

# What is one of those that there are, by itself.
_ONE_OF = frozenset(("COMMAND", "RELATION", "SETTING"))


def wrong_words(words: Sequence[str], known: Known) -> Iterator[int]:
    """
    Iterate over the places of the words of a command that are wrong.

    :param known: must not read anything
    """
    name = command_of(words)
    if name in COMMANDS:
        begin = len(name.split())
        for number in _wrong_arguments(NAMESPACE.get(name), words[begin:], known):
            yield begin + number
    elif words[0] not in GROUPS:
        yield 0
    elif len(words) > 1:
        yield 1


def _wrong_arguments(
    command: Command, words: Sequence[str], known: Known
) -> Iterator[int]:
    arguments = [*flat_arguments(command.arguments)]
    options = {name: arg for arg in arguments if is_option(arg) for name in arg.args}
    places = [arg for arg in arguments if not is_option(arg)]

    def wrong(arg: argument, text: str) -> bool:
        return not _fits(arg, text, (*command.name.split(), *words), known)

    waiting: int | None = None
    only_places = unknown = False
    for number, word in enumerate(words):
        # What is behind a wrong option may be its value.
        unknown, behind_unknown = False, unknown
        option, equals, value = word.partition("=")
        if waiting is not None and not (word in options or word == "--"):
            if wrong(options[words[waiting]], word):
                yield number
            waiting = None
            continue
        if waiting is not None and options[words[waiting]].kwargs.get("nargs") != "?":
            # Its value is missing.
            yield waiting
        waiting = None
        if only_places or not word.startswith("-") or word[1:2].isdigit():
            if not places and behind_unknown:
                continue
            if not places:
                yield number
            elif places[0].kwargs.get("nargs") == "...":
                # All that follows is of another command, pagedbg's or not.
                if command.name in HOLDING:
                    for at in _wrong_held(words[number:], known):
                        yield number + at
                return
            else:
                if wrong(places[0], word):
                    yield number
                if places[0].kwargs.get("nargs") not in ("*", "+"):
                    del places[0]
        elif word == "--":
            only_places = True
        elif word in options:
            waiting = number if takes_value(options[word]) else None
        elif equals and option in options:
            if not takes_value(options[option]) or wrong(options[option], value):
                yield number
        elif word[:2] not in options and word not in ("-h", "--help"):
            unknown = True
            yield number


def _wrong_held(words: Sequence[str], known: Known) -> Iterator[int]:
    """The places of wrong words in a command that another one holds."""
    if len(words) > 1 or words[0].isidentifier():
        yield from wrong_words(words, known)
    elif (inner := command_words(words[0])) and any(
        True for _ in wrong_words(inner, known)
    ):
        # A whole line, in quotes.
        yield 0


def _fits(arg: argument, text: str, line: Sequence[str], known: Known) -> bool:
    """Whether a value may be taken."""
    try:
        _check(arg, text, line, known)
    except (PagedbgError, argparse.ArgumentTypeError, ValueError):
        return False
    return True


def _check(arg: argument, text: str, line: Sequence[str], known: Known) -> None:
    """:raises UsageError: if a value would not be taken"""
    name, stands_for = str(arg.args[0]), str(arg.kwargs.get("metavar"))
    if "choices" in arg.kwargs:
        _one_of(text, arg.kwargs["choices"])
    elif name == "--columns":
        there = columns(line) or meanings()
        for column in parse_columns(text):
            # Those of a query are what it says.
            if command_of(line) != "sql":
                _one_of(column.removeprefix("-"), there)
    elif callable(arg.kwargs.get("type")):
        arg.kwargs["type"](text)
    elif name == "--sort":
        if those := sortable(line):
            _one_of(text.removeprefix("-"), those)
    elif name in ("--zone", "--migratetype"):
        if names := known(name):
            filter_words.parse_kinds(text, [*names], name)
    elif name == "--gfp":
        if masks := known(name):
            parse_flags([(int(mask, 16), flag) for flag, mask in masks.items()], text)
    elif stands_for in _ONE_OF:
        _one_of(text, known(stands_for) or (text,))
    elif stands_for == "VALUE":
        # Behind a setting that is wrong, which is marked already.
        if line[1] in SETTINGS:
            SETTINGS[line[1]].read(text)
    elif reader := _READ.get(name, _READ.get(stands_for)):
        reader(text)


def _one_of(text: str, those: Mapping[str, str] | Sequence[str]) -> None:
    if text not in those:
        raise UsageError(text)

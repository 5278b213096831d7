# SPDX-License-Identifier: GPL-2.0-or-later
"""
The words of a command: arguments as :mod:`drgn.commands` declares them, and a parser
whose errors are one sentence.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, NoReturn

from drgn.commands import argument, argument_group, mutually_exclusive_group

from pagedbg.errors import PagedbgError, UsageError
from pagedbg.output.paragraphs import reflow, window
from pagedbg.schema.nearest import did_you_mean, nearest_or_all
from pagedbg.shell.registry import COMMANDS

__all__ = ("Argument", "HelpRequested", "Parser", "flat_arguments")

Argument = argument | argument_group | mutually_exclusive_group


_VALUELESS_ACTIONS = frozenset(
    {
        "store_true",
        "store_false",
        "store_const",
        "append_const",
        "count",
        "help",
        "version",
    }
)


def flat_arguments(arguments: Iterable[Argument]) -> Iterator[argument]:
    """Iterate over arguments with the groups taken apart."""
    for arg in arguments:
        if isinstance(arg, argument_group | mutually_exclusive_group):
            yield from flat_arguments(arg.arguments)
        else:
            yield arg


def is_option(arg: argument) -> bool:
    """Whether an argument is an option, and not told by its place."""
    return str(arg.args[0]).startswith("-")


def takes_value(arg: argument) -> bool:
    """Whether an option is followed by a value."""
    return (
        arg.kwargs.get("action") not in _VALUELESS_ACTIONS
        and arg.kwargs.get("nargs") != 0
    )


class HelpRequested(Exception):
    """``--help`` was among the words."""


class _HelpAction(argparse.Action):
    def __call__(self, *_: object) -> NoReturn:
        raise HelpRequested


class HelpFormatter(argparse.HelpFormatter):
    """Wraps to the window, and leaves indented lines as they are."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=window())

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return reflow(text, width)


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one sentence, raised as UsageError."""

    def error(self, message: str) -> NoReturn:
        message = message.removeprefix("argument ")
        missing = message.removeprefix("the following arguments are required: ")
        if missing != message:
            message = f"missing: {missing}"
        raise UsageError(f"{message} (help {self.prog})")

    def add_arguments(self, arguments: Iterable[Argument]) -> None:
        """Add arguments, groups of them, and ``--help``."""
        if sys.version_info >= (3, 14):
            # Help in colours: escape sequences that are not let through.
            self.color = False
        _add_all(self, arguments)
        self.add_argument(
            "-h", "--help", action=_HelpAction, nargs=0, help="show this help"
        )

    def parse_line(self, words: Sequence[str]) -> argparse.Namespace:
        """
        Parse the words of a command; a word that has no place is answered with the
        nearest that has.
        """
        words = list(self._joined(words))
        try:
            args, rest = self.parse_known_args(words)
        except UsageError:
            # Python 3.13 gives a positional argument what follows an unknown option,
            # and may refuse it as that.
            self._refuse_unknown(
                word
                for word in itertools.takewhile("--".__ne__, words)
                if not self._may_be_known(word)
            )
            raise
        if rest:
            self._refuse_unknown(rest)
            self.error(f"unexpected {rest[0]!r}{self._as_option(words, rest[0])}")
        return args

    def _joined(self, words: Sequence[str]) -> Iterator[str]:
        """
        Give an option that takes a value the word behind it, also where that begins
        with a dash and would be taken for an option: ``--sort -pages``, ``--pid -1``.
        """
        following = iter(words)
        for word in following:
            action = self._option_string_actions.get(word)
            if word == "--":
                yield word
                yield from following
            elif (
                not word.startswith("--") or action is None or action.nargs is not None
            ):
                yield word
            else:
                value = next(following, None)
                if value is None:
                    yield word
                elif _is_value_with_dash(value) and value not in self.options():
                    yield f"{word}={value}"
                else:
                    yield word
                    yield value

    def _refuse_unknown(self, words: Iterable[str]) -> None:
        """Say so if one of some words without a place looks like an option."""
        for word in words:
            if word.startswith("-"):
                name = word.split("=")[0]
                near = (
                    self._of_another(name)
                    or _so_many(name, self.options())
                    or did_you_mean(name, self.options())
                )
                self.error(f"unknown option {name}{near}")

    def _of_another(self, option: str) -> str:
        """The command of two words, of which this is the second, that has an option."""
        from pagedbg.shell.command import NAMESPACE

        for name in COMMANDS:
            if (
                name.endswith(f" {self.prog}")
                and option in NAMESPACE.get(name).parser.options()
            ):
                return f"; did you mean {name} {option}?"
        return ""

    def _as_option(self, words: Sequence[str], word: str) -> str:
        """A word that has no place as the option that it may be meant for."""
        action = self._option_string_actions.get(f"--{word}")
        if action is None:
            return ""
        following = words[words.index(word) + 1 :] if action.nargs is None else ()
        return f"; did you mean {' '.join((f'--{word}', *following[:1]))}?"

    def _may_be_known(self, word: str) -> bool:
        """Whether a word may be an option or its beginning, or a negative number."""
        name = word.split("=")[0]
        return word[1:2].isdigit() or any(
            option.startswith(name) or (len(option) == 2 and word.startswith(option))
            for option in self.options()
        )

    def options(self) -> list[str]:
        """The option strings that this parser knows."""
        return list(self._option_string_actions)


def _is_value_with_dash(word: str) -> bool:
    # An option is one word.
    return len(word) > 1 and word[0] == "-" and (word[1] != "-" or " " in word)


def _quiet_type(convert: Callable[[str], Any]) -> Callable[[str], Any]:
    """Let argparse put the option's name before what a converter says."""

    @functools.wraps(convert)
    def wrapper(text: str) -> Any:
        try:
            return convert(text)
        except PagedbgError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return wrapper


def _whole_number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None


def _so_many(name: str, known: Collection[str]) -> str:
    """The option that a command has for so many rows, if it has the other one."""
    others = {"--top", "--last"} & {*known} if name in ("--top", "--last") else ()
    return "".join(f"; did you mean {other}?" for other in others)


def _one_of(choices: tuple[str, ...]) -> Callable[[str], str]:
    """Take one of some words."""

    def chosen(text: str) -> str:
        if text not in choices:
            raise argparse.ArgumentTypeError(
                f"invalid choice: {text!r}{nearest_or_all(text, choices)}"
            )
        return text

    return chosen


def _add(parser: Any, arg: Argument) -> None:
    if isinstance(arg, argument_group):
        _add_all(
            parser.add_argument_group(title=arg.title, description=arg.description),
            arg.arguments,
        )
    elif isinstance(arg, mutually_exclusive_group):
        _add_all(
            parser.add_mutually_exclusive_group(required=arg.required), arg.arguments
        )
    else:
        options = dict(arg.kwargs)
        # argparse formats help strings with %.
        if options.get("help"):
            options["help"] = options["help"].replace("%", "%%")
        if options.get("type") is int:
            options["type"] = _whole_number
        if callable(options.get("type")) and not isinstance(options["type"], type):
            options["type"] = _quiet_type(options["type"])
        if options.get("choices"):
            # What is a dictionary means something else to shtab.
            options["choices"] = choices = tuple(options["choices"])
            # argparse's own sentence is not the same in Python 3.11 and 3.13.
            options.setdefault("type", _one_of(choices))
        parser.add_argument(*arg.args, **options)


def _add_all(parser: Any, arguments: Iterable[Argument]) -> None:
    for arg in arguments:
        _add(parser, arg)

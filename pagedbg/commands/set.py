# SPDX-License-Identifier: GPL-2.0-or-later
"""``set`` and ``unset``: what the prompt is like, for as long as it is open."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

from pagedbg.errors import UsageError
from pagedbg.output.paragraphs import reflow, window
from pagedbg.schema.settings import SETTINGS, in_words
from pagedbg.session import Session
from pagedbg.shell.command import NAMESPACE, argument, command
from pagedbg.shell.configuration import choose
from pagedbg.shell.option_values import values


@values("SETTING")
def _settings(session: Session) -> Mapping[str, str]:
    return {name: setting.meaning for name, setting in SETTINGS.items()}


def _offer(name: str, words: Sequence[str]) -> None:
    @values(f"set {name}")
    def offered(session: Session) -> Sequence[str]:
        return words


for _name, _setting in SETTINGS.items():
    _offer(_name, _setting.words)


@values("NAME")
def _names(session: Session) -> Sequence[str]:
    return [*SETTINGS, *session.aliases]


@command(
    "set",
    long_description="""
List the settings and what each means, or show one, or choose what it is to be: until
the prompt is left. What is to be so always stands in ~/.config/pagedbg/config.toml.
""",
    arguments=(
        argument("setting", metavar="SETTING", nargs="?", help="its name"),
        argument("value", metavar="VALUE", nargs="?", help="what it is to be"),
    ),
    examples=(
        ("set", "all of them"),
        ("set format json", "have tables printed as JSON from now on"),
        ("set timing on", "have the time said that each command takes"),
        ("set pager 'less -S'", "have another pager"),
    ),
    kernel=False,
)
def set_setting(session: Session, args: argparse.Namespace) -> None:
    """Run the command."""
    option = f"--{args.setting}"
    if option in NAMESPACE.get("trace set").parser.options():
        raise UsageError(
            f"{args.setting} is no setting; did you mean trace set {option}"
            f" {args.value or ''}".rstrip()
            + "?"
        )
    if args.value is not None or args.setting not in (None, *SETTINGS):
        _choose(session, args.setting, args.value)
        return
    print(reflow("\n".join(_lines(session, args.setting)), window()))


def _lines(session: Session, name: str | None) -> Sequence[str]:
    """What the settings are, each on a line, or one of them."""
    those = {
        each: in_words(getattr(session.settings, each))
        for each in SETTINGS
        if name in (None, each)
    }
    names, words = max(map(len, those)), max(map(len, those.values()))
    return [
        f"  {each:{names}}  {value:{words}}  {SETTINGS[each].meaning}"
        for each, value in those.items()
    ]


@command(
    "unset",
    long_description="""
Have a setting be what it is by default, or forget a word of your own for a command.
""",
    arguments=(argument("name", metavar="NAME", help="of a setting or an alias"),),
    examples=(("unset format", "have tables printed as text again"),),
    kernel=False,
)
def unset(session: Session, args: argparse.Namespace) -> None:
    """Run the command."""
    if session.aliases.pop(args.name, None) is None:
        _choose(session, args.name, None)


def _choose(session: Session, name: str, text: str | None) -> None:
    try:
        choose(session, name, text)
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from None

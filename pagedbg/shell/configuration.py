# SPDX-License-Identifier: GPL-2.0-or-later
"""
What a user has chosen, in ``config.toml`` or at the prompt, put into a session.

What cannot be taken there is one sentence, and the rest is taken.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping

from pagedbg.errors import PagedbgError, UsageError
from pagedbg.output.paragraphs import fitted
from pagedbg.output.printable import printable
from pagedbg.schema.nearest import did_you_mean
from pagedbg.schema.settings import SETTINGS, Settings, in_words
from pagedbg.session import Session
from pagedbg.shell.aliases import name_alias
from pagedbg.shell.config_file import (
    ALIASES,
    QUERIES,
    START,
    parsed,
    read_file,
    write_new_file,
)

__all__ = ("choose", "configure")


def configure(session: Session) -> list[str]:
    """
    Take over what the session's configuration says, and say on standard error what of
    it cannot be taken. The user's own file is written if it is not there.

    :return: the commands to run when the prompt opens
    :raises PagedbgError: if a file that was named cannot be read
    """
    start: list[str] = []
    try:
        path, text = read_file(session.config)
        if not text and session.config is None:
            write_new_file()
        known = parsed(path, text)
    except PagedbgError as error:
        if session.config:
            # It was asked for.
            raise
        _say(str(error))
        return start
    for key, value in _entries(known):
        try:
            _take(session, key, value, start)
        except UsageError as error:
            _say(f"{path}: {key}: {error}" + "." * (not str(error).endswith("?")))
    return start


def _say(problem: str) -> None:
    print(fitted(printable(problem), sys.stderr), file=sys.stderr)


def _entries(known: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """Iterate over what a configuration says, each alias by itself."""
    for key, value in known.items():
        if key == ALIASES and isinstance(value, dict):
            yield from ((f"{ALIASES}.{name}", line) for name, line in value.items())
        else:
            yield key, value


def _take(session: Session, key: str, value: object, start: list[str]) -> None:
    table, _, name = key.partition(".")
    if table == ALIASES:
        if not name or not isinstance(value, str):
            raise UsageError('there have to be lines NAME = "COMMAND"')
        name_alias(session, name, value)
    elif key == START:
        if not isinstance(value, list) or not all(isinstance(it, str) for it in value):
            raise UsageError('it has to be a list, as in ["status"]')
        start.extend(value)
    elif key != QUERIES:
        if not isinstance(value, str | bool | int):
            raise UsageError("its value has to be a word, a number, true or false")
        choose(session, key, in_words(value))


def choose(session: Session, name: str, text: str | None) -> None:
    """
    Set a setting to what a word says, or to what it is by default.

    :raises UsageError: if there is no such setting, or it has no such value
    """
    if name not in SETTINGS:
        near = did_you_mean(name, (*SETTINGS, START, ALIASES, QUERIES))
        raise UsageError(
            f"there is no such setting{near or '; choose from ' + ', '.join(SETTINGS)}"
        )
    value = getattr(Settings(), name) if text is None else SETTINGS[name].read(text)
    setattr(session.settings, name, value)
    if name == "colors":
        # As all have it that draw, and all that we start.
        os.environ.pop("NO_COLOR", None)
        if not value:
            os.environ["NO_COLOR"] = "1"

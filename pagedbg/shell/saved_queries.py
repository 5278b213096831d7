# SPDX-License-Identifier: GPL-2.0-or-later
"""
Queries that have a name: the table ``[queries]`` of ``config.toml``, which is edited so
that whatever else stands there stays as it was.
"""

from __future__ import annotations

import json
import os
import re
import tomllib

from pagedbg import trust
from pagedbg.errors import PagedbgError, UsageError
from pagedbg.output.whole_file import whole_file

__all__ = ("could_be_name", "save_query", "saved_queries")

_FILE = "config.toml"
_TABLE = "queries"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_HEADER = re.compile(r"\s*\[\s*queries\s*\]\s*(#.*)?\n")


def could_be_name(text: str) -> bool:
    """Whether a query may have a text for its name."""
    return _NAME.fullmatch(text) is not None


def saved_queries() -> dict[str, str]:
    """
    Return the queries that are saved, by name.

    :raises PagedbgError: if the file cannot be read, or is not to be trusted
    """
    path, text = _read(make=False)
    return _queries(path, _parsed(path, text))


def save_query(name: str, query: str) -> str:
    """
    Save a query; one that has the name already is replaced.

    :return: the file that it is in
    :raises UsageError: if nothing can have this name
    :raises PagedbgError: if the file cannot be read or written
    """
    if not could_be_name(name):
        raise UsageError(
            f"{name!r} is no name of a query: it has letters, digits, - and _, and"
            " begins with a letter"
        )
    path, text = _read(make=True)
    known = _parsed(path, text)
    wanted = {**known, _TABLE: {**_queries(path, known), name: query}}
    new = _edited(text, name, query, wanted)
    if new is None:
        raise PagedbgError(
            f"{name} stands in {path} in a way that cannot be changed from here: change"
            " it there."
        )
    try:
        with whole_file(path) as file:
            file.write(new.encode())
    except OSError as error:
        raise PagedbgError(f"{path} cannot be written: {error.strerror}.") from None
    return path


def _read(*, make: bool) -> tuple[str, str]:
    """
    The file's path, and what is in it: nothing if it is not there.

    :param make: make its directory
    """
    path = _FILE
    try:
        path = os.path.join(trust.config_directory(make=make), _FILE)
        return path, trust.read(path).decode()
    except FileNotFoundError:
        return path, ""
    except OSError as error:
        raise PagedbgError(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise PagedbgError(f"{path} is no text in UTF-8.") from None


def _parsed(path: str, text: str) -> dict[str, object]:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise PagedbgError(f"{path} is no TOML: {error}.") from None


def _queries(path: str, known: dict[str, object]) -> dict[str, str]:
    found = known.get(_TABLE, {})
    if not isinstance(found, dict) or not all(
        isinstance(query, str) for query in found.values()
    ):
        raise PagedbgError(f'{path}: [{_TABLE}] has to have lines NAME = "QUERY".')
    return found


def _edited(text: str, name: str, query: str, wanted: dict[str, object]) -> str | None:
    """
    The text with a line for a query; None if no change of a few lines makes it say what
    is wanted, no more and no less.
    """
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    # Of what JSON writes TOML takes all but this.
    quoted = json.dumps(query, ensure_ascii=False).replace("\x7f", r"\u007f")
    line = f"{name} = {quoted}\n"
    entry = re.compile(rf"""\s*(["']?){re.escape(name)}\1\s*=""")
    tries = [
        [*lines[: place + 1], line, *lines[place + 1 :]]
        for place, each in enumerate(lines)
        if _HEADER.fullmatch(each)
    ]
    # What is there may go on for some lines.
    tries += [
        [*lines[:begin], line, *lines[end:]]
        for begin, each in enumerate(lines)
        if entry.match(each)
        for end in range(begin + 1, len(lines) + 1)
    ]
    tries.append([*lines, *(["\n"] if lines else []), f"[{_TABLE}]\n", line])
    for each in map("".join, tries):
        try:
            if tomllib.loads(each) == wanted:
                return each
        except tomllib.TOMLDecodeError:
            continue
    return None

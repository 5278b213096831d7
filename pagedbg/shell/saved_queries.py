# SPDX-License-Identifier: GPL-2.0-or-later
"""
Queries that have a name: the table ``[queries]`` of ``config.toml``, which is edited so
that whatever else stands there stays as it was.
"""

from __future__ import annotations

import json
import re
import tomllib

from pagedbg.errors import PagedbgError, UsageError
from pagedbg.output.whole_file import whole_file
from pagedbg.shell.config_file import QUERIES, parsed, read_file

__all__ = ("could_be_name", "save_query", "saved_queries")

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_HEADER = re.compile(r"\s*\[\s*queries\s*\]\s*(#.*)?\n")


def could_be_name(text: str) -> bool:
    """Whether a query may have a text for its name."""
    return _NAME.fullmatch(text) is not None


def saved_queries(config: str | None) -> dict[str, str]:
    """
    Return the queries that are saved, by name.

    :param config: the file, as of :func:`pagedbg.shell.config_file.read_file`
    :raises PagedbgError: if the file cannot be read, or is not to be trusted
    """
    path, text = read_file(config)
    return _queries(path, parsed(path, text))


def save_query(config: str | None, name: str, query: str) -> str:
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
    path, text = read_file(config, make=True)
    known = parsed(path, text)
    wanted = {**known, QUERIES: {**_queries(path, known), name: query}}
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


def _queries(path: str, known: dict[str, object]) -> dict[str, str]:
    found = known.get(QUERIES, {})
    if not isinstance(found, dict) or not all(
        isinstance(query, str) for query in found.values()
    ):
        raise PagedbgError(f'{path}: [{QUERIES}] has to have lines NAME = "QUERY".')
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
    tries.append([*lines, *(["\n"] if lines else []), f"[{QUERIES}]\n", line])
    for each in map("".join, tries):
        try:
            if tomllib.loads(each) == wanted:
                return each
        except tomllib.TOMLDecodeError:
            continue
    return None

# SPDX-License-Identifier: GPL-2.0-or-later
"""
Queries that have a name: the table ``[queries]`` of ``config.toml``, which is edited so
that whatever else stands there stays as it was.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Iterator

from pagedbg.errors import PagedbgError, UsageError
from pagedbg.output.whole_file import whole_file
from pagedbg.shell.config_file import QUERIES, parsed, read_file
from pagedbg.shell.given_name import could_be_name

__all__ = ("forget_query", "save_query", "saved_queries")

_HEADER = re.compile(r"\s*\[\s*queries\s*\]\s*(#.*)?\n")


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
    _write(path, name, _edited(_with(text, name, query), wanted))
    return path


def forget_query(config: str | None, name: str) -> str:
    """
    Remove a query that is saved.

    :return: the file that it was in
    :raises UsageError: if there is none of this name
    :raises PagedbgError: if the file cannot be read or written
    """
    path, text = read_file(config)
    known = parsed(path, text)
    queries = _queries(path, known)
    if name not in queries:
        raise UsageError(
            f"no query {name!r} is saved: sql --saved lists those that are"
        )
    left = {each: query for each, query in queries.items() if each != name}
    _write(path, name, _edited(_without(text, name), {**known, QUERIES: left}))
    return path


def _write(path: str, name: str, text: str | None) -> None:
    if text is None:
        raise PagedbgError(
            f"{name} stands in {path} in a way that cannot be changed from here: change"
            " it there."
        )
    try:
        with whole_file(path) as file:
            file.write(text.encode())
    except OSError as error:
        raise PagedbgError(f"{path} cannot be written: {error.strerror}.") from None


def _queries(path: str, known: dict[str, object]) -> dict[str, str]:
    found = known.get(QUERIES, {})
    if not isinstance(found, dict) or not all(
        isinstance(query, str) for query in found.values()
    ):
        raise PagedbgError(f'{path}: [{QUERIES}] has to have lines NAME = "QUERY".')
    return found


def _with(text: str, name: str, query: str) -> Iterator[str]:
    """The texts that may have come of it when a query has its line in a text."""
    lines = _lines(text)
    # Of what JSON writes TOML takes all but this.
    quoted = json.dumps(query, ensure_ascii=False).replace("\x7f", r"\u007f")
    line = f"{name} = {quoted}\n"
    for place, each in enumerate(lines, 1):
        if _HEADER.fullmatch(each):
            yield "".join((*lines[:place], line, *lines[place:]))
    for before, after in _around(lines, name):
        yield "".join((*before, line, *after))
    yield "".join((*lines, *(["\n"] if lines else []), f"[{QUERIES}]\n", line))


def _without(text: str, name: str) -> Iterator[str]:
    """The texts that may have come of it when a query has no line any more."""
    for before, after in _around(_lines(text), name):
        yield "".join((*before, *after))


def _lines(text: str) -> list[str]:
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    return lines


def _around(lines: list[str], name: str) -> Iterator[tuple[list[str], list[str]]]:
    """The lines before what may be a query, which may take some, and those after it."""
    entry = re.compile(rf"""\s*(["']?){re.escape(name)}\1\s*=""")
    for begin, each in enumerate(lines):
        if entry.match(each):
            for end in range(begin + 1, len(lines) + 1):
                yield lines[:begin], lines[end:]


def _edited(texts: Iterable[str], wanted: dict[str, object]) -> str | None:
    """The first text that says what is wanted, no more and no less, if one does."""
    for each in texts:
        try:
            if tomllib.loads(each) == wanted:
                return each
        except tomllib.TOMLDecodeError:
            continue
    return None

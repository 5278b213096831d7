# SPDX-License-Identifier: GPL-2.0-or-later
"""
Which columns a command's table has, as far as its words tell: what ``--sort`` and
``--columns`` may name, for completion and for whoever marks what is wrong.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence

from pagedbg.shell.command import NAMESPACE
from pagedbg.shell.registry import COMMANDS, command_of
from pagedbg.shell.table_options import PAGE_KEY_WORDS, TABLE_COLUMNS, TableColumns

__all__ = ("columns", "meanings", "sortable")

# Kinds of columns that rows are not sorted by, unless they are a key.
_NO_ORDER = frozenset(("stack", "series", "list"))


def columns(words: Sequence[str]) -> Mapping[str, str] | None:
    """
    The columns of a command's table, behind the words that were typed, with what they
    mean; None if the words do not tell.
    """
    listed = _listed(words)
    return None if listed is None else _named(words, listed)


def sortable(words: Sequence[str]) -> Mapping[str, str] | None:
    """Those of them that rows can be sorted by."""
    listed = _listed(words)
    return None if listed is None else _named(words, listed, sort=True)


@functools.cache
def meanings() -> Mapping[str, str]:
    """What columns mean, by their names: all that there are."""
    from pagedbg.schema.relations import RELATIONS

    every = (column for relation in RELATIONS.values() for column in relation)
    return {column.name: column.meaning.rstrip(".") for column in every}


def _listed(words: Sequence[str]) -> TableColumns | None:
    name = command_of(words)
    if name in COMMANDS:
        # Which declares them.
        NAMESPACE.get(name)
    listed = TABLE_COLUMNS.get(name)
    for option, instead in listed.instead.items() if listed else ():
        if any(word == option or word.startswith(f"{option}=") for word in words):
            return instead
    return listed


def _named(
    words: Sequence[str], listed: TableColumns, sort: bool = False
) -> Mapping[str, str]:
    keys = [*_keys(words)] or listed.keys
    those = listed.sums if keys else listed.rows
    names = [
        column.name
        for column in those
        if not (sort and (column.kind in _NO_ORDER or column.name in listed.unsorted))
    ]
    return {name: meanings().get(name, "") for name in (*keys, *names)}


def _keys(words: Sequence[str]) -> Iterator[str]:
    """The columns that ``--by`` names, the last of them."""
    said = ""
    for word, following in itertools.zip_longest(words, words[1:]):
        if word == "--by" and following is not None:
            said = following
        elif word.startswith("--by="):
            said = word.removeprefix("--by=")
    for key in said.split(",") if said else ():
        yield PAGE_KEY_WORDS.get(key.strip(), key.strip())

# SPDX-License-Identifier: GPL-2.0-or-later
"""What ``--by`` can sum up by, and how the values are found."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pagedbg.analysis.grouping import Amounts, Sums
from pagedbg.analysis.names import Names
from pagedbg.schema.allocation import STATES
from pagedbg.schema.batch import Batch

if TYPE_CHECKING:
    import duckdb

_AGES = (
    ("<1s", 1),
    ("1s-10s", 10),
    ("10s-1m", 60),
    ("1m-10m", 600),
    ("10m-1h", 3600),
    ("1h-1d", 86400),
    (">=1d", None),
)

_AGE_LIMITS = np.array([limit * 10**9 for _, limit in _AGES if limit], np.int64)


class Key(NamedTuple):
    """
    Something to sum up by: which columns of integers tell one value from another, and
    what the values of distinct rows of them are, None for one that is not known.
    """

    numbers: tuple[str, ...]
    values: Callable[[Names, Sequence[NDArray[Any]]], Sequence[Any]]


def _number(name: str) -> Key:
    return Key((name,), lambda names, columns: columns[0].tolist())


def _each(name: str, value: Callable[[Names, int], Any]) -> Key:
    return Key(
        (name,),
        lambda names, columns: [value(names, one) for one in columns[0].tolist()],
    )


def _recorded(name: str, value: Callable[[Names, int], Any]) -> Key:
    """What only a record tells: its number is negative where there is none."""
    return _each(
        name, lambda names, number: None if number < 0 else value(names, number)
    )


def _of_stack(value: Callable[[Names, int], Any]) -> Key:
    def values(names: Names, columns: Sequence[NDArray[Any]]) -> Sequence[Any]:
        handles = columns[0].tolist()
        # They are read together.
        names.stacks(handles)
        return [value(names, handle) for handle in handles]

    return Key(("handle",), values)


def _zone(names: Names, index: int) -> str | None:
    return None if index < 0 else names.zones(np.zeros(0, np.uint64))[0][index]


def _of_page(column: str) -> Key:
    return _each(column, lambda names, number: names.of_page(column, number))


PAGE_COLUMNS = (
    "kind",
    "use",
    "cache",
    "file",
    "memcg",
    "pageblock",
    "pageblock_type",
    "site",
    "vmalloc",
    "holder",
    "witness",
)
"""
What batches of pages have as numbers beside what is on record of them: ``use`` says
more than the kind, ``cache`` is a ``struct kmem_cache *``, ``file`` a ``struct
address_space *``, ``memcg`` the word ``memcg_data``, ``pageblock`` its first page
frame, ``site`` a ``struct alloc_tag *``, ``vmalloc`` the address of the
caller, ``holder`` and ``witness`` places among names.
"""

KEYS = {
    "kind": _of_page("kind"),
    "detail": _each("use", lambda names, number: names.of_page("use", number)),
    "cache": _of_page("cache"),
    "file": _of_page("file"),
    "memcg": _of_page("memcg"),
    "pageblock": _number("pageblock"),
    "pageblock_migratetype": _each(
        "pageblock_type",
        lambda names, number: names.of_page("pageblock_type", number),
    ),
    "site": _of_page("site"),
    "vmalloc": _of_page("vmalloc"),
    "holder": _of_page("holder"),
    "witness": _of_page("witness"),
    "order": _number("order"),
    "comm": Key(
        ("comm_0", "comm_1"),
        lambda names, words: [
            names.comm(comm) or None for comm in np.stack(words, axis=1)
        ],
    ),
    "pid": _recorded("pid", lambda names, pid: pid),
    "stack": _of_stack(lambda names, handle: tuple(names.stack(handle))),
    "stack_id": _of_stack(lambda names, handle: names.stack_id(handle)),
    "stack_shape": _of_stack(lambda names, handle: names.stack_shape(handle)),
    "module": _of_stack(lambda names, handle: names.module(handle)),
    "function": _of_stack(lambda names, handle: names.function(handle)),
    "gfp": _recorded("gfp_mask", lambda names, mask: names.gfp(mask)),
    "gfp_mask": _recorded("gfp_mask", lambda names, mask: mask),
    "migratetype": _recorded("gfp_mask", lambda names, mask: names.migratetype(mask)),
    "zone": _each("zone", _zone),
    "node": _each("node", lambda names, node: None if node < 0 else node),
    "age": _each("age", lambda names, index: None if index < 0 else _AGES[index][0]),
    "state": _each("state", lambda names, state: STATES[state]),
}
"""By the names of their columns; which of them a command has, its relation says."""


def _ages(names: Names, rows: Batch) -> NDArray[Any]:
    if names.now is None:
        return np.full(len(rows), -1)
    ages = names.now - rows.column("ts_nsec").astype(np.int64)
    found = np.searchsorted(_AGE_LIMITS, ages, "right")
    if "recorded" in rows.members:
        found[~rows.column("recorded")] = -1
    return found


def _of_record(name: str) -> Callable[[Names, Batch], NDArray[Any]]:
    def numbers(names: Names, rows: Batch) -> NDArray[Any]:
        found = rows.column(name)
        if "recorded" in rows.members:
            found = np.where(rows.column("recorded"), found.astype(np.int64), -1)
        return found

    return numbers


# What is no member of a record, or not known of all rows.
_NUMBERS: dict[str, Callable[[Names, Batch], NDArray[Any]]] = {
    "comm_0": lambda names, rows: rows.column("comm").view(np.uint64)[:, 0],
    "comm_1": lambda names, rows: rows.column("comm").view(np.uint64)[:, 1],
    "zone": lambda names, rows: names.zones(rows.column("pfn"))[1],
    "node": lambda names, rows: names.nodes(rows.column("pfn")),
    "age": _ages,
    "pid": _of_record("pid"),
    "gfp_mask": _of_record("gfp_mask"),
}


def key_columns(
    names: Names, rows: Batch, numbers: Sequence[str]
) -> dict[str, NDArray[Any]]:
    """
    Return the columns of rows that tell the values of keys apart.

    :param numbers: :attr:`Key.numbers`
    """
    return {
        name: _NUMBERS[name](names, rows) if name in _NUMBERS else rows.column(name)
        for name in numbers
    }


class KeySums:
    """Sums by some keys of batches: :class:`pagedbg.analysis.grouping.Sums`."""

    def __init__(
        self,
        db: duckdb.DuckDBPyConnection,
        names: Names,
        by: Sequence[str],
        amounts: Amounts,
    ) -> None:
        """:param by: some of :data:`KEYS`"""
        self._names = names
        self._keys = {name: KEYS[name] for name in by}
        # Several keys may be told apart by the same numbers.
        self._numbers = list(
            dict.fromkeys(name for key in self._keys.values() for name in key.numbers)
        )
        self._sums = Sums(db, self._numbers, amounts)
        self.pages = 0
        """The sum of all ``pages`` that were added."""
        self.rows_added = 0
        """How many rows were added, alone or in partial sums."""

    def close(self) -> None:
        """Forget everything."""
        self._sums.close()

    @property
    def left(self) -> int:
        """How many sums :meth:`rows` has left out."""
        return self._sums.left

    def add(self, rows: Batch, **measured: NDArray[Any]) -> None:
        """
        Add rows.

        :param measured: what is summed up of them, by its name in the amounts
        """
        self.add_numbers({**self.numbers(rows), **measured})

    def numbers(self, rows: Batch) -> dict[str, NDArray[Any]]:
        """The numbers that tell the keys of rows apart."""
        return key_columns(self._names, rows, self._numbers)

    def add_numbers(self, columns: Mapping[str, NDArray[Any]]) -> None:
        """Add rows of which :meth:`numbers` are known, and what is summed up."""
        self._count(columns)
        self.rows_added += len(next(iter(columns.values())))
        self._sums.add(columns)

    def partial(
        self, columns: Mapping[str, NDArray[Any]]
    ) -> dict[str, NDArray[Any]] | None:
        """Sum up rows for :meth:`add_partial`: see :meth:`Sums.partial`."""
        return self._sums.partial(columns)

    def add_partial(self, sums: Mapping[str, NDArray[Any]]) -> None:
        """Add what :meth:`partial` has returned, of sums that have ``blocks``."""
        self._count(sums)
        self.rows_added += int(sums["blocks"].sum())
        self._sums.add_partial(sums)

    def _count(self, columns: Mapping[str, NDArray[Any]]) -> None:
        if "pages" in columns:
            self.pages += int(columns["pages"].sum())

    def rows(
        self, sort: str, descending: bool, top: int | None
    ) -> Iterator[list[tuple[Any, ...]]]:
        """
        Iterate over the sums. How many more there are than ``top`` is in :attr:`left`
        when all are taken.

        :param sort: a column; what is not known comes last
        :return: batches of rows: the keys, and the columns of the amounts
        """
        return self._sums.rows(
            {
                name: (key.numbers, functools.partial(key.values, self._names))
                for name, key in self._keys.items()
            },
            sort=sort,
            descending=descending,
            top=top,
        )

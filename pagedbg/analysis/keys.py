# SPDX-License-Identifier: GPL-2.0-or-later
"""What ``--by`` can sum up by, and how the values are found."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pagedbg.analysis.grouping import Amounts, Sums
from pagedbg.analysis.names import Names
from pagedbg.schema.allocation import STATES
from pagedbg.schema.batch import Batch
from pagedbg.schema.stack_ids import stack_id, stack_shape

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


def _of_stack(value: Callable[[Names, int], Any]) -> Key:
    def values(names: Names, columns: Sequence[NDArray[Any]]) -> Sequence[Any]:
        handles = columns[0].tolist()
        # They are read together.
        names.stacks(handles)
        return [value(names, handle) for handle in handles]

    return Key(("handle",), values)


def _hashed(hash_: Callable[[Sequence[str]], int]) -> Key:
    def value(names: Names, handle: int) -> str | None:
        stack = names.stack(handle)
        return f"{hash_(stack):#018x}" if stack else None

    return _of_stack(value)


def _zone(names: Names, index: int) -> str | None:
    return None if index < 0 else names.zones(np.zeros(0, np.uint64))[0][index]


KEYS = {
    "order": _number("order"),
    "comm": Key(
        ("comm_0", "comm_1"),
        lambda names, words: [names.comm(comm) for comm in np.stack(words, axis=1)],
    ),
    "pid": _number("pid"),
    "stack": _of_stack(lambda names, handle: tuple(names.stack(handle))),
    "stack_id": _hashed(stack_id),
    "stack_shape": _hashed(stack_shape),
    "module": _of_stack(lambda names, handle: names.module(handle)),
    "function": _of_stack(lambda names, handle: names.function(handle)),
    "gfp": _each("gfp_mask", lambda names, mask: names.gfp(mask)),
    "migratetype": _each("gfp_mask", lambda names, mask: names.migratetype(mask)),
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
    return np.searchsorted(_AGE_LIMITS, ages, "right")


# What is no member of a record.
_NUMBERS: dict[str, Callable[[Names, Batch], NDArray[Any]]] = {
    "comm_0": lambda names, rows: rows.column("comm").view(np.uint64)[:, 0],
    "comm_1": lambda names, rows: rows.column("comm").view(np.uint64)[:, 1],
    "zone": lambda names, rows: names.zones(rows.column("pfn"))[1],
    "node": lambda names, rows: names.nodes(rows.column("pfn")),
    "age": _ages,
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
        names = self._names
        numbers = {
            name: _NUMBERS[name](names, rows) if name in _NUMBERS else rows.column(name)
            for name in self._numbers
        }
        self._sums.add({**numbers, **measured})

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

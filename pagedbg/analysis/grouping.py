# SPDX-License-Identifier: GPL-2.0-or-later
"""
Sums by key, a piece at a time. DuckDB has the keys as numbers only, and what they stand
for is asked once for each distinct number, in the end.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pagedbg.analysis.piece_sums import piece_sums
from pagedbg.analysis.undrawn import ranked

if TYPE_CHECKING:
    import duckdb

# Rows that are summed up at once. A query takes DuckDB a ms to begin: in the pieces of
# 32,768 rows that kernels are read in, four million rows would take it 0.18 s and not
# 0.05. Twice as many rows would not be worth their memory.
_ROWS = 1 << 19

# Rows of few keys that are counted in an array at once: more than a piece that kernels
# are read in, since to begin takes as long as to count some thousand rows.
_COUNTED = 1 << 17

# Partial sums are joined when there are this many, so that their number is that of the
# keys and not that of the pieces.
_JOIN_AT = 1 << 20

# Rows that are made at once.
_DRAWN = 1 << 15


@dataclasses.dataclass(frozen=True)
class Amounts:
    """
    What is summed up, in SQL by the name of a column.

    ``each`` is what the rows of one piece give for a key, ``joined`` the same for
    several of these (None where each row has to be kept), and ``columns`` what is made
    of all of them in the end, in this order. Where ``each`` is no more than added up,
    ``adds`` says of which column, None to count rows; else it is None. ``windows`` is
    what the columns need to know of each partial sum beside the others of its
    ``{key}``.
    """

    each: Mapping[str, str]
    joined: Mapping[str, str] | None
    columns: Mapping[str, str]
    adds: Mapping[str, str | None] | None = None
    windows: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @classmethod
    def added(
        cls, adds: Mapping[str, str | None], columns: Mapping[str, str]
    ) -> Amounts:
        """What is added up; the parameters are the members."""
        return cls(
            {
                name: "count(*)" if of is None else f"sum({of})::BIGINT"
                for name, of in adds.items()
            },
            {name: f"sum({name})::BIGINT" for name in adds},
            columns,
            adds,
        )


_Values = Callable[[Sequence[NDArray[Any]]], Sequence[Any]]


class Sums:
    """
    Sums by key of rows that come a batch at a time. They take the memory of one piece,
    and DuckDB puts on disk what the keys take beyond its limit.
    """

    def __init__(
        self, db: duckdb.DuckDBPyConnection, numbers: Sequence[str], amounts: Amounts
    ) -> None:
        """:param numbers: the columns that tell one key from another"""
        # The tables and views of a cursor are gone when it is closed.
        self._db = db.cursor()
        self._keys = tuple(numbers)
        self._numbers = _listed(numbers)
        self._amounts = amounts
        self._piece: dict[str, NDArray[Any]] = {}
        self._partial: list[Mapping[str, NDArray[Any]]] = []
        self._filled = self._tried = 0
        self._waiting = self._parts = self._joined = 0
        self.left = 0

    def close(self) -> None:
        """Forget everything."""
        self._db.close()

    def add(self, columns: Mapping[str, NDArray[Any]]) -> None:
        """Add rows: the numbers of their keys, and what is summed up of them."""
        rows, at = len(next(iter(columns.values()))), 0
        while at < rows:
            if not self._piece:
                self._piece = {
                    name: np.empty(_ROWS, column.dtype.newbyteorder("="))
                    for name, column in columns.items()
                }
            most = min(self._tried + _COUNTED, _ROWS)
            count = min(rows - at, most - self._filled)
            for name, column in columns.items():
                self._piece[name][self._filled : self._filled + count] = column[
                    at : at + count
                ]
            self._filled += count
            at += count
            if self._filled == most:
                self._count()
            if self._filled == _ROWS:
                self._sum_up()

    def partial(
        self, columns: Mapping[str, NDArray[Any]]
    ) -> dict[str, NDArray[Any]] | None:
        """
        Sum up rows, for :meth:`add_partial` to be called with the sums, be it in
        another process; None where that is better left to :meth:`add`.

        :param columns: as for :meth:`add`, of the machine's own byte order
        """
        if self._amounts.adds is None:
            return None
        keys = {name: columns[name] for name in self._keys}
        return piece_sums(keys, self._amounts.adds, columns)

    def add_partial(self, sums: Mapping[str, NDArray[Any]]) -> None:
        """Add what :meth:`partial` has returned."""
        self._partial.append(sums)
        self._waiting += len(sums[self._keys[0]])
        if self._waiting > _ROWS:
            self._add_waiting()

    def _count(self) -> None:
        """Make partial sums of the last rows of the piece, if they have few keys."""
        sums = self.partial(
            {
                name: column[self._tried : self._filled]
                for name, column in self._piece.items()
            }
        )
        if sums is None:
            self._tried = self._filled
        else:
            self._filled = self._tried
            self.add_partial(sums)

    def _sum_up(self) -> None:
        """Make partial sums of all of the piece."""
        if self._tried < self._filled:
            self._count()
        if self._filled:
            piece = {name: found[: self._filled] for name, found in self._piece.items()}
            self._filled = self._tried = 0
            self._insert(piece, self._amounts.each)

    def _add_waiting(self) -> None:
        """Have the engine know the partial sums that wait for others to come."""
        joined = self._amounts.joined
        assert joined is not None
        columns = {
            name: np.concatenate([sums[name] for sums in self._partial])
            for name in self._partial[0]
        }
        self._partial.clear()
        self._waiting = 0
        self._insert(columns, joined)

    def _insert(
        self, columns: Mapping[str, NDArray[Any]], amounts: Mapping[str, str]
    ) -> None:
        """Have the engine make partial sums of some columns."""
        self._db.register("piece", columns)
        into = "INSERT INTO parts" if self._parts else "CREATE TEMP TABLE parts AS"
        self._parts += self._store(into, "piece", amounts)
        if (
            self._amounts.joined is not None
            and self._parts > _JOIN_AT + 2 * self._joined
        ):
            self._parts = self._joined = self._store(
                "CREATE OR REPLACE TEMP TABLE parts AS", "parts", self._amounts.joined
            )

    def _store(self, into: str, source: str, amounts: Mapping[str, str]) -> int:
        """Store partial sums in a table; return how many."""
        made = ", ".join(f"{sql} AS {name}" for name, sql in amounts.items())
        group = "" if self._amounts.joined is None else "GROUP BY ALL"
        ((count,),) = self._db.execute(
            f"{into} SELECT {self._numbers}, {made} FROM {source} {group}"
        ).fetchall()
        return int(count)

    def rows(
        self,
        keys: Mapping[str, tuple[Sequence[str], _Values]],
        *,
        sort: str,
        descending: bool = True,
        top: int | None = None,
    ) -> Iterator[list[tuple[Any, ...]]]:
        """
        Iterate over the sums by what the keys stand for: several numbers may be one
        word. Of equals those come first whose keys do. How many more there are than
        ``top`` is in :attr:`left` when all are taken.

        :param keys: by the name of its column, the columns that tell the values of a
            key apart, and what finds the values of distinct rows of them
        :param sort: the name of a column; what is not known comes last
        :return: batches of rows: the keys, and the columns of the amounts
        """
        found = self.named(keys)
        if found is None:
            return
        words, named, joins = found
        columns = self._amounts.columns
        if self._amounts.windows:
            named, joins = self._windows(named, joins)
        place = [*keys, *columns].index(sort) + 1
        order = [
            f"{place} {'DESC' if descending else 'ASC'}",
            *map(str, range(1, len(keys) + 1)),
        ]
        answer = self._db.execute(f"""
            SELECT {", ".join([*named, *columns.values()])}, count(*) OVER ()
            FROM {joins}
            GROUP BY {", ".join(named)}
            ORDER BY {", ".join(f"{each} NULLS LAST" for each in order)}
            {"" if top is None else f"LIMIT {top}"}
            """)
        width = len(keys)
        shown = 0
        while rows := answer.fetchmany(_DRAWN):
            shown += len(rows)
            self.left = rows[0][-1] - shown
            yield [
                (
                    *(
                        None if number is None else known[number]
                        for known, number in zip(words, row[:width], strict=True)
                    ),
                    *row[width:-1],
                )
                for row in rows
            ]

    def _windows(self, named: list[str], joins: str) -> tuple[list[str], str]:
        """What :meth:`named` gave, with the windows of the amounts."""
        words = [f"word{i}" for i in range(len(named))]
        made = [f"{each} AS {word}" for each, word in zip(named, words, strict=True)]
        made += [
            f"{sql.format(key=', '.join(named))} AS {name}"
            for name, sql in self._amounts.windows.items()
        ]
        return words, f"(SELECT *, {', '.join(made)} FROM {joins})"

    def named(
        self, keys: Mapping[str, tuple[Sequence[str], _Values]]
    ) -> tuple[list[list[Any]], list[str], str] | None:
        """
        Have all partial sums in a table, and for each key a view of what its numbers
        stand for.

        :return: The words of each key; in SQL, for each key the place among them, NULL
            for what is not known; and what to select from. None if there are no rows.
        """
        if self._filled:
            self._sum_up()
        if self._partial:
            self._add_waiting()
        if not self._parts:
            return None
        words = [
            self._name(f"key{i}", numbers, values)
            for i, (numbers, values) in enumerate(keys.values())
        ]
        named = [f"nullif(key{i}.word, -1)" for i in range(len(keys))]
        joins = [
            f"JOIN key{i} USING ({_listed(numbers)})"
            for i, (numbers, _) in enumerate(keys.values())
        ]
        return words, named, " ".join(("parts", *joins))

    def _name(self, view: str, numbers: Sequence[str], values: _Values) -> list[Any]:
        """
        Have a view say which word each number stands for, by its place among all of
        them; return the words.
        """
        columns = self._db.execute(
            f"SELECT DISTINCT {_listed(numbers)} FROM parts"
        ).fetchnumpy()
        words, places = ranked(values([columns[name] for name in numbers]))
        self._db.register(view, {**columns, "word": places})
        return words


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def page_amounts(page_size: int, ram: int | None = None) -> Amounts:
    """
    Return what :data:`pagedbg.schema.block_columns.BLOCK_SUMS` says of rows with
    ``pages``.

    :param ram: how many pages there are in all; None where there is no such share
    """
    of_ram = {}
    if ram is not None:
        of_ram["ram_share"] = f"round(100 * sum(pages) / {max(ram, 1)}, 2)::DOUBLE"
    return Amounts.added(
        {"blocks": None, "pages": "pages"},
        {
            "blocks": "sum(blocks)::BIGINT",
            "pages": "sum(pages)::BIGINT",
            "bytes": f"sum(pages)::BIGINT * {page_size}",
            "share": "round(100 * sum(pages) / greatest(sum(sum(pages)) OVER (), 1),"
            " 2)::DOUBLE",
            **of_ram,
        },
    )


QUANTILES = Amounts(
    {"lasted": "lasted"},
    None,
    {
        "count": "count(*)",
        "min": "min(lasted)",
        "median": "quantile_disc(lasted, 0.5)",
        "p90": "quantile_disc(lasted, 0.9)",
        "p99": "quantile_disc(lasted, 0.99)",
        "max": "max(lasted)",
    },
)
"""
What :data:`pagedbg.schema.allocation_columns.LIFETIMES` says of rows with ``lasted``.
The nearest rank is a time that one of them did last.
"""

SUMMED_QUANTILES = Amounts(
    {name: name for name in ("many", "shortest", "longest")},
    None,
    {
        "count": "sum(many)::BIGINT",
        "min": "min(shortest)",
        "median": "min(longest) FILTER (upto >= 0.5 * whole)",
        "p90": "min(longest) FILTER (upto >= 0.9 * whole)",
        "p99": "min(longest) FILTER (upto >= 0.99 * whole)",
        "max": "max(longest)",
    },
    windows={
        "upto": "sum(many) OVER (PARTITION BY {key} ORDER BY longest)",
        "whole": "sum(many) OVER (PARTITION BY {key})",
    },
)
"""
The same of rows that stand for ``many`` that lasted from ``shortest`` to ``longest``:
no more than the width of a row too long.
"""

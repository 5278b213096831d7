# SPDX-License-Identifier: GPL-2.0-or-later
"""
Who holds which pageblock, and which of them would be wholly free without whom.

A pageblock is kept from being one free block by the pages in it that cannot be moved.
Whoever holds such pages in it holds the pageblock; whoever holds all of them, holds it
alone. Blocks of any other size are looked at in the same way.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pagedbg.analysis._held_blocks import BLOCK_BITS, HeldBlocks
from pagedbg.analysis.keys import KEYS, Key
from pagedbg.analysis.letting_go import LetGo, steps_of
from pagedbg.analysis.names import Names
from pagedbg.analysis.piece_sums import distinct_rows
from pagedbg.analysis.sums_by_place import added
from pagedbg.analysis.undrawn import ranked

if TYPE_CHECKING:
    import duckdb

__all__ = ("NO_RECORD", "ON_RECORD", "UNKNOWN", "PageblockHolders", "numbers_of")

ON_RECORD, NO_RECORD, UNKNOWN = 1, 0, 2
"""
What is known of pages: whose they are, that they are in use, or nothing. In a block
with the last nobody is said to be alone.
"""

_NOBODY = {NO_RECORD: "(not on record)", UNKNOWN: "(unknown)"}

# Rows that are made at once.
_DRAWN = 1 << 15

# What names a block, the span being more important.
_BLOCK = ("block", "span")

_AMOUNTS = ("pages", "fixed")
_SUMS = ("pageblocks", "pages", "sole_pageblocks")

# A place in an array for each block with each holder, if there are so many a row.
_CELLS_PER_ROW = 2

# Distinct sets of owners among which the best to let go are looked for: those that hold
# most blocks.
_MOST_SETS = 500


def numbers_of(by: Iterable[str]) -> list[str]:
    """Return the columns of a page's record that tell owners apart by some keys."""
    return list(dict.fromkeys(name for key in by for name in KEYS[key].numbers))


class _Owners(NamedTuple):
    """Who keeps blocks from being free, of which it is known whose they are."""

    blocks: NDArray[np.int64]
    """Span and first page frame number of each block."""
    many: NDArray[np.int64]
    """How many owners each has."""
    holder: NDArray[np.uint32]
    """The number of each of them, block by block."""
    fixed: NDArray[np.uint32]


class PageblockHolders:
    """
    Holders of blocks, by some keys. Pages come a piece at a time, in order; a block may
    come in several. What is held of a block is looked at when all of it has come, and
    then forgotten, but for what was asked for.

    :param by: some of :data:`pagedbg.analysis.keys.KEYS`; those are told apart whose
        values differ
    :param owners: whether :meth:`owners` will be asked: eight bytes a block and holder
    :param together: how many owners :meth:`let_go` will ask to let go at most
    """

    def __init__(
        self,
        db: duckdb.DuckDBPyConnection,
        names: Names,
        by: Sequence[str],
        *,
        owners: bool = False,
        together: int = 0,
    ) -> None:
        # The tables and views of a cursor are gone when it is closed.
        self._db = db.cursor()
        self._by, self._together = by, together
        self._numbers = ("recorded", *numbers_of(by))
        self._values = [
            (("recorded", *KEYS[name].numbers), _labelled(name, names)) for name in by
        ]
        # Holders by their values, and which one has some numbers.
        self._holders: dict[tuple[Any, ...], int] = {}
        self._known: dict[tuple[int, ...], int] = {}
        # Of each holder: in how many blocks, how many pages, and blocks held alone.
        self._sums = np.zeros((0, 3), np.int64)
        self._held_by: Counter[int] = Counter()
        self._sets: dict[tuple[int, ...], list[int]] = {}
        self._owners: list[_Owners] | None = [] if owners else None
        self._open: HeldBlocks | None = None
        self.left = 0

    def close(self) -> None:
        """Forget everything."""
        self._db.close()

    def add(self, columns: Mapping[str, NDArray[Any]]) -> None:
        """
        Add pages that are not free.

        :param columns: ``span`` and ``block``, which together name a block, ``block``
            being its first page frame number; ``recorded``, :data:`ON_RECORD` and so
            on; what :func:`numbers_of` says; how many ``pages`` the row is about, and
            how many of them are ``fixed``: cannot be moved. A row for what nobody is
            said to hold has no pages.
        """
        if not len(columns["block"]):
            return
        block, blocks = distinct_rows({name: columns[name] for name in _BLOCK})
        which, numbers = distinct_rows({name: columns[name] for name in self._numbers})
        # Several numbers may be one holder.
        holders, place = np.unique(self._holders_of(numbers), return_inverse=True)
        width = len(holders)
        # Of 32,768 rows: that many blocks and holders at most.
        pair = block * np.uint32(width) + place.astype(np.uint32).take(which)
        cells = width * len(blocks["block"])
        if cells <= _CELLS_PER_ROW * len(pair):
            pages, fixed = (added(pair, columns[name], cells) for name in _AMOUNTS)
            pairs = np.flatnonzero(pages + fixed)
            pages, fixed = pages[pairs], fixed[pairs]
        else:
            pairs, which = np.unique(pair, return_inverse=True)
            pages, fixed = (
                added(which, columns[name], len(pairs)) for name in _AMOUNTS
            )
        of, whom = np.divmod(pairs.astype(np.int64), width)
        span, start = (blocks[name].astype(np.int64) for name in ("span", "block"))
        found = HeldBlocks(span << BLOCK_BITS | start, of, holders[whom], pages, fixed)
        if self._open is not None:
            found = found.behind(self._open)
        self._look(found.take(slice(0, -1)))
        self._open = found.take(slice(-1, None))

    def _holders_of(self, numbers: Mapping[str, NDArray[Any]]) -> NDArray[np.int64]:
        """The number of the holder that each row of numbers stands for."""
        rows = list(zip(*(column.tolist() for column in numbers.values()), strict=True))
        new = [i for i, row in enumerate(rows) if row not in self._known]
        if new:
            values = [
                find([numbers[name][new] for name in wanted])
                for wanted, find in self._values
            ]
            for i, holder in zip(new, zip(*values, strict=True), strict=True):
                number = self._holders.setdefault(holder, len(self._holders))
                self._known[rows[i]] = number
            more = np.zeros((len(self._holders) - len(self._sums), 3), np.int64)
            self._sums = np.concatenate((self._sums, more))
        return np.array([self._known[row] for row in rows], np.int64)

    def _look(self, held: HeldBlocks) -> None:
        """Look at blocks of which all has come."""
        count = len(held.blocks)
        if not count:
            return
        holds, keeps = held.pages > 0, held.fixed > 0
        holders = np.bincount(held.block[keeps], minlength=count)
        unknown = np.zeros(count, np.bool_)
        unknown[held.block[~holds]] = True
        many = np.where(unknown, 0, holders)[holders > 0]
        self._held_by.update(many.tolist())
        sole = keeps & (holders[held.block] == 1)
        for column, amount in enumerate((holds, held.pages, sole)):
            self._sums[:, column] += added(held.holder, amount, len(self._sums))
        # Nothing has to be moved where nothing else is.
        still = added(held.block, held.pages - held.fixed, count) == 0
        for number in range(1, self._together + 1):
            rows = np.flatnonzero(keeps & (holders[held.block] == number))
            if len(rows):
                at = held.block[rows[::number]]
                self._add_sets(
                    held.holder[rows].reshape(-1, number), still[at], held.blocks[at]
                )
        if self._owners is not None:
            rows = np.flatnonzero(holds & keeps)
            self._owners.append(
                _Owners(
                    held.blocks,
                    np.bincount(held.block[rows], minlength=count),
                    held.holder[rows].astype(np.uint32),
                    held.fixed[rows].astype(np.uint32),
                )
            )

    def _add_sets(
        self,
        who: NDArray[np.int64],
        still: NDArray[np.bool_],
        blocks: NDArray[np.int64],
    ) -> None:
        """Count blocks by who holds them: how many, of these how many still."""
        sets, first, which = np.unique(
            who, axis=0, return_index=True, return_inverse=True
        )
        which = which.reshape(-1)
        counts = np.bincount(which)
        for whom, *more in zip(
            map(tuple, sets.tolist()),
            counts.tolist(),
            added(which, still, len(counts)).tolist(),
            (blocks[first] & (1 << BLOCK_BITS) - 1).tolist(),
            strict=True,
        ):
            have = self._sets.setdefault(whom, [0, 0, more[2]])
            have[0] += more[0]
            have[1] += more[1]
            have[2] = min(have[2], more[2])

    def _finish(self) -> None:
        """Look at the last block, too."""
        if self._open is not None:
            self._look(self._open)
            self._open = None

    @functools.cached_property
    def _words(self) -> tuple[list[list[Any]], list[NDArray[np.int64]]]:
        """The words of each key, and the place of each holder's among them."""
        self._finish()
        found = [ranked(values) for values in zip(*self._holders, strict=True)]
        if not found:
            return [[] for _ in self._by], [np.zeros(0, np.int64) for _ in self._by]
        return [words for words, _ in found], [places for _, places in found]

    def rows(
        self, sort: Sequence[tuple[str, bool]], top: int | None = None
    ) -> Iterator[list[tuple[Any, ...]]]:
        """
        Iterate over the holders of pages. How many more there are than ``top`` is in
        :attr:`left` when all are taken.

        :param sort: columns, and whether the greatest comes first
        :return: batches of rows: the keys, in how many blocks it holds pages, how many
            pages, and how many blocks it keeps alone from being free
        """
        words, places = self._words
        width = len(self._by)
        self._db.register(
            "held",
            {
                **{f"k{i}": place for i, place in enumerate(places)},
                **dict(zip(_SUMS, self._sums.T.copy(), strict=True)),
            },
        )
        keys = ", ".join(f"nullif(k{i}, -1)" for i in range(width))
        columns = [*self._by, *_SUMS]
        order = [
            f"{columns.index(name) + 1} {'DESC' if down else 'ASC'} NULLS LAST"
            for name, down in (*sort, *((name, False) for name in self._by))
        ]
        answer = self._db.execute(f"""
            SELECT {keys}, {", ".join(_SUMS)}, count(*) OVER ()
            FROM held WHERE pages > 0
            ORDER BY {", ".join(order)} {"" if top is None else f"LIMIT {top}"}
            """)
        shown = 0
        while rows := answer.fetchmany(_DRAWN):
            shown += len(rows)
            self.left = rows[0][-1] - shown
            yield [(*_told(words, row[:width]), *row[width:-1]) for row in rows]

    @functools.cached_property
    def _ranks(self) -> NDArray[np.int64]:
        """The place of each holder in the order of their words, the unknown last."""
        _, places = self._words
        order = [np.where(place < 0, len(place), place) for place in places]
        return np.argsort(np.lexsort(order[::-1]))

    @functools.cached_property
    def _all_owners(self) -> _Owners:
        self._finish()
        parts = self._owners or []
        wide, narrow = np.zeros(0, np.int64), np.zeros(0, np.uint32)
        return _Owners(
            np.concatenate([wide, *(each.blocks for each in parts)]),
            np.concatenate([wide, *(each.many for each in parts)]),
            np.concatenate([narrow, *(each.holder for each in parts)]),
            np.concatenate([narrow, *(each.fixed for each in parts)]),
        )

    def owners(
        self, spans: Sequence[int], blocks: Sequence[int]
    ) -> list[list[tuple[Any, ...]]]:
        """
        Return who holds each of some blocks, whoever has most pages that cannot be
        moved first.
        """
        held, told = self._all_owners, list(self._holders)
        if not len(held.blocks):
            return [[] for _ in blocks]
        wanted = np.array(spans, np.int64) << BLOCK_BITS | np.array(blocks, np.int64)
        at = np.minimum(np.searchsorted(held.blocks, wanted), len(held.blocks) - 1)
        many = np.where(held.blocks[at] == wanted, held.many[at], 0)
        ends = np.cumsum(many)
        # Where the rows of each block begin, and from there one after the other.
        begin = np.cumsum(held.many)[at] - held.many[at]
        rows = np.repeat(begin - ends + many, many) + np.arange(many.sum())
        whom = held.holder[rows]
        fixed = -held.fixed[rows].astype(np.int64)
        which = np.repeat(np.arange(len(many)), many)
        worst_first = whom[np.lexsort((self._ranks[whom], fixed, which))]
        found = [told[i] for i in worst_first.tolist()]
        return [
            found[end - count : end]
            for end, count in zip(ends.tolist(), many.tolist(), strict=True)
        ]

    def held_by(self) -> dict[int, int]:
        """
        Return how many blocks have one holder, two, …, and under 0 of how many others
        that is not known. Those that nobody holds are not counted.
        """
        self._finish()
        return dict(self._held_by)

    def let_go(self, most: int) -> list[LetGo]:
        """
        Say which owners would leave blocks wholly free if they let go, at once or when
        compaction has moved what it can.

        Whom to ask first is chosen step by step: those few who together free most
        blocks for each of them. Nobody is asked for pages that are on nobody's record.

        :param most: how many owners at most, no more than can be asked together
        """
        self._finish()
        told, ranks = list(self._holders), self._ranks.tolist()
        sets: dict[frozenset[tuple[Any, ...]], tuple[int, int, int]] = {}
        best_first = sorted(
            self._sets.items(),
            key=lambda each: (-each[1][0], sorted(ranks[i] for i in each[0])),
        )
        for whom, (blocks, still, first) in best_first[:_MOST_SETS]:
            who = frozenset(told[i] for i in whom)
            if len(who) <= most and not any(self._is_nobody(owner) for owner in who):
                sets[who] = blocks, still, first
        return steps_of(sets, most)

    def _is_nobody(self, owner: tuple[Any, ...]) -> bool:
        """Whether nobody can be asked: nothing is on record, or it is of the start."""
        for name, value in zip(self._by, owner, strict=True):
            word = value[0] if name == "stack" and len(value) == 1 else value
            if word in _NOBODY.values() or (
                name == "function" and word is not None and word.startswith("(")
            ):
                return True
        return False


def _told(
    words: Sequence[Sequence[Any]], places: Iterable[int | None]
) -> tuple[Any, ...]:
    """Return the words for places among them."""
    return tuple(
        None if place is None else of_key[place]
        for of_key, place in zip(words, places, strict=True)
    )


def _labelled(name: str, names: Names) -> Any:
    """What finds the values of a key, with words for pages that nobody has."""
    key: Key = KEYS[name]

    def values(columns: Sequence[NDArray[Any]]) -> list[Any]:
        recorded, *numbers = columns
        found: list[Any] = [
            (label,) if name == "stack" else label
            for label in map(_NOBODY.get, recorded.tolist())
        ]
        known = np.flatnonzero(recorded == ON_RECORD)
        told = key.values(names, [column[known] for column in numbers])
        for place, value in zip(known.tolist(), told, strict=True):
            found[place] = value
        return found

    return values

# SPDX-License-Identifier: GPL-2.0-or-later
"""
A fleet: a lake, and the engine that answers questions of it. A file that turns out to
be damaged is named and left out, and what was asked is asked again.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pagedbg.analysis import fleet_questions
from pagedbg.analysis.fleet_questions import STACKS, Asked
from pagedbg.analysis.stored_rows import listed, sql_type
from pagedbg.capture.lake import Compacted, Lake
from pagedbg.capture.snapshot_directory import parquet_name
from pagedbg.errors import PagedbgError, UsageError, few
from pagedbg.schema.filter_words import parse_names
from pagedbg.schema.fleet_columns import LAKE_SNAPSHOTS
from pagedbg.schema.snapshot_columns import OWNER_SUMS, STACK_NAMES
from pagedbg.sources.fleet_engine import Engine, EngineError
from pagedbg.sources.fleet_picks import Pick, Picked
from pagedbg.sources.lake_checking import checked
from pagedbg.sources.lake_doubts import take_out_doubtful
from pagedbg.sources.lake_index import TABLE, index_lake
from pagedbg.sources.snapshot_selection import in_mask, refuse_of_blocks

if TYPE_CHECKING:
    import duckdb

_Test = Callable[[Any], bool]

_SNAPSHOTS = listed(column.name for column in LAKE_SNAPSHOTS)


class Fleet:
    """What one command asks."""

    def __init__(
        self, db: duckdb.DuckDBPyConnection, lake: Lake, engine: Engine
    ) -> None:
        """:param db: takes the list of snapshots"""
        self._db = db
        self._lake = lake
        self._engine = engine
        self._damaged: dict[Path, str] = {}
        self._index()

    @property
    def notes(self) -> list[str]:
        """Sentences on what is left out."""
        return [*self._said, *few(self._damaged.values())]

    def _index(self) -> None:
        """Look which snapshots there are."""
        self._said: list[str] = []
        found = index_lake(self._db, self._lake, self._said)
        alone = [each.number for each in found.alone]
        for day in found.compacted:
            if day.path in self._damaged:
                self._db.execute(
                    f"DELETE FROM {TABLE} WHERE date = ? AND NOT"
                    " list_contains(?::BIGINT[], snapshot)",
                    [day.date, alone],
                )
        self._db.execute(
            f"DELETE FROM {TABLE} WHERE list_contains(?::BIGINT[], snapshot)",
            [[each.number for each in found.alone if each.path in self._damaged]],
        )
        self._compacted = [d for d in found.compacted if d.path not in self._damaged]
        self._alone = [each for each in found.alone if each.path not in self._damaged]
        take_out_doubtful(self._db, self._said)

    def _refuse_empty(self) -> None:
        """:raises PagedbgError: if there is no snapshot, with what was left out"""
        ((any_,),) = self._db.execute(f"SELECT count(*) > 0 FROM {TABLE}").fetchall()
        if not any_:
            raise PagedbgError(
                " ".join(["there is no snapshot to answer from.", *self.notes])
            )

    def _files(self) -> set[Path]:
        return {day.path for day in self._compacted} | {one.path for one in self._alone}

    def _look_again(self) -> bool:
        """
        Find out why files cannot be read: the lake was compacted meanwhile, or they are
        damaged. Return whether there are others to be read now.
        """
        before = self._files()
        self._index()
        if self._files() != before:
            return True
        self._find_damaged()
        self._index()
        return self._files() != before

    def ask(
        self,
        pick: Pick,
        question: Callable[[Picked], tuple[Asked, Callable[[Asked], str]]],
        args: argparse.Namespace,
    ) -> tuple[Picked, list[tuple[Any, ...]]]:
        """
        Ask a question.

        :param pick: which snapshots it is of
        :param question: what is asked of them, and in which words
        :param args: which owners are chosen
        """
        while True:
            self._refuse_empty()
            picked = pick(self._db)
            try:
                self._read(picked)
                asked, words = question(picked)
                asked = self._chosen(asked, args)
                if asked.of_stacks:
                    self._engine.keep("numbered", fleet_questions.numbered(asked))
                return picked, self._engine.ask(words(asked))[1]
            except EngineError:
                if not self._look_again():
                    raise

    def _read(self, picked: Picked) -> None:
        """Have the engine know what is looked at."""
        self._read_files({row[0] for row in picked.rows})
        self._engine.give("picked", picked.types, picked.rows)

    def _read_files(self, numbers: Collection[int] | None = None) -> None:
        """:param numbers: of the snapshots that have to be read; None is all"""
        alone, compacted = self._alone, self._compacted
        if numbers is not None:
            alone = [each for each in alone if each.number in numbers]
            dates = self._db.execute(
                f"SELECT DISTINCT date FROM {TABLE}"
                " WHERE snapshot IN (SELECT unnest(?::BIGINT[]))",
                [list(numbers)],
            ).fetchall()
            compacted = [day for day in compacted if (day.date,) in dates]
        for name, relation, columns in (
            ("owners", "owners", OWNER_SUMS),
            ("told_stacks", "stacks", STACK_NAMES),
        ):
            self._engine.read(
                name,
                columns,
                [day.file(relation) for day in compacted],
                [each.path / parquet_name(relation) for each in alone],
            )
        self._engine.keep("stacks", STACKS)

    def open_all(self) -> None:
        """
        Have the engine know all snapshots: ``snapshots``, ``owners`` and ``stacks``.

        :raises PagedbgError: if there are none
        """
        types = {each.name: sql_type(each) for each in LAKE_SNAPSHOTS}
        while True:
            self._refuse_empty()
            rows = self._db.execute(f"SELECT {_SNAPSHOTS} FROM {TABLE}").fetchall()
            try:
                self._engine.give("snapshots", types, rows)
                return self._read_files()
            except EngineError:
                if not self._look_again():
                    raise

    def _chosen(self, asked: Asked, args: argparse.Namespace) -> Asked:
        """Have the engine know which values of which columns were asked for."""
        tests = list(_tests(args))
        if not tests:
            return asked
        chosen: dict[str, bool] = {}
        for column, test in tests:
            relation = "owners"
            select = f'"{column}"'
            if column in ("stack", "module"):
                relation, select = "stacks", f'stack_id, "{column}"'
            _, rows = self._engine.ask(f"SELECT DISTINCT {select} FROM {relation}")
            values = [row[0] for row in rows if test(row[-1])]
            if relation == "stacks":
                column = "stack_id"
            if column in chosen:
                # Both a stack and a module.
                _, kept = self._engine.ask("SELECT value FROM chosen_stack_id")
                values = [each for each in values if (each,) in set(kept)]
            chosen[column] = None in values
            self._engine.give(
                f"chosen_{column}",
                {"value": "BIGINT" if column in ("order", "node") else "VARCHAR"},
                [(each,) for each in values if each is not None],
            )
        return Asked(
            asked.keys,
            chosen,
            asked.example,
            asked.sort,
            asked.descending,
            asked.top,
        )

    def _find_damaged(self) -> None:
        """Read all that is to be read."""
        for each, damage in checked(self._db, self._alone, asked=True):
            if damage is not None:
                self._damaged[each.path] = f"{damage}: it is left out."
        for day in self._compacted:
            if (why := self._why_unreadable(day)) is not None:
                said = f"{day.path} is damaged: {why}: it is left out."
                self._damaged[day.path] = said

    def _why_unreadable(self, day: Compacted) -> str | None:
        import duckdb

        for relation in ("owners", "stacks"):
            try:
                self._db.execute(
                    "CREATE OR REPLACE TEMP TABLE checked AS SELECT * FROM"
                    " read_parquet(?, hive_partitioning = false)",
                    [str(day.file(relation))],
                )
            except duckdb.Error as error:
                return str(error).partition("\n")[0].rstrip(".")
        return None


def _tests(args: argparse.Namespace) -> Sequence[tuple[str, _Test]]:
    """Columns, and what tells which of their values are chosen."""
    found: list[tuple[str, _Test]] = []
    if args.orders:
        found.append(("order", in_mask(lambda order: args.orders.mask(order, order))))
    if args.node:
        found.append(("node", in_mask(args.node.mask)))
    found += [
        (option, parse_names(typed, ignore_case=True))
        for option in ("zone", "migratetype")
        if (typed := getattr(args, option))
    ]
    found += [
        (option, test)
        for option in ("comm", "kind", "memcg", "module")
        if (test := getattr(args, option))
    ]
    if args.stack:
        found.append(("stack", lambda stack: args.stack(stack or [])))
    return found


def refuse_what_no_fleet_knows(args: argparse.Namespace) -> None:
    """
    Refuse what only a single block, or a single kernel, can answer.

    :raises UsageError: with what to leave out
    """
    refuse_of_blocks(args)
    if args.gfp:
        raise UsageError(
            "--gfp: the kernels of a fleet may have other bits for the same flags;"
            " leave --gfp out, or sum up --by gfp"
        )

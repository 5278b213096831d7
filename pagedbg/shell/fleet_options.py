# SPDX-License-Identifier: GPL-2.0-or-later
"""What the commands take that ask a fleet, and how they ask it."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from drgn.commands import argument, argument_group

from pagedbg.analysis.fleet_questions import Asked
from pagedbg.analysis.query import cell_value
from pagedbg.capture.lake import Lake
from pagedbg.errors import UsageError
from pagedbg.schema.snapshot_columns import OWNER_KEYS
from pagedbg.schema.table import Column, Table
from pagedbg.session import Session
from pagedbg.shell.filter_options import FILTERS, KIND, MEMCG, NO_SELF
from pagedbg.shell.growth_options import GROWTH_OPTIONS, shows_stack
from pagedbg.shell.limits import parse_size
from pagedbg.shell.redaction_options import ASK_REDACTED, ask_for_stand_ins
from pagedbg.shell.table_options import SORT, TOP, more_rows, parse_sort
from pagedbg.sources.fleet import Fleet, refuse_what_no_fleet_knows
from pagedbg.sources.fleet_engine import DuckdbEngine, Engine
from pagedbg.sources.fleet_picks import Pick, Picked
from pagedbg.sources.fleet_spark import SparkEngine

LAKE = argument(
    "lake",
    metavar="LAKE",
    type=Path,
    help="the directory that fleet add has filled",
)


def _parse_threads(text: str) -> int:
    if not text.isdigit() or not 0 < int(text) <= 1024:
        raise UsageError(f"{text!r} is not a number of threads; write 4")
    return int(text)


def _parse_master(text: str) -> str:
    if not re.fullmatch(r"(?:spark|k8s)://\S+|yarn|local(?:\[\S+\])?", text):
        raise UsageError(
            f"{text!r} is no master of Spark's; write spark://HOST:7077, k8s://HOST or"
            " yarn"
        )
    return text


ENGINE = argument_group(
    argument(
        "--engine",
        choices=("duckdb", "spark"),
        default="duckdb",
        help="what answers: duckdb, in this process, or spark",
    ),
    argument(
        "--master",
        metavar="URL",
        type=_parse_master,
        help="where Spark is, as spark://HOST:7077; by default it is started here",
    ),
    argument(
        "--threads",
        metavar="N",
        type=_parse_threads,
        default=len(os.sched_getaffinity(0)),
        help="how many threads may work, by default as many as there are CPUs",
    ),
    argument(
        "--memory",
        metavar="SIZE",
        type=parse_size,
        default=2 << 30,
        help="how much memory it may take, by default 2G; what needs more is put on"
        " the disk",
    ),
    title="engine",
)

FLEET_OPTIONS = (*GROWTH_OPTIONS, ASK_REDACTED, ENGINE)
"""Of commands that sum up by ``--by``."""

HOST_OPTIONS = (TOP, SORT, KIND, NO_SELF, MEMCG, FILTERS, ASK_REDACTED, ENGINE)
"""Of the one that sums up by host."""


def open_engine(args: argparse.Namespace) -> Engine:
    """Open the engine that was asked for."""
    if args.engine == "duckdb":
        if args.master is not None:
            raise UsageError("--master is of Spark: give --engine spark as well")
        return DuckdbEngine(args.lake, args.threads, args.memory)
    return SparkEngine(args.lake, args.master, args.threads, args.memory)


def fleet_table(
    session: Session,
    args: argparse.Namespace,
    pick: Pick,
    columns: Sequence[Column],
    words: Callable[[Picked], Callable[[Asked], str]],
) -> Table:
    """
    The table that answers a question.

    :param pick: which snapshots it is of
    :param columns: what a row says behind its keys
    :param words: the question in SQL
    """
    refuse_what_no_fleet_knows(args)
    ask_for_stand_ins(args)
    keys: Sequence[str] = getattr(args, "by", ())
    shown = [*(OWNER_KEYS[name] for name in keys), *columns]
    name, descending = parse_sort(args.sort, shown) or (None, True)
    example = bool(keys) and shows_stack(args)
    asked = Asked(keys, {}, example, name, descending, args.top)
    if example:
        shown.append(OWNER_KEYS["stack"])
    with (
        closing(session.db.cursor()) as db,
        closing(open_engine(args)) as engine,
    ):
        fleet = Fleet(db, Lake(args.lake), engine)
        picked, rows = fleet.ask(pick, lambda found: (asked, words(found)), args)
    notes = [*fleet.notes, *picked.notes]
    table = Table.of(shown, list(_drawn(shown, rows)), notes=notes, empty="No row.")
    if rows and (left := rows[0][-1] - len(rows)):
        notes.append(more_rows(left))
    table.closing.append(picked.said)
    return table


def _drawn(
    columns: Sequence[Column], rows: Sequence[Sequence[object]]
) -> Iterator[Sequence[object]]:
    """Rows without what stands behind the columns; shares as people write them."""
    for row in rows:
        values = [
            cell_value(column, value)
            for column, value in zip(columns, row, strict=False)
        ]
        yield [
            round(value, 3) if column.kind == "share" and value is not None else value
            for column, value in zip(columns, values, strict=True)
        ]

# SPDX-License-Identifier: GPL-2.0-or-later
"""``trend``: who grows, over many snapshots."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from pagedbg.analysis.trend import Trend
from pagedbg.errors import PagedbgError, few
from pagedbg.schema.snapshot_columns import OWNER_KEYS, TREND
from pagedbg.schema.table import Column, Row, Table
from pagedbg.session import Session
from pagedbg.shell.command import argument, command
from pagedbg.shell.growth_options import GROWTH_OPTIONS, shows_stack
from pagedbg.shell.table_options import (
    TABLE_COLUMNS,
    TableColumns,
    more_rows,
    parse_sort,
    refuse_no_stack,
)
from pagedbg.sources.snapshot_series import (
    Listed,
    find_snapshots,
    in_boots,
    store_series,
)

TABLE_COLUMNS["trend"] = TableColumns(
    sums=[*TREND, OWNER_KEYS["stack"]],
    keys=("stack_shape",),
)


@command(
    "trend",
    long_description="""
Say who grows, over many snapshots, by how many bytes an hour, and how steadily: a
straight line is drawn through what each held, and straightness is how much of the
change it explains, 100% where all is on the line. What grows fast and steadily comes
first, as a leak does; a cache grows until it is full.

Each boot has a line of its own with the same slope: a reboot is no fall. Time is that
of the kernel since it was booted, so that a gap is no step, and a clock that was set
does not matter.
""",
    arguments=(
        argument(
            "directories",
            metavar="DIR",
            type=Path,
            nargs="+",
            help="snapshots, or directories of some",
        ),
        *GROWTH_OPTIONS,
    ),
    examples=(
        ("trend /var/lib/snapshots --top 3", "which call paths grow, day after day"),
        ("trend /var/lib/snapshots --by module", "which drivers do"),
    ),
    table=True,
    kernel=False,
)
def trend(session: Session, args: argparse.Namespace) -> Table:
    """Run the command."""
    refuse_no_stack(args)
    unread: list[str] = []
    db = session.db.cursor()
    listed = find_snapshots(args.directories, unread)
    notes = few(unread)
    found = in_boots(listed, notes)
    series = store_series(db, found, args.by, args, notes)
    if len(series) < 2:
        count = "one snapshot tells" if series else "no snapshot is there, which tells"
        raise PagedbgError(" ".join([*notes, f"{count} no trend: give two or more."]))
    boots = [each.meta.kernel.boot_id or "" for each in series]
    if len(set(boots)) == len(boots):
        notes.append("No two snapshots are of one boot: how fast is not known.")
    with_stack = shows_stack(args)
    columns: list[Column] = [*(OWNER_KEYS[name] for name in args.by), *TREND]
    sort = parse_sort(args.sort, [each for each in columns if each.kind != "series"])
    if with_stack:
        columns.append(OWNER_KEYS["stack"])
    lines = Trend(
        db,
        args.by,
        [
            (boot, each.meta.kernel.up_ns or 0)
            for boot, each in zip(boots, series, strict=True)
        ],
        "series_held",
        "series_stacks" if with_stack else None,
    )
    table = Table(columns, (), notes=notes, empty="Nobody has grown, or shrunk.")
    table.batches = _rows(lines, table, sort, args.top)
    table.closing.append(_described(series, len(set(boots))))
    return table


def _rows(
    lines: Trend, table: Table, sort: tuple[str, bool] | None, top: int | None
) -> Iterator[Sequence[Row]]:
    name, descending = sort or (None, True)
    yield from lines.rows(name, descending, top)
    if lines.left:
        table.notes.append(more_rows(lines.left))


def _described(series: Sequence[Listed], boots: int) -> str:
    times = [each.meta.taken for each in series if each.meta.taken is not None]
    when = f", from {min(times)} to {max(times)}" if times else ""
    return f"{len(series)} snapshots of {boots} boot{'s' if boots > 1 else ''}{when}."

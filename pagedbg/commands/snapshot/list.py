# SPDX-License-Identifier: GPL-2.0-or-later
"""``snapshot list``: which snapshots there are."""

from __future__ import annotations

import argparse
from pathlib import Path

from pagedbg.errors import few
from pagedbg.schema.snapshot_columns import SNAPSHOTS
from pagedbg.schema.table import Row, Table
from pagedbg.session import Session
from pagedbg.shell.command import argument, command
from pagedbg.sources.snapshot_series import Listed, find_snapshots


@command(
    "snapshot list",
    long_description="""
List snapshots, the earliest first: those that are named, and those that are in
directories that are named.
""",
    arguments=(
        argument(
            "directories",
            metavar="DIR",
            type=Path,
            nargs="+",
            help="a snapshot, or a directory of some",
        ),
    ),
    examples=(("snapshot list /var/tmp", "what has been kept there"),),
    table=True,
    kernel=False,
)
def snapshot_list(session: Session, args: argparse.Namespace) -> Table:
    """Run the command."""
    notes: list[str] = []
    rows = [_row(each) for each in find_snapshots(args.directories, notes)]
    return Table.of(SNAPSHOTS, rows, notes=few(notes), empty="There is no snapshot.")


def _row(found: Listed) -> Row:
    meta, kernel = found.meta, found.meta.kernel
    return (
        str(found.path),
        meta.taken,
        kernel.host,
        kernel.release,
        kernel.build_id,
        kernel.boot_id,
        kernel.up_ns,
        kernel.pages,
        found.size,
        list(meta.missing),
    )

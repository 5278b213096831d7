# SPDX-License-Identifier: GPL-2.0-or-later
"""``fleet compact``: putting the snapshots of each day together."""

from __future__ import annotations

import argparse
from contextlib import closing

from pagedbg.capture.lake import Lake
from pagedbg.errors import PagedbgError
from pagedbg.output.printable import printable
from pagedbg.session import Session
from pagedbg.shell.command import command
from pagedbg.shell.fleet_options import LAKE
from pagedbg.sources.lake_compaction import compact_day


@command(
    "fleet compact",
    long_description="""
Put the snapshots of each day of a lake together, a file a relation: what many small
files have takes more time to read, and more room. What is damaged stays as it is, and
is named.

Whoever reads the lake meanwhile gets the same answers, and so it is when this is killed
at any moment.
""",
    arguments=(LAKE,),
    examples=(("fleet compact /srv/lake", "once a day, when all have sent theirs"),),
    kernel=False,
)
def fleet_compact(session: Session, args: argparse.Namespace) -> None:
    """Run the command."""
    lake = Lake(args.lake)
    notes: list[str] = []
    days = lake.days(notes)
    failed: list[str] = []
    count = 0
    with closing(session.db.cursor()) as db:
        for day in days:
            try:
                count += compact_day(db, lake, day.date, notes)
            except PagedbgError as error:
                failed.append(str(error))
    for sentence in (f"Snapshots compacted: {count:,}.", *notes):
        print(printable(sentence))
    if failed:
        raise PagedbgError(" ".join(failed))

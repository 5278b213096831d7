# SPDX-License-Identifier: GPL-2.0-or-later
"""``fleet add``: putting snapshots into a lake."""

from __future__ import annotations

import argparse
from contextlib import closing, nullcontext
from pathlib import Path

from pagedbg.analysis.stand_ins import StandIns
from pagedbg.capture.lake import Lake
from pagedbg.errors import PagedbgError, few
from pagedbg.output.printable import printable
from pagedbg.progress import measured
from pagedbg.session import Session
from pagedbg.shell.command import argument, command
from pagedbg.shell.fleet_options import LAKE
from pagedbg.shell.redaction_options import REDACT, read_key
from pagedbg.sources.lake_adding import add_snapshot, known_of
from pagedbg.sources.lake_index import index_lake
from pagedbg.sources.snapshot_redaction import redacted_copy
from pagedbg.sources.snapshot_series import Listed, find_snapshots


@command(
    "fleet add",
    long_description="""
Put snapshots into a lake, a directory in which those of many hosts stand by day and by
host: date=2026-11-26/host=web1/snapshot=NUMBER. An empty directory is a lake.

Each is read as a whole before it is in the lake, and is there whole or not at all. One
that is damaged, says neither when nor of which host it is, or is of another machine
than what the lake has under its host's name, is named and left out, and the others go
in. What is in the lake already is no mistake, so that a host may send what it has again
and again.
""",
    arguments=(
        LAKE,
        argument(
            "directories",
            metavar="DIR",
            type=Path,
            nargs="+",
            help="a snapshot, or a directory of some",
        ),
        REDACT,
    ),
    examples=(
        ("fleet add /srv/lake /var/lib/snapshots", "have all of these in the lake"),
        (
            "fleet add /srv/lake /var/lib/snapshots --redact /etc/pagedbg.key",
            "the same without names",
        ),
    ),
    kernel=False,
)
def fleet_add(session: Session, args: argparse.Namespace) -> None:
    """Run the command."""
    key = read_key(args.redact) if args.redact else None
    refused: list[str] = []
    lake = Lake(args.lake)
    found: list[Listed] = []
    for directory in args.directories:
        try:
            found += find_snapshots([directory], refused)
        except PagedbgError as error:
            refused.append(str(error))
    hosts = {each.meta.kernel.host or "" for each in found}
    if key:
        names = StandIns(key)
        hosts = {names.stand_in("host", host) for host in hosts}
    added = there = 0
    with closing(session.db.cursor()) as db:
        index_lake(db, lake, [], hosts)
        known = known_of(db)
        with measured("adding snapshots", len(found), "snapshots") as done:
            for each in found:
                try:
                    with (
                        redacted_copy(db, each, key) if key else nullcontext(each)
                    ) as given:
                        if add_snapshot(db, lake, given, known, each.path):
                            added += 1
                        else:
                            there += 1
                except PagedbgError as error:
                    refused.append(str(error))
                done(1)
    said = f"Snapshots added to {args.lake}: {added:,}"
    said += f", and {there:,} were in it already." if there else "."
    print(printable(said))
    if refused:
        raise PagedbgError(" ".join(few(refused)))

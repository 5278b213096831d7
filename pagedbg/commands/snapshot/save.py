# SPDX-License-Identifier: GPL-2.0-or-later
"""``snapshot save``: keeping who holds memory, and where it is."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from pagedbg.analysis.stored_rows import listed, store_rows
from pagedbg.capture.scratch import scratch
from pagedbg.commands.memory import memory_parts
from pagedbg.errors import PagedbgError, UsageError
from pagedbg.output.printable import printable
from pagedbg.schema.filter_words import duration
from pagedbg.schema.snapshot_columns import OWNER_SUMS, STACK_NAMES
from pagedbg.schema.snapshot_meta import SnapshotMeta
from pagedbg.schema.table import Table
from pagedbg.session import Session
from pagedbg.shell.command import NAMESPACE, argument, command
from pagedbg.shell.redaction_options import REDACT, read_key
from pagedbg.sources.page_runs import page_runs
from pagedbg.sources.private_names import private_names
from pagedbg.sources.slab_sums import SlabSums
from pagedbg.sources.snapshot_redaction import redact_snapshot
from pagedbg.sources.snapshot_saving import (
    new_directory,
    snapshot_meta,
    write_meta,
    write_relation,
)
from pagedbg.sources.snapshot_thinning import Keep, thin_out
from pagedbg.target.links import UNREADABLE

if TYPE_CHECKING:
    import duckdb

_SUMS = ("blocks", "pages", "bytes")

_KEYS = [column.name for column in OWNER_SUMS if column.name not in _SUMS]

_NAMES = [column.name for column in STACK_NAMES]


# Of each relation the command that gives its rows.
_COMMANDS = {
    "owners": ("owners", "--by", ",".join(dict.fromkeys((*_KEYS, *_NAMES)))),
    "kernel": ("status",),
    "zones": ("zones",),
    "free": ("free",),
    "free_areas": ("free", "--by", "migratetype"),
    "pageblocks": ("blocks",),
    "failures": ("explain",),
}

# The same of what few kernels know: who allocates slab objects.
_OBJECTS = {"slab_sums": ("memory", "--section", "objects")}

# The same of those that --full adds.
_FULL_COMMANDS = {"blocks": ("owners", "--no-stack"), "handles": ("stacks",)}

# Of each relation the section of memory.
_SECTIONS = {
    "memory": "kinds",
    "unaccounted": "unaccounted",
    "pools": "pools",
    "largest": "largest",
    "health": "health",
}

# What of these rows goes into which file.
_FILES = {
    "owners": {
        "owners": f"SELECT {listed(_KEYS)}, "
        + ", ".join(f"sum({name})::BIGINT AS {name}" for name in _SUMS)
        + " FROM found GROUP BY ALL ORDER BY ALL",
        "stacks": (
            f"SELECT DISTINCT ON (stack_id) {listed(_NAMES)}"
            " FROM found WHERE stack_id IS NOT NULL ORDER BY stack_id"
        ),
    }
}


def _parse_keep(text: str) -> Keep:
    """The parser of ``--keep``: an age, a number, or both."""
    seconds: float | None = None
    count: int | None = None
    for part in text.split(","):
        if part.strip().isdigit() and int(part) > 0 and count is None:
            count = int(part)
        elif not part.strip().isdigit() and seconds is None:
            seconds = duration(part) / 10**9
        else:
            raise UsageError(f"{text!r} is nothing to keep; write 7d, 100 or 7d,100")
    return Keep(seconds, count)


@command(
    "snapshot save",
    long_description="""
Write who holds memory, and where it is, into a directory of Parquet files, which any
engine reads and diff compares: what owners sums up by stack, order, GFP flags,
migratetype, zone, node, kind, memory cgroup, program, line of the source and age, the
stacks, and what status, memory, zones, free, blocks and explain say. pagedbg --snapshot
DIR answers out of them as of a kernel. Beside them meta.json says of which kernel they
are, when, and what could not be read.

With --full there is a row for each block of pages that is allocated, some 10 bytes
each, and what all pages are: owners lists blocks then, and has --pid, --age and --pfns,
map and inspect pfn say what lies where, and diff says how many pages have changed hands
between two snapshots of one boot.

The directory is there whole or not at all. It is for its owner alone: names of programs
and of files are in it. With --redact names of processes, paths, hosts and addresses
have stand-ins, the same name the same one in all snapshots with the same key.
""",
    arguments=(
        argument(
            "directory",
            metavar="DIR",
            type=Path,
            help="a directory that is not there yet",
        ),
        REDACT,
        argument("--full", action="store_true", help="keep every block, too"),
        argument(
            "--keep",
            metavar="KEEP",
            type=_parse_keep,
            help=(
                "then remove the snapshots beside it that are of the same host and"
                " older, or too many: 7d, 100, or 7d,100 for both"
            ),
        ),
    ),
    examples=(
        (
            "snapshot save /var/tmp/monday",
            "keep it; diff /var/tmp/monday says another day what has grown",
        ),
        (
            "snapshot save /var/tmp/tuesday --full --keep 7d,100",
            "every block, too; and no snapshot there that is older than a week",
        ),
    ),
)
def snapshot_save(session: Session, args: argparse.Namespace) -> None:
    """Run the command."""
    key = read_key(args.redact) if args.redact else None
    with closing(session.db.cursor()) as db:
        if key:
            with scratch() as directory:
                whole = Path(directory) / "whole"
                _save(session, db, whole, args.full)
                known = private_names(session)
                meta = redact_snapshot(db, whole, args.directory, key, known)
        else:
            meta = _save(session, db, args.directory, args.full)
    if args.keep:
        meta.notes += thin_out(args.directory, meta, args.keep)
    for sentence in _said(args.directory, meta.relations, meta.missing, meta.notes):
        print(printable(sentence))


def _save(
    session: Session, db: duckdb.DuckDBPyConnection, directory: Path, full: bool
) -> SnapshotMeta:
    """Write a snapshot; return what it says of itself."""
    meta = snapshot_meta(session)
    notes: list[str] = list(session.target.notes)
    with new_directory(directory) as folder:
        for relation, table_of in _tables(session, full).items():
            try:
                table = table_of()
                store_rows(db, "found", table)
            except PagedbgError as error:
                meta.missing[relation] = str(error)
                continue
            except UNREADABLE as error:
                meta.missing[relation] = f"it could not be read: {error}"
                continue
            notes += table.notes
            files = _FILES.get(relation, {relation: "SELECT * FROM found"})
            for name, select in files.items():
                meta.relations[name] = write_relation(db, folder, name, select)
        if not meta.relations:
            raise PagedbgError(next(iter(meta.missing.values())))
        meta.notes = list(dict.fromkeys(notes))
        write_meta(folder, meta)
    return meta


def _tables(session: Session, full: bool) -> dict[str, Callable[[], Table]]:
    """What gives each relation's rows."""
    objects = _OBJECTS if SlabSums(session, []).known else {}
    commands = {**_COMMANDS, **objects, **(_FULL_COMMANDS if full else {})}

    @functools.cache
    def parts() -> dict[str, Table]:
        return memory_parts(session)

    return {
        **{
            relation: functools.partial(_table, session, *line)
            for relation, line in commands.items()
        },
        **({"pages": functools.partial(page_runs, session)} if full else {}),
        **{
            relation: lambda section=section: parts()[section]  # type: ignore[misc]
            for relation, section in _SECTIONS.items()
        },
    }


def _table(session: Session, name: str, *words: str) -> Table:
    command = NAMESPACE.get(name)
    return command.table_of(session, command.parser.parse_line(words))


def _said(
    directory: Path,
    relations: dict[str, int],
    missing: dict[str, str],
    notes: list[str],
) -> Iterator[str]:
    size = sum(file.stat().st_size for file in directory.iterdir())
    rows = ", ".join(f"{count:,} {name}" for name, count in relations.items())
    yield f"{rows} ({size / 1024:,.0f} KiB) in {directory}."
    for name, why in missing.items():
        yield f"Without {name}: {why}"
    yield from notes

# SPDX-License-Identifier: GPL-2.0-or-later
"""
What ``diff`` compares: a snapshot, a kernel that is open, live or as a dump, a capture.
Each is a value with the same methods.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from drgn import Program

from pagedbg.analysis.stored_rows import store_rows
from pagedbg.capture.directory import Capture
from pagedbg.capture.snapshot_directory import CaptureInstead, Snapshot
from pagedbg.errors import PagedbgError, UsageError
from pagedbg.schema.allocation_columns import ALLOCATION_KEYS
from pagedbg.schema.block_columns import KEPT_BLOCKS
from pagedbg.schema.memory_columns import MEMORY
from pagedbg.schema.relations import SCHEMA_VERSION
from pagedbg.schema.snapshot_columns import OWNER_KEYS
from pagedbg.schema.snapshot_meta import SnapshotKernel, SnapshotMeta
from pagedbg.schema.table import Table
from pagedbg.session import Session
from pagedbg.shell.command import NAMESPACE, Command
from pagedbg.shell.growth_options import shows_stack
from pagedbg.sources.snapshot_saving import snapshot_meta
from pagedbg.sources.snapshot_selection import store_owners
from pagedbg.sources.snapshot_tables import store
from pagedbg.target.opening import open_target
from pagedbg.target.target import Target

if TYPE_CHECKING:
    import duckdb


# What a table is like, and not what is in it.
_OF_TABLES = {"by", "top", "sort", "columns", "format", "output"}


class KeptSide(NamedTuple):
    """A snapshot, as the kernel was when it was saved."""

    name: str
    snapshot: Snapshot

    @property
    def meta(self) -> SnapshotMeta:
        """Which kernel it is, and when."""
        return self.snapshot.meta

    def has(self, relation: str) -> bool:
        """Whether it has a relation."""
        return self.snapshot.has(relation)

    def owners(
        self, db: duckdb.DuckDBPyConnection, into: str, args: argparse.Namespace
    ) -> Sequence[str]:
        """
        Put the chosen blocks' sums by :data:`OWNER_KEYS` into a table.

        :return: sentences on what could not be read
        """
        store_owners(db, self.snapshot, args, into)
        return [f"{self.name}: {note}" for note in self.meta.notes]

    def memory(self, db: duckdb.DuckDBPyConnection, into: str) -> Sequence[str]:
        """Put what ``memory`` says of the kinds of pages into a table."""
        store(db, self.snapshot, "memory", MEMORY, into)
        return [f"{self.name}: {note}" for note in self.meta.notes]

    def blocks(self, db: duckdb.DuckDBPyConnection, into: str) -> None:
        """Put all blocks that are allocated into a table."""
        store(db, self.snapshot, "blocks", KEPT_BLOCKS, into)


class OpenSide(NamedTuple):
    """A kernel that is open, live or as a dump; as a snapshot it is not kept."""

    name: str
    session: Session
    meta: SnapshotMeta

    def has(self, relation: str) -> bool:
        """Whether it has a relation: what it lacks is said when it is asked for."""
        return relation not in self.meta.missing

    def owners(
        self, db: duckdb.DuckDBPyConnection, into: str, args: argparse.Namespace
    ) -> Sequence[str]:
        """As of a snapshot."""
        owners = NAMESPACE.get("owners")
        parsed = _with_filters(owners, args, "--by", _keys(args))
        return self._noted(_stored(db, into, owners.table_of(self.session, parsed)))

    def memory(self, db: duckdb.DuckDBPyConnection, into: str) -> Sequence[str]:
        """As of a snapshot."""
        memory = NAMESPACE.get("memory")
        parsed = memory.parser.parse_line(["--section", "kinds"])
        return self._noted(_stored(db, into, memory.table_of(self.session, parsed)))

    def blocks(self, db: duckdb.DuckDBPyConnection, into: str) -> None:
        """As of a snapshot."""
        owners = NAMESPACE.get("owners")
        parsed = owners.parser.parse_line(["--no-stack"])
        _stored(db, into, owners.table_of(self.session, parsed))

    def _noted(self, notes: Sequence[str]) -> Sequence[str]:
        return [f"{self.name}: {note}" for note in notes]


class RecordedSide(NamedTuple):
    """A capture: what was allocated while it was recorded, and is still held."""

    path: Path
    session: Session
    meta: SnapshotMeta

    @property
    def name(self) -> str:
        """What it is called."""
        return str(self.path)

    def has(self, relation: str) -> bool:
        """Whether it has a relation."""
        return relation == "owners"

    def owners(
        self, db: duckdb.DuckDBPyConnection, into: str, args: argparse.Namespace
    ) -> Sequence[str]:
        """Put the sums of what is held into a table, as a snapshot does."""
        known = [each.name for each in ALLOCATION_KEYS if each.name in OWNER_KEYS]
        for name in args.by:
            if name not in known:
                raise UsageError(
                    f"--by {name}: a capture does not tell; it has {', '.join(known)}"
                )
        for name in ("kind", "memcg"):
            if getattr(args, name):
                raise UsageError(f"--{name}: a capture does not tell; leave it out")
        correlate = NAMESPACE.get("correlate")
        parsed = _with_filters(correlate, args, "--leaked", "--by", _keys(args))
        notes = _stored(db, into, correlate.table_of(self.session, parsed))
        return [
            f"{self.name} has what was allocated while it was recorded, and is held.",
            *(f"{self.name}: {note}" for note in notes),
        ]

    def memory(self, db: duckdb.DuckDBPyConnection, into: str) -> Sequence[str]:
        """Refuse to: of all memory a capture knows nothing."""
        raise PagedbgError(
            f"{self.name} is a capture, which knows nothing of all memory: leave"
            " --section out."
        )

    def blocks(self, db: duckdb.DuckDBPyConnection, into: str) -> None:
        """There are none: see :meth:`has`."""
        raise NotImplementedError


Side = KeptSide | OpenSide | RecordedSide


def side_of_path(path: Path, opened: ExitStack) -> Side:
    """
    Open a snapshot, a capture or a dump.

    :param opened: takes what is opened, to be closed when it was read
    :raises PagedbgError: if it is none of them, or damaged
    """
    if not path.exists():
        raise PagedbgError(
            f"{path} is not there: give a snapshot, a capture or a dump."
        )
    if not path.is_dir():
        return _opened(Session(open_target(str(path))), opened)
    try:
        return KeptSide(str(path), opened.enter_context(Snapshot(path)))
    except CaptureInstead:
        session = Session(Target(Program()), capture=Capture(path))
        opened.callback(session.close)
        return _recorded(session)


def side_of_session(session: Session, opened: ExitStack) -> Side:
    """
    What is open, or else the kernel that runs here.

    :param opened: as for :func:`side_of_path`
    """
    if session.snapshot is not None:
        return KeptSide(str(session.snapshot.path), session.snapshot)
    if session.target.has_kernel:
        return OpenSide(session.target.name, session, snapshot_meta(session))
    if session.capture is not None:
        return _recorded(session)
    return _opened(Session(open_target()), opened)


def _opened(session: Session, opened: ExitStack) -> Side:
    opened.callback(session.close)
    return OpenSide(session.target.name, session, snapshot_meta(session))


def _recorded(session: Session) -> Side:
    capture = session.capture
    assert capture is not None
    kernel = capture.meta.kernel
    meta = SnapshotMeta(
        schema=SCHEMA_VERSION,
        taken=(capture.meta.ended or capture.meta.begun).wall,
        source="a capture",
        kernel=SnapshotKernel(
            release=kernel.release,
            build_id=kernel.build_id or None,
            boot_id=kernel.boot_id or None,
            machine=None,
            host=None,
            page_size=kernel.page_size,
            pages=0,
            up_ns=None,
        ),
        relations={},
    )
    return RecordedSide(capture.path, session, meta)


def _keys(args: argparse.Namespace) -> str:
    """What is summed up by, with the stack that is shown."""
    return ",".join(
        dict.fromkeys((*args.by, *(["stack"] if shows_stack(args) else [])))
    )


def _with_filters(
    command: Command, args: argparse.Namespace, *words: str
) -> argparse.Namespace:
    """The arguments of a command, with our filters."""
    parsed: argparse.Namespace = command.parser.parse_line(words)
    filters = vars(parsed).keys() - _OF_TABLES
    vars(parsed).update(
        {name: value for name, value in vars(args).items() if name in filters}
    )
    parsed.no_stack = False
    return parsed


def _stored(db: duckdb.DuckDBPyConnection, into: str, table: Table) -> Sequence[str]:
    store_rows(db, into, table)
    return table.notes

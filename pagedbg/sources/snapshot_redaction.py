# SPDX-License-Identifier: GPL-2.0-or-later
"""
A snapshot without names of processes, paths, hosts and addresses: what is known of it
is written anew, with stand-ins that are the same wherever the key is. What is not known
is left out, since nobody can tell what it names.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pagedbg.analysis.query import cell_value
from pagedbg.analysis.stand_ins import LEAST_ADDRESS, StandIns
from pagedbg.analysis.stored_rows import quoted, store_rows
from pagedbg.capture.files import Folder
from pagedbg.capture.scratch import scratch
from pagedbg.capture.snapshot_directory import Snapshot
from pagedbg.schema.snapshot_meta import SnapshotMeta
from pagedbg.schema.snapshot_relations import SNAPSHOT_RELATIONS
from pagedbg.schema.stack_ids import stack_id, stack_shape
from pagedbg.schema.table import Column, Table
from pagedbg.sources.snapshot_saving import new_directory, write_meta, write_relation
from pagedbg.sources.snapshot_series import Listed
from pagedbg.sources.snapshot_tables import known_columns, store

if TYPE_CHECKING:
    import duckdb

# Kinds of cells that hold text.
_TEXTS = ("str", "list", "stack", "row", "rows")


@contextlib.contextmanager
def redacted_copy(
    db: duckdb.DuckDBPyConnection, found: Listed, key: bytes
) -> Iterator[Listed]:
    """
    A copy of a snapshot without names, for as long as a block lasts.

    :raises PagedbgError: if the snapshot is damaged, or there is no room for the copy
    """
    with scratch() as directory:
        to = Path(directory) / "redacted"
        redact_snapshot(db, found.path, to, key)
        with Snapshot(to) as copy:
            yield Listed(to, copy.meta, copy.size)


def redact_snapshot(
    db: duckdb.DuckDBPyConnection,
    path: Path,
    to: Path,
    key: bytes,
    known: Mapping[str, Iterable[str]] | None = None,
) -> SnapshotMeta:
    """
    Write a snapshot without names.

    :param to: where it is to be
    :param known: names that may be in sentences, beside those in the tables, by what
        they are
    :return: what it says of itself
    :raises PagedbgError: if the snapshot is damaged, or the new one cannot be written
    """
    with Snapshot(path) as snapshot:
        kept = _Kept(db, snapshot, StandIns(key))
        kept.learn(known or {})
    with new_directory(to) as folder:
        kept.write(folder)
        meta = kept.meta()
        write_meta(folder, meta)
    return meta


class _Kept:
    """What is known of a snapshot, in tables of a database."""

    def __init__(
        self, db: duckdb.DuckDBPyConnection, snapshot: Snapshot, names: StandIns
    ) -> None:
        self._db = db
        self._names = names
        self._meta = snapshot.meta
        self._columns = {
            relation: self._keep(snapshot, relation)
            for relation in snapshot.meta.relations
            if relation in SNAPSHOT_RELATIONS
        }
        self._ids: dict[tuple[str, str], str] = {}

    def _keep(self, snapshot: Snapshot, relation: str) -> Sequence[Column]:
        columns = known_columns(
            self._db, snapshot, relation, SNAPSHOT_RELATIONS[relation]
        )
        store(self._db, snapshot, relation, columns, f"kept_{relation}")
        return columns

    @property
    def _source(self) -> tuple[str, str]:
        """The name of a dump's file, and in brackets the release."""
        if self._meta.source == "the running kernel":
            return "", self._meta.source
        name, bracket, release = self._meta.source.rpartition(" (")
        return (name, bracket + release) if bracket else (release, "")

    def _values(self, relation: str, column: Column) -> list[Any]:
        """What a column has, once each."""
        name = quoted(column.name)
        answer = self._db.execute(
            f"SELECT DISTINCT {name} FROM kept_{relation} WHERE {name} IS NOT NULL"
        )
        return [cell_value(column, value) for (value,) in answer.fetchall()]

    def learn(self, known: Mapping[str, Iterable[str]]) -> None:
        """Learn all names, before the first sentence is read."""
        self._names.learn_all(known)
        self._names.learn("host", self._meta.kernel.host)
        self._names.learn("path", self._source[0])
        for relation, columns in self._columns.items():
            for column in columns:
                if self._names.is_name(column):
                    self._names.learn_column(column, self._values(relation, column))
        for relation in ("stacks", "handles"):
            if relation in self._columns:
                self._learn_stacks(relation)

    def _learn_stacks(self, relation: str) -> None:
        """Have stacks with other frames other numbers, too: these are hashes."""
        for number, shape, stack in self._db.execute(
            f"SELECT DISTINCT stack_id, stack_shape, stack FROM kept_{relation}"
            " WHERE stack IS NOT NULL"
        ).fetchall():
            frames = [self._names.frame(frame or "") for frame in stack]
            if frames != stack:
                self._ids["stack_id", number] = f"{stack_id(frames):#018x}"
                self._ids["stack_shape", shape] = f"{stack_shape(frames):#018x}"

    def _value(self, column: Column, value: Any) -> Any:
        if isinstance(value, str) and (id_ := self._ids.get((column.name, value))):
            return id_
        return self._names.value(column, value)

    def write(self, folder: Folder) -> None:
        """Write all relations."""
        for relation, columns in self._columns.items():
            made, joins = [], []
            for place, column in enumerate(columns):
                said, name = f"kept.{quoted(column.name)}", f"new_{place}"
                if column.kind == "hex":
                    said = f"CASE WHEN {said} < {LEAST_ADDRESS} THEN {said} END"
                elif column.kind in _TEXTS and self._store_new(name, relation, column):
                    joins.append(f" LEFT JOIN {name} ON {said} = {name}.old")
                    said = f"{name}.new"
                made.append(f"{said} AS {quoted(column.name)}")
            # The order of names would tell of them.
            order = "ALL" if relation == "owners" else "kept.rowid"
            self._meta.relations[relation] = write_relation(
                self._db,
                folder,
                relation,
                f"SELECT {', '.join(made)} FROM kept_{relation} AS kept{''.join(joins)}"
                f" ORDER BY {order}",
            )

    def _store_new(self, table: str, relation: str, column: Column) -> bool:
        """
        Have a table of what stands for each value of a column; return whether that is
        another for any.
        """
        rows = [
            (value, self._value(column, value))
            for value in self._values(relation, column)
        ]
        if all(old == new for old, new in rows):
            return False
        columns = [dataclasses.replace(column, name=name) for name in ("old", "new")]
        store_rows(self._db, table, Table.of(columns, rows))
        return True

    def meta(self) -> SnapshotMeta:
        """What the snapshot says of itself, once it is written."""
        names, kernel = self._names, self._meta.kernel
        name, rest = self._source

        def stand_in(kind: str, name: str | None) -> str | None:
            return None if name is None else names.stand_in(kind, name)

        return msgspec.structs.replace(
            self._meta,
            source=(names.stand_in("path", name) if name else "") + rest,
            kernel=msgspec.structs.replace(
                kernel,
                boot_id=stand_in("boot", kernel.boot_id),
                host=stand_in("host", kernel.host),
                host_id=stand_in("machine", kernel.host_id),
            ),
            relations={name: self._meta.relations[name] for name in self._columns},
            missing={
                name: names.text(why)
                for name, why in self._meta.missing.items()
                if name in SNAPSHOT_RELATIONS
            },
            notes=list(map(names.text, self._meta.notes)),
        )

# SPDX-License-Identifier: GPL-2.0-or-later
"""
A snapshot that is open. It may be from a stranger: its files are opened below the
directory, each once.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from pagedbg.capture.files import META, Folder
from pagedbg.errors import PagedbgError
from pagedbg.schema.snapshot_meta import (
    MOST_BYTES,
    SnapshotMeta,
    SnapshotMetaError,
    decode_snapshot_meta,
)


def parquet_name(relation: str) -> str:
    """The file of a relation in a snapshot."""
    return f"{relation}.parquet"


class SnapshotError(PagedbgError):
    """A directory is no snapshot, or one that cannot be read."""


class NoSnapshot(SnapshotError):
    """A directory is of something else."""


class CaptureInstead(NoSnapshot):
    """A directory is a capture."""


_KINDS = {"snapshot": SnapshotError, "capture": CaptureInstead, "other": NoSnapshot}


class Snapshot:
    """
    A snapshot, held open until :meth:`close`.

    :raises SnapshotError: if it is none, or cannot be read
    """

    meta: SnapshotMeta

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stack = contextlib.ExitStack()
        try:
            self._folder = self._stack.enter_context(Folder(path))
            self.meta = decode_snapshot_meta(self._folder.read(META, MOST_BYTES))
        except OSError as error:
            self.close()
            raise SnapshotError(
                f"{path} is no snapshot: {META}: {error.strerror or error}."
            ) from None
        except SnapshotMetaError as error:
            self.close()
            raise _KINDS[error.of](f"{path} {error}.") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of its files."""
        self._stack.close()

    @property
    def size(self) -> int:
        """How many bytes its files have."""
        return sum(
            self._folder.size(name) or 0
            for name in (META, *map(parquet_name, self.meta.relations))
        )

    def has(self, relation: str) -> bool:
        """Whether it has a relation."""
        return relation in self.meta.relations

    def rows(self, relation: str) -> int:
        """
        How many rows a relation has.

        :raises SnapshotError: if the snapshot lacks it
        """
        if not self.has(relation):
            why = self.meta.missing.get(relation, "it says nothing of it")
            raise SnapshotError(f"{self.path} has no {relation}: {why.rstrip('.')}.")
        return self.meta.relations[relation]

    @contextlib.contextmanager
    def opened(self, relation: str) -> Iterator[str]:
        """
        The file of a relation, by a path that is good for as long as a block lasts.

        :raises SnapshotError: if it cannot be opened
        """
        name = parquet_name(relation)
        try:
            file = self._folder.open(name)
        except OSError as error:
            raise SnapshotError(
                f"{self.path} lacks {name}, which its {META} counts:"
                f" {error.strerror or error}. Was it copied in part?"
            ) from None
        try:
            yield f"/proc/{os.getpid()}/fd/{file}"
        finally:
            os.close(file)

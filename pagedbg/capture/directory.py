# SPDX-License-Identifier: GPL-2.0-or-later
"""
A capture on disk: written by the recorder, read by anybody, with or without a kernel
behind it. ``contrib/capture-format.md`` says what is in which file.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pagedbg.capture.event_reader import EventReader
from pagedbg.capture.files import META, META_SYNCED, PAGES, STACKS, CaptureError, Folder
from pagedbg.capture.losses import losses_of
from pagedbg.capture.numpy_file import records_in
from pagedbg.capture.sealed import SealError
from pagedbg.capture.stack_file import StackFile
from pagedbg.capture.this_boot import boot_id, process_start
from pagedbg.schema import capture_meta
from pagedbg.schema.capture_meta import Meta
from pagedbg.schema.loss import Loss


class Capture(EventReader):
    """
    A capture.

    ``meta`` is its ``meta.json``. ``clock`` says what its times are:
    ``"local"`` are ``local_clock()``'s, as page_owner's are, and ``"monotonic"`` are
    CLOCK_MONOTONIC's.
    """

    def __init__(self, path: Path | str) -> None:
        """:raises CaptureError: if there is no capture"""
        super().__init__()
        self.path = Path(path)
        self.meta = self._read_meta()
        self._stack_file = StackFile()

    def _folder(self) -> Folder:
        try:
            return Folder(self.path)
        except OSError as error:
            raise CaptureError(
                f"{self.path} is no capture of pagedbg: {error.strerror}."
            ) from None

    def _read_meta(self) -> Meta:
        with self._folder() as folder:
            try:
                return self._decoded(folder, META)
            except CaptureError:
                # After a power cut the newest may be empty, and the one before is
                # whole.
                for name in (META_SYNCED, META + ".new"):
                    with contextlib.suppress(CaptureError):
                        return self._decoded(folder, name)
                raise

    def _decoded(self, folder: Folder, name: str) -> Meta:
        try:
            return capture_meta.decode(folder.read(name, capture_meta.MOST_BYTES))
        except OSError as error:
            why = (
                error.strerror
                if isinstance(error, FileNotFoundError)
                else f"{name} {error.strerror}"
            )
            raise CaptureError(
                f"{self.path} is no capture of pagedbg: {why}."
            ) from None
        except capture_meta.MetaError as error:
            raise CaptureError(f"{self.path} {error}.") from None

    @property
    def clock(self) -> str:
        """What the times of the events are."""
        return "local" if self.page_owner else "monotonic"

    @property
    def recording(self) -> bool:
        """
        Whether its recorder is at work (or was killed at it: see :attr:`abandoned`).
        """
        return self.meta.ended is None

    @property
    def abandoned(self) -> bool:
        """
        Whether the recorder ended without a word: what it had not drained yet is not
        here.
        """
        if not self.recording:
            return False
        with contextlib.suppress(OSError):
            return (
                self.meta.kernel.boot_id != boot_id()
                or process_start(self.meta.recorder.pid) != self.meta.recorder.started
            )
        return True

    @property
    def at_work(self) -> bool:
        """Whether its recorder is there, and may write more."""
        return self.recording and not self.abandoned

    @property
    def losses(self) -> list[Loss]:
        """
        What should be here and is not: by its own account, and by what is really in its
        files.
        """
        return losses_of(self.meta, self.contents, abandoned=self.abandoned)

    def reload(self) -> None:
        """Forget what was read: the recorder has written more."""
        self.meta = self._read_meta()
        self.forget()

    def ended_at(self) -> int | None:
        """
        When the capture ended, in nanoseconds of :attr:`clock`; None if it has not.
        """
        ended = self.meta.ended
        if ended is None:
            return None
        if not self.page_owner:
            return ended.mono_ns
        if ended.local_ns:
            return ended.local_ns
        return self.clock_of(len(self.summaries())).latest(ended.mono_ns)

    @contextlib.contextmanager
    def reading(self, name: str) -> Iterator[Folder]:
        with self._folder() as folder:
            try:
                yield folder
            except OSError as error:
                raise CaptureError(f"{self.path / name}: {error.strerror}.") from None
            except SealError as error:
                raise CaptureError(
                    f"{self.path / name} is damaged ({error}): without that file the"
                    " others can be read."
                ) from None

    @contextlib.contextmanager
    def _opened(self, name: str) -> Iterator[int]:
        with self.reading(name) as folder, folder.opened(name) as descriptor:
            yield descriptor

    # ---- names ----

    def stack(self, handle: int) -> list[str] | None:
        """
        The stack of a handle, innermost frame first; None if it was not saved.

        :raises CaptureError: if the file of stacks is larger than it can be
        """
        if handle not in self._stack_file:
            self._find_stacks()
        if handle not in self._stack_file:
            return None
        with self._opened(STACKS) as descriptor:
            return self._stack_file.stack(descriptor, handle)

    def stacks(self) -> Iterator[tuple[int, list[str]]]:
        """Iterate over the stacks that were saved, by handle."""
        self._find_stacks()
        for handle in self._stack_file:
            yield handle, self.stack(handle) or []

    def _find_stacks(self) -> None:
        with self._opened(STACKS) as descriptor:
            try:
                self._stack_file.look(descriptor)
            except ValueError as error:
                raise CaptureError(
                    f"{self.path / STACKS} has {error} bytes, which is more than it can"
                    " need: --no-stack does without."
                ) from None

    @property
    def special_handles(self) -> dict[int, str]:
        """``dummy``, ``failure`` and ``early`` by handle."""
        return self.meta.names.special_handles

    @functools.cached_property
    def gfp_names(self) -> tuple[tuple[int, str], ...]:
        """Bits of gfp masks and their names, in the kernel's order."""
        return tuple(self.meta.names.gfp)

    @property
    def page_size(self) -> int:
        """Bytes in a page."""
        return self.meta.kernel.page_size

    def pages(self, record: np.dtype[Any]) -> NDArray[Any] | None:
        """
        The records of captured pages as they were when the capture was saved
        (``pages.npy``); None if they were not.

        :param record: what an element has to be
        :raises CaptureError: if the file is damaged
        """
        with self._folder() as folder:
            try:
                descriptor = folder.open(PAGES)
            except FileNotFoundError:
                return None
            except OSError as error:
                raise CaptureError(f"{self.path / PAGES} {error.strerror}.") from None
        with open(descriptor, "rb") as file:
            count = records_in(file, record)
            if count is None:
                raise CaptureError(f"{self.path / PAGES} is damaged")
            return np.fromfile(file, record, count)

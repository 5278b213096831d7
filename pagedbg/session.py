# SPDX-License-Identifier: GPL-2.0-or-later
"""One investigation: the target that is looked at, and how answers are shown."""

from __future__ import annotations

import dataclasses
import functools
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pagedbg.errors import PagedbgError

if TYPE_CHECKING:
    import duckdb
    from drgn import Program

    from pagedbg.capture.directory import Capture
    from pagedbg.capture.recording.recording import Recording
    from pagedbg.capture.recovery.recovered_rings import RecoveredRecorder
    from pagedbg.schema.event_filter import EventFilter
    from pagedbg.target.target import Target

_CONFIG_KEY = "pagedbg.session"

FORMATS = ("text", "json", "jsonl", "csv", "tsv")


def _everything() -> EventFilter:
    # Imports NumPy, for which --help does not wait.
    from pagedbg.schema.event_filter import EVERYTHING

    return EVERYTHING


@dataclasses.dataclass
class Session:
    """
    The state behind a prompt.

    ``format`` is one of :data:`FORMATS`; ``pager`` says whether long text may go
    through ``$PAGER``. ``filter`` is what is to be recorded; ``recording`` the recorder
    that this session has started last, and ``capture`` what it writes, or what was
    opened; ``recovered`` is what was found in the rings of a dump.
    """

    target: Target
    format: str = "text"
    pager: bool = True
    filter: EventFilter = dataclasses.field(default_factory=_everything)
    recording: Recording | None = None
    capture: Capture | None = None
    recovered: Capture | None = None
    _directory: tempfile.TemporaryDirectory[str] | None = None
    _spilled: tempfile.TemporaryDirectory[str] | None = None

    @property
    def prog(self) -> Program:
        """The drgn program of the target."""
        return self.target.prog

    @functools.cached_property
    def db(self) -> duckdb.DuckDBPyConnection:
        """
        The database of this session, in memory, opened when a command first needs it.
        What is too large for its share of the memory it puts into a directory of our
        own: by default that would be ``.tmp`` in whatever directory we are in.
        """
        import duckdb

        from pagedbg.capture.scratch import scratch

        try:
            self._spilled = scratch()
        except OSError:
            # Then nothing is put on disk.
            self._spilled = None
        # We may run on a machine that has lost its memory: a thread's buffers each cost
        # some. And nothing is loaded out of a home directory.
        without = {
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
        return duckdb.connect(
            config={
                "threads": 1,
                "memory_limit": "512MB",
                "temp_directory": "" if self._spilled is None else self._spilled.name,
                **without,
            }
        )

    @functools.cached_property
    def recorders(self) -> tuple[list[RecoveredRecorder], list[str]]:
        """
        What was recording in the dump, and sentences on what cannot be used of it.
        """
        from pagedbg.capture.recovery.recover import find_recorders

        return find_recorders(self.target) if self.target.dump is not None else ([], [])

    def recover(self, recorder: RecoveredRecorder) -> None:
        """Open what is in a recorder's rings as the capture."""
        from pagedbg.capture.directory import Capture
        from pagedbg.capture.recovery.recover import recover
        from pagedbg.capture.scratch import scratch

        try:
            directory = scratch()
            recover(self.target, recorder, self.recorders[1], Path(directory.name))
        except OSError as error:
            raise PagedbgError(
                f"what was recorded cannot be written to {tempfile.gettempdir()}:"
                f" {error.strerror}. Set TMPDIR to a directory with room."
            ) from None
        self.capture = self.recovered = Capture(directory.name)
        if self._directory is not None:
            self._directory.cleanup()
        self._directory = directory

    def refresh_capture(self) -> Capture | None:
        """
        The capture, with all that was recorded up to now; of a dump with one recorder
        in it, what that has left.
        """
        if self.capture is None and len(self.recorders[0]) == 1:
            self.recover(self.recorders[0][0])
        if self.capture is not None and self.capture.recording:
            if (
                self.recording is not None
                and self.recording.directory == self.capture.path
            ):
                self.recording.flush()
            self.capture.reload()
        return self.capture

    def close(self) -> None:
        """End what runs on behalf of this session."""
        if self.recording is not None and self.recording.running:
            self.recording.stop()
        if "db" in self.__dict__:
            self.db.close()
        for directory in (self._directory, self._spilled):
            if directory is not None:
                directory.cleanup()

    def keep(self) -> None:
        """Store this session in its program, where :meth:`of` finds it again."""
        self.prog.config[_CONFIG_KEY] = self

    @staticmethod
    def of(prog: Program) -> Session:
        """
        Return the session of a program, made on first use: drgn's own prompt opens a
        program without us.
        """
        session = prog.config.get(_CONFIG_KEY)
        if session is None:
            from pagedbg.target.target import Target

            session = Session(Target.of(prog))
            session.keep()
        assert isinstance(session, Session)
        return session

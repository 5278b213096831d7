# SPDX-License-Identifier: GPL-2.0-or-later
"""One investigation: the target that is looked at, and how answers are shown."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import TYPE_CHECKING

from pagedbg.errors import PagedbgError
from pagedbg.schema.settings import Settings

if TYPE_CHECKING:
    import tempfile
    from collections.abc import Callable, Sequence

    import duckdb
    from drgn import Program

    from pagedbg.capture.directory import Capture
    from pagedbg.capture.recording.recording import Recording
    from pagedbg.capture.recovery.recovered_rings import RecoveredRecorder
    from pagedbg.capture.snapshot_directory import Snapshot
    from pagedbg.schema.event_filter import EventFilter
    from pagedbg.target.target import Target

_CONFIG_KEY = "pagedbg.session"


def _everything() -> EventFilter:
    # Imports NumPy, for which --help does not wait.
    from pagedbg.schema.event_filter import EVERYTHING

    return EVERYTHING


@dataclasses.dataclass
class Session:
    """
    The state behind a prompt.

    ``settings`` and ``aliases``, words for commands, are the user's; ``config`` is the
    file that they and saved queries come from, None his own, the empty one none;
    ``typed`` gives what was typed at the prompt, this session's and former ones'.
    ``filter`` is what is to be recorded; ``recording`` the recorder that this session
    has started last, and ``capture`` what it writes, or what was opened; ``recovered``
    is what was found in the rings of a dump. ``snapshot`` is what answers where there
    is no kernel.
    """

    target: Target
    settings: Settings = dataclasses.field(default_factory=Settings)
    aliases: dict[str, str] = dataclasses.field(default_factory=dict)
    config: str | None = None
    typed: Callable[[], Sequence[str]] = tuple
    filter: EventFilter = dataclasses.field(default_factory=_everything)
    recording: Recording | None = None
    capture: Capture | None = None
    recovered: Capture | None = None
    snapshot: Snapshot | None = None
    _directory: tempfile.TemporaryDirectory[str] | None = None
    _spilled: tempfile.TemporaryDirectory[str] | None = None

    @property
    def prog(self) -> Program:
        """The drgn program of the target."""
        return self.target.prog

    @property
    def subject(self) -> str:
        """What is looked at, in a few words; it is not printable as it is."""
        if self.target.has_kernel:
            return self.target.name
        kept = self.snapshot or self.capture
        if kept is None:
            return self.target.name
        return f"{kept.path.name} ({kept.meta.kernel.release})"

    @functools.cached_property
    def db(self) -> duckdb.DuckDBPyConnection:
        """
        The database of this session, in memory, opened when a command first needs it.
        What is too large for its share of the memory it puts into a directory of our
        own: by default that would be ``.tmp`` in whatever directory we are in.
        """
        from pagedbg.capture.database import open_database
        from pagedbg.capture.scratch import scratch

        try:
            self._spilled = scratch()
        except OSError:
            # Then nothing is put on disk.
            self._spilled = None
        return open_database("" if self._spilled is None else self._spilled.name)

    @functools.cached_property
    def recorders(self) -> tuple[list[RecoveredRecorder], list[str]]:
        """
        What was recording in the dump, or in a guest that waits, and sentences on what
        cannot be used of it.
        """
        from pagedbg.capture.recovery.recover import find_recorders

        # The rings of a kernel that runs are written to while they are read.
        if self.target.changes or not self.target.elsewhere:
            return [], []
        return find_recorders(self.target)

    def recover(self, recorder: RecoveredRecorder) -> None:
        """Open what is in a recorder's rings as the capture."""
        from pagedbg.capture.directory import Capture
        from pagedbg.capture.recovery.recover import recover

        def write(directory: Path) -> Capture:
            recover(self.target, recorder, self.recorders[1], directory)
            return Capture(directory)

        self._open_recovered(write)

    def _join(self, drained: Capture) -> None:
        from pagedbg.capture.recovery.joining import join, recorder_of

        recorder = recorder_of(drained, self.target, self.recorders[0])
        if recorder is not None:
            self.recover(recorder)
            assert self.recovered is not None
            recovered = self.recovered
            self._open_recovered(lambda directory: join(drained, recovered, directory))

    def _open_recovered(self, write: Callable[[Path], Capture]) -> None:
        """Have a capture written into a directory that goes with us, and open it."""
        from pagedbg.capture.scratch import scratch

        try:
            directory = scratch()
            found = write(Path(directory.name))
        except OSError as error:
            import tempfile

            raise PagedbgError(
                f"what was recorded cannot be written to {tempfile.gettempdir()}:"
                f" {error.strerror}. Set TMPDIR to a directory with room."
            ) from None
        self.capture = self.recovered = found
        if self._directory is not None:
            self._directory.cleanup()
        self._directory = directory

    def refresh_capture(self) -> Capture | None:
        """
        The capture, with all that was recorded up to now; of a dump with one recorder
        in it, what that has left. What a recorder had written that died with the
        machine is joined with what it has left in the dump.
        """
        if self.capture is None and len(self.recorders[0]) == 1:
            self.recover(self.recorders[0][0])
        if self.capture is not None and self.capture.recording:
            if self.target.elsewhere and not self.capture.at_work:
                self._join(self.capture)
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
        if self.snapshot is not None:
            self.snapshot.close()
        for directory in (self._directory, self._spilled):
            if directory is not None:
                directory.cleanup()
        self.target.close()

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

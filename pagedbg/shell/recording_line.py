# SPDX-License-Identifier: GPL-2.0-or-later
"""What the bottom line of the prompt says of a recording: its rate, and its losses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from pagedbg.capture.files import META
from pagedbg.errors import PagedbgError
from pagedbg.schema import capture_meta
from pagedbg.session import Session

__all__ = ("RecordingLine",)

# How often it is looked at what the recorder has counted, in seconds: it writes that
# down every other one.
_EVERY = 1.0


class RecordingLine:
    """
    Reads what the recorder counts out of the capture, while the prompt waits for a
    line: the recorder itself is not asked, and may be busy.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._directory: Path | None = None
        self._written = self._recorded = 0
        self._said = ""

    def __call__(self) -> str:
        """What there is to say, nothing where nothing is recorded."""
        recording = self._session.recording
        return (
            ""
            if recording is None or not recording.running
            else f" · recording{self._said}"
        )

    async def watch(self, redraw: Callable[[], None]) -> None:
        """Look again and again, and call something when there is more to say."""
        while True:
            before = self._said
            self._look()
            if self._said != before:
                redraw()
            await asyncio.sleep(_EVERY)

    def _look(self) -> None:
        recording = self._session.recording
        directory = None if recording is None else recording.directory
        if directory is None or directory != self._directory:
            self._directory, self._written, self._said = directory, 0, ""
        if directory is None:
            return
        try:
            written = (directory / META).stat().st_mtime_ns
            if written == self._written:
                return
            counts = capture_meta.decode((directory / META).read_bytes()).counts
        except (OSError, PagedbgError):
            # Whoever asks for its status is told why.
            return
        lost = counts.lost + counts.missed + counts.dropped + counts.forgotten
        if self._written:
            rate = max(counts.recorded - self._recorded, 0) * 10**9
            events = f" {rate // max(written - self._written, 1):,}/s"
            self._said = f"{events}, {lost:,} lost" if lost else events
        elif lost:
            self._said = f", {lost:,} lost"
        self._written, self._recorded = written, counts.recorded

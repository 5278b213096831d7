# SPDX-License-Identifier: GPL-2.0-or-later
"""
Sealing full segments of a capture: at any moment, whoever ends this or the machine, the
capture reads the same.

The sealed file is written under another name, brought to the disk, and renamed; then
the raw one goes. Readers take the sealed one where both are there.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from pagedbg.capture.events import Contents, read_events
from pagedbg.capture.files import Folder
from pagedbg.capture.sealed import MOST, SealedReader, SealedWriter, SealError
from pagedbg.capture.segments import raw_name, sealed_name
from pagedbg.schema.event_record import joined


def seal_segments(directory: Path, numbers: Iterable[int]) -> None:
    """Seal segments of a capture, in their order; those that cannot be stay raw."""
    sealer = None
    for number in numbers:
        with contextlib.suppress(OSError, SealError, MemoryError):
            sealer = sealer or Sealer(directory)
            sealer.seal(number)


class Sealer:
    """Seals segments of one capture, which have to come in their order."""

    def __init__(self, directory: Path) -> None:
        """:raises OSError: if it cannot be opened"""
        self._folder = Folder(directory)
        self._contents = Contents()
        self._reader, self._writer = SealedReader(), SealedWriter()

    def seal(self, number: int) -> None:
        """
        Seal a segment that nobody writes into any more.

        :raises OSError: if it cannot be read, or not be written: it stays as it is
        :raises SealError: likewise
        """
        folder, new = self._folder, f"{sealed_name(number)}.new"
        damaged, repeated = self._contents.damaged, self._contents.repeated
        with folder.opened(raw_name(number)) as raw:
            kept = list(read_events(raw, 0, self._contents, whole=True))
        records = joined(kept)
        if not 0 < len(records) <= MOST:
            return
        folder.remove(new)
        try:
            with folder.opened(new, os.O_RDWR | os.O_CREAT | os.O_EXCL) as sealed:
                summary = self._writer.write(
                    sealed,
                    records,
                    self._contents.damaged - damaged,
                    self._contents.repeated - repeated,
                )
                # Before the only other copy is gone.
                if self._reader.summary(sealed) != summary:
                    raise SealError(f"{len(records)} events were written otherwise")
                os.fsync(sealed)
        except BaseException:
            with contextlib.suppress(OSError):
                folder.remove(new)
            raise
        folder.rename(new, sealed_name(number))
        folder.sync()
        if not folder.remove(raw_name(number)):
            # The recorder was told to forget what is in it.
            folder.remove(sealed_name(number))

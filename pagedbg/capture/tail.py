# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading what a recorder goes on writing."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pagedbg.capture.events import Contents
from pagedbg.capture.files import Folder
from pagedbg.capture.segments import Segments, segments_in
from pagedbg.schema.event_record import RECORD


class Tail:
    """
    The events that are written after a survey. What is sealed before it was read is
    read from the sealed segment: by its numbers it is known what is new.
    """

    def __init__(self, segments: Segments) -> None:
        self._segments = segments
        self._contents = Contents(version=segments.contents.version)
        self._contents.last[:] = segments.contents.last
        self._number, self._at = (
            (segments.pieces[-1].number, segments.pieces[-1].end)
            if segments.pieces
            else (0, 0)
        )

    def read(self, folder: Folder, *, whole: bool) -> NDArray[Any]:
        """
        Read the events that were written since, by CPU in the order of their numbers.

        :param whole: whether nothing is written any more
        """
        found = [np.zeros(0, RECORD)]
        for number, sealed in segments_in(folder).items():
            if number < self._number:
                continue
            at = self._at if number == self._number else 0
            records, self._at = self._segments.read_from(
                folder, number, at, self._contents, sealed=sealed, whole=whole
            )
            self._number = number
            found += records
        return np.concatenate(found)

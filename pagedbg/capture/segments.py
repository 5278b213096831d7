# SPDX-License-Identifier: GPL-2.0-or-later
"""
The files that the events of a capture are in: segments, one behind the other, each raw
(``.bin``) or sealed (``.parquet``).

The recorder appends to the last raw one and begins another when it is full; what is
full is sealed into a file of its own, which is there whole or not at all, and only then
the raw one goes. Where both are there they say the same, and the sealed one counts.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pagedbg.capture.event_clock import Samples, both_clocks
from pagedbg.capture.event_members import Members
from pagedbg.capture.events import Contents, read_events
from pagedbg.capture.files import Folder
from pagedbg.capture.held_reader import HeldFiles, open_held
from pagedbg.capture.sealed import SealedReader, SealError
from pagedbg.capture.summary import Summary, summary_of
from pagedbg.schema.event_record import RECORD, joined, taken

FULL = 1 << 18
"""Records in a raw segment when the next one begins."""

FULL_HELD = 1 << 16
"""The same where only what is held is kept: these are there for a while, raw."""

# What is read at once of a raw one: all of it, of a recorder's, which may be sealed
# before it is read again.
_AT_ONCE = 2 * FULL * RECORD.itemsize

# Sealed ones that are asked together: so many files may be open.
_ASKED = 64

_NAME = re.compile(r"events(?:-([1-9][0-9]{0,8}))?\.(bin|parquet)")


def raw_name(number: int) -> str:
    """The file of a raw segment."""
    return f"{_stem(number)}.bin"


def sealed_name(number: int) -> str:
    """The file of a sealed segment."""
    return f"{_stem(number)}.parquet"


def _stem(number: int) -> str:
    return f"events-{number}" if number else "events"


def is_segment(name: str) -> bool:
    """Whether a file is a segment."""
    return _NAME.fullmatch(name) is not None


def segments_in(folder: Folder) -> dict[int, bool]:
    """The segments in a directory by number, in order, and whether each is sealed."""
    found = _listed(folder)
    # One that is just being sealed may be listed under neither of its names.
    while (again := _listed(folder)).keys() != found.keys():
        found = again
    return again


def _listed(folder: Folder) -> dict[int, bool]:
    found: dict[int, bool] = {}
    for name in folder.names():
        if match := _NAME.fullmatch(name):
            number, sealed = int(match[1] or 0), match[2] == "parquet"
            found[number] = found.get(number, False) or sealed
    return dict(sorted(found.items()))


@dataclasses.dataclass
class Piece:
    """
    Part of the events that is looked at as a whole: ``summary`` says what is in it. It
    is a sealed segment, or ``begin`` to ``end`` of the bytes of a raw one; or it has
    some of the events that were kept of segments that are no more.

    ``after`` are the numbers of the last records before it, by CPU, where some of it is
    repeated.
    """

    number: int
    summary: Summary
    sealed: bool = False
    kept: bool = False
    begin: int = 0
    end: int = 0
    after: NDArray[np.uint64] | None = None

    @property
    def name(self) -> str:
        """The file that it is in, or was."""
        return sealed_name(self.number) if self.sealed else raw_name(self.number)


class Segments:
    """
    The events of a capture, as :meth:`survey` found them: ``pieces``, ``contents`` of
    all of them, and in ``size`` the bytes of the files. ``held`` is what there is of a
    recorder that keeps only what is held.
    """

    def __init__(self, sealed: SealedReader | None = None) -> None:
        self.pieces: list[Piece] = []
        self.contents = Contents()
        self.size = 0
        self.held: HeldFiles | None = None
        self._sealed = sealed or SealedReader()
        # A sealed file does not change.
        self._known: dict[int, Summary] = {}

    def survey(self, folder: Folder, contents: Contents, *, whole: bool) -> None:
        """
        Find out what there is; sealed pieces say it themselves.

        :param contents: counts what is found
        :param whole: whether nothing is written any more
        :raises OSError: if there is no file of events, or one that cannot be read
        """
        self.pieces, self.contents, self.size = [], contents, 0
        self.held = open_held(
            folder, lambda: {number: raw_name(number) for number in segments_in(folder)}
        )
        if self.held is not None:
            self._survey_held(self.held)
            segments = dict.fromkeys(self.held.raw, False)
        else:
            segments = segments_in(folder) or {0: False}
        self._ask(folder, [number for number, sealed in segments.items() if sealed])
        for number, sealed in segments.items():
            if not sealed:
                try:
                    self._survey_raw(folder, number, whole or number != max(segments))
                    continue
                except FileNotFoundError:
                    # It was sealed meanwhile, or there is none.
                    if not segments_in(folder).get(number):
                        raise
            self._survey_sealed(folder, number)

    def _survey_held(self, held: HeldFiles) -> None:
        self.contents.add_summary(held.head.summary, None)
        self.size += held.size
        self.pieces += [
            Piece(number, summary, kept=True)
            for number, summary in enumerate(held.summaries())
        ]

    @contextlib.contextmanager
    def _opened(self, folder: Folder, name: str) -> Iterator[int]:
        """A file, which may have been removed since the survey."""
        there = None if self.held is None else self.held.descriptor(name)
        if there is not None:
            yield there
        else:
            with folder.opened(name) as descriptor:
                yield descriptor

    def _survey_raw(self, folder: Folder, number: int, whole: bool) -> None:
        contents = self.contents
        with self._opened(folder, raw_name(number)) as descriptor:
            end = os.fstat(descriptor).st_size
            at = 0
            while at < end:
                stop = min(end, at + _AT_ONCE)
                damaged, repeated = contents.damaged, contents.repeated
                before = contents.last.copy()
                kept = list(
                    read_events(
                        descriptor, at, contents, whole=whole and stop == end, end=stop
                    )
                )
                summary = summary_of(
                    joined(kept),
                    contents.damaged - damaged,
                    contents.repeated - repeated,
                )
                # Of a file that is mostly a hole there would be very many.
                if summary.records:
                    after = before if summary.repeated else None
                    self.pieces.append(
                        Piece(number, summary, begin=at, end=stop, after=after)
                    )
                at = stop
            self.size += end

    def _ask(self, folder: Folder, sealed: Sequence[int]) -> None:
        """Have sealed segments say what they sum up to, many at a time."""
        asked = [number for number in sealed if number not in self._known]
        for start in range(0, len(asked), _ASKED):
            numbers = asked[start : start + _ASKED]
            # What is wrong with one shows when it is asked alone.
            with (
                contextlib.suppress(OSError, SealError),
                contextlib.ExitStack() as opened,
            ):
                descriptors = [
                    opened.enter_context(folder.opened(sealed_name(number)))
                    for number in numbers
                ]
                summaries = self._sealed.summaries(descriptors)
                self._known.update(zip(numbers, summaries, strict=True))

    def _survey_sealed(self, folder: Folder, number: int) -> None:
        contents = self.contents
        with folder.opened(sealed_name(number)) as descriptor:
            self.size += os.fstat(descriptor).st_size
            try:
                summary = self._known.get(number) or self._sealed.summary(descriptor)
                self._known[number] = summary
                if contents.follows(summary):
                    contents.add_summary(
                        summary,
                        lambda: self._sealed.records(
                            descriptor, members=("cpu", "seq")
                        ),
                    )
                    self.pieces.append(Piece(number, summary, sealed=True))
                else:
                    contents.repeated += summary.records
            except SealError:
                # How many records it had the recorder knows: they are gone.
                pass

    def read(
        self,
        folder: Folder,
        piece: Piece,
        kinds: Collection[int] = (),
        members: Collection[str] = (),
    ) -> NDArray[Any]:
        """
        Read the sound records of a piece, by CPU, and of a CPU in the order of their
        numbers.

        :param kinds: which events, all for none
        :param members: which members of them are needed, all for none
        :raises OSError: if it cannot be read
        :raises SealError: if it is damaged
        """
        if kinds and not any(piece.summary.kinds[kind] for kind in kinds):
            return np.zeros(0, RECORD)
        if piece.kept and self.held is not None:
            return in_sequence(
                self._sealed.records(
                    self.held.piece(piece.number), kinds, _with_keys(members)
                )
            )
        if not piece.sealed:
            # Else it was sealed since.
            with contextlib.suppress(FileNotFoundError):
                return in_sequence(self._read_raw(folder, piece, kinds))
        with folder.opened(sealed_name(piece.number)) as descriptor:
            found = self._sealed.records(descriptor, kinds, _with_keys(members))
        return in_sequence(found if piece.sealed else _surveyed(found, piece.summary))

    def members(
        self, folder: Folder, piece: Piece, members: Collection[str]
    ) -> Members:
        """
        Members of the sound records of a piece, in any order: what :meth:`read` reads
        takes longer.
        """
        if piece.sealed:
            with folder.opened(piece.name) as descriptor:
                return self._sealed.members(descriptor, (), members)
        return Members.of(self.read(folder, piece, (), members), members)

    def clocks(self, folder: Folder, piece: Piece) -> Samples:
        """
        What the events of a piece say that tell both clocks.

        :raises OSError: if it cannot be read
        :raises SealError: if it is damaged
        """
        if not piece.summary.both:
            return both_clocks(np.zeros(0, RECORD))
        if not piece.sealed:
            with contextlib.suppress(FileNotFoundError):
                return both_clocks(self._read_raw(folder, piece, ()))
        with folder.opened(sealed_name(piece.number)) as descriptor:
            return both_clocks(
                self._sealed.records(
                    descriptor,
                    members=("time_nsec", "mono_nsec"),
                    where="time_nsec > 0 AND mono_nsec > 0",
                )
            )

    def read_from(
        self,
        folder: Folder,
        number: int,
        at: int,
        contents: Contents,
        *,
        sealed: bool,
        whole: bool,
    ) -> tuple[list[NDArray[Any]], int]:
        """
        Read the records of a segment that ``contents`` does not count yet.

        :param at: the place in a raw segment to begin at
        :return: the records, and the place behind them
        """
        if not sealed:
            with (
                contextlib.suppress(FileNotFoundError),
                folder.opened(raw_name(number)) as descriptor,
            ):
                kept = list(read_events(descriptor, at, contents, whole=whole))
                return kept, at + contents.bytes
        with folder.opened(sealed_name(number)) as descriptor:
            found = in_sequence(self._sealed.records(descriptor))
        return [contents.add(found)], 0

    def _read_raw(
        self, folder: Folder, piece: Piece, kinds: Collection[int]
    ) -> NDArray[Any]:
        contents = Contents(version=self.contents.version)
        if piece.after is not None:
            contents.last[:] = piece.after
        with self._opened(folder, raw_name(piece.number)) as descriptor:
            kept = [
                taken(records, np.isin(records["event"], list(kinds)))
                if kinds
                else records
                for records in read_events(
                    descriptor, piece.begin, contents, whole=False, end=piece.end
                )
            ]
        return joined(kept)


def _with_keys(members: Collection[str]) -> Collection[str]:
    """Members to be read, with those that put records in sequence."""
    return {*members, "event", "seq", "cpu"} if members else ()


def _surveyed(records: NDArray[Any], summary: Summary) -> NDArray[Any]:
    """Those that were there when a segment was surveyed, which has grown since."""
    last = np.zeros(1 << 16, np.uint64)
    for span in summary.cpus:
        last[span.cpu] = span.last
    return taken(records, records["seq"] <= last[records["cpu"]])


def in_sequence(records: NDArray[Any]) -> NDArray[Any]:
    """Records by CPU, and of a CPU in the order of their numbers."""
    return taken(records, np.lexsort((records["seq"], records["cpu"])))

# SPDX-License-Identifier: GPL-2.0-or-later
"""
Reading the events of a capture, a piece of them at a time: what they take in memory
does not grow with their number.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pagedbg.capture.event_clock import ENOUGH, EventClock, Samples, both_clocks
from pagedbg.capture.event_members import Members
from pagedbg.capture.event_order import PLACED_BY, EventOrder, in_places
from pagedbg.capture.events import Contents
from pagedbg.capture.files import EVENTS, CaptureError, Folder
from pagedbg.capture.held_file import HEAD, Kept, latest_of
from pagedbg.capture.held_reader import HeldFiles
from pagedbg.capture.memory_room import lacking_room
from pagedbg.capture.read_ahead import read_ahead
from pagedbg.capture.segments import Piece, Segments, in_sequence
from pagedbg.capture.summary import Summary
from pagedbg.capture.tail import Tail
from pagedbg.progress import measured
from pagedbg.schema.capture_meta import Meta
from pagedbg.schema.event_record import RECORD

_Found = TypeVar("_Found")


class EventReader:
    """
    The events of a capture, whose ``path`` and ``meta`` who inherits from it knows, and
    how its files are read.
    """

    path: Path
    meta: Meta

    def __init__(self) -> None:
        self._segments, self._looked = Segments(), False
        self._events: NDArray[Any] | None = None

    @property
    def page_owner(self) -> bool:
        """
        Whether events carry page_owner's records; else they come from tracepoints.
        """
        return self.meta.kernel.page_owner

    @property
    def at_work(self) -> bool:
        """Whether a recorder may write more."""
        raise NotImplementedError

    def reading(self, name: str) -> contextlib.AbstractContextManager[Folder]:
        """
        The directory, while a file in it is read.

        :raises CaptureError: if that cannot be read
        """
        raise NotImplementedError

    def forget(self) -> None:
        """Forget what was read."""
        self._looked = False
        self._events = None

    @property
    def contents(self) -> Contents:
        """What there is of events, by CPU, and what is wrong with it."""
        return self._surveyed.contents

    @property
    def size(self) -> int:
        """How many bytes the events take."""
        return self._surveyed.size

    @property
    def summary(self) -> Summary:
        """What all events sum up to, those that were forgotten since, too."""
        return sum(
            (piece.summary for piece in self._surveyed.pieces if not piece.kept),
            Summary() if self.held is None else self.held.head.summary,
        )

    @property
    def kept_pieces(self) -> int:
        """
        How many of the :meth:`pieces`, from the first on, have what was kept of others.
        """
        return sum(piece.kept for piece in self._surveyed.pieces)

    def kept(self) -> Kept:
        """The events of these, with what goes on from there."""
        if self.held is None:
            return Kept()
        with self.reading(HEAD):
            return self.held.kept()

    def freed(self) -> dict[str, NDArray[Any]]:
        """
        The sums of what was freed, as columns of :mod:`pagedbg.capture.freed_sums`, of
        a capture with :attr:`held`.
        """
        assert self.held is not None
        with self.reading(HEAD):
            return self.held.freed()

    @property
    def held(self) -> HeldFiles | None:
        """What there is of a recorder that keeps only what is held."""
        return self._surveyed.held

    @property
    def _surveyed(self) -> Segments:
        if not self._looked:
            # Of a recorder that is at work nobody knows yet what it will say of the
            # newest.
            live = self.at_work
            contents = Contents(version=self.meta.rings) if live else self._accounted()
            with self.reading(EVENTS) as folder:
                self._segments.survey(folder, contents, whole=not live)
            self._looked = True
        return self._segments

    def pieces(
        self,
        kinds: Collection[int] = (),
        members: Collection[str] = (),
        first: int = 0,
    ) -> Iterator[NDArray[Any]]:
        """
        Iterate over the events, a piece at a time, by CPU, and of a CPU in the order of
        their numbers. One piece is read ahead.

        :param kinds: which events, all for none
        :param members: which members of them are needed, all for none
        :param first: the piece to begin with
        """

        return self._read(
            lambda folder, piece: self._segments.read(folder, piece, kinds, members),
            first,
        )

    def members(self, members: Collection[str], first: int = 0) -> Iterator[Members]:
        """
        Iterate over members of the events, a piece at a time, in any order.

        :param first: the piece to begin with
        """
        return self._read(
            lambda folder, piece: self._segments.members(folder, piece, members), first
        )

    def _read(
        self, read: Callable[[Folder, Piece], _Found], first: int
    ) -> Iterator[_Found]:
        def read_piece(piece: Piece) -> _Found:
            with self.reading(piece.name) as folder:
                return read(folder, piece)

        pieces = self._surveyed.pieces[first:]
        total = sum(piece.summary.records for piece in pieces)
        with measured("reading events", total, "events") as advance:
            for piece, found in zip(
                pieces, read_ahead(read_piece, pieces), strict=True
            ):
                yield found
                advance(piece.summary.records)

    def summaries(self) -> list[Summary]:
        """What each of the :meth:`pieces` sums up to."""
        return [piece.summary for piece in self._surveyed.pieces]

    def order(self, first: int = 0) -> EventOrder:
        """
        What puts the events in their order.

        :param first: the piece that is begun with
        """
        latest = None
        if self.held is not None and first >= self.kept_pieces:
            latest = latest_of(self.held.head)
        clock = self.clock_of(first) if self.page_owner else None
        return EventOrder(clock, latest)

    def clock_of(self, first: int = 0) -> EventClock:
        """
        What tells the time of events that only have CLOCK_MONOTONIC.

        :param first: the piece that is begun with
        """
        # Of a time those around it are compared.
        before = first
        while (
            before
            and sum(each.both for each in self.summaries()[before:first]) < ENOUGH
        ):
            before -= 1
        return EventClock(self.clock_samples(before), self.meta.begun)

    def clock_samples(self, first: int) -> Iterator[Samples]:
        """Iterate over what events tell both clocks, from a piece on."""

        def read(piece: Piece) -> Samples:
            with self.reading(piece.name) as folder:
                return self._segments.clocks(folder, piece)

        if self.held is not None:
            yield self.held.head.clocks
        pieces = self._surveyed.pieces[max(first, self.kept_pieces) :]
        yield from read_ahead(read, pieces)

    def events_in_order(
        self, members: Collection[str] = (), first: int = 0
    ) -> Iterator[tuple[NDArray[Any], NDArray[np.int64]]]:
        """
        Iterate over the events in the order in which they happened, with the place of
        each; ``time_nsec`` of all of them is in the clock of :attr:`clock` (0: not
        known).

        :param members: which members of them are needed, all for none
        :param first: the piece to begin with
        """
        needed = {*members, *PLACED_BY} if members else ()
        yield from in_places(
            self.order(first),
            self.pieces(members=needed, first=first),
            self.summaries()[first:],
        )

    def latest(
        self, count: int, choose: Callable[[NDArray[Any]], NDArray[np.bool_]]
    ) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """
        The last events that a mask chooses, in their order, and their places. No more
        is read than has to be.
        """
        summaries, read = self.summaries(), 1
        while True:
            first = max(len(summaries) - read, 0)
            order = self.order(first)
            found, at = np.zeros(0, RECORD), np.zeros(0, np.int64)
            for records, places in in_places(
                order, self.pieces(first=first), summaries[first:]
            ):
                mask = choose(records)
                found = np.concatenate((found, records[mask]))[-count:]
                at = np.concatenate((at, places[mask]))[-count:]
            if not first or (
                len(found) == count and at[0] > order.last_place(summaries[:first])
            ):
                return found, at
            read *= 4

    def last_time(self) -> int:
        """The greatest time that an event tells, in the clock of the events."""
        _, places = self.latest(1, lambda records: np.ones(len(records), np.bool_))
        return max(self.summary.latest, int(places.max(initial=0)))

    def events(self) -> NDArray[Any]:
        """
        All events at once, in the order of :meth:`events_in_order`.

        :raises CaptureError: if there is no memory for them
        """
        if self._events is None:
            if lacking := lacking_room(self.summary.records * RECORD.itemsize):
                raise CaptureError(f"all events of {self.path} {lacking}")
            parts = [records for records, _ in self.events_in_order()]
            self._events = np.concatenate([np.zeros(0, RECORD), *parts])
        return self._events

    def counted(self, take: Callable[[int, Summary], None]) -> Iterator[NDArray[Any]]:
        """
        Iterate over the events that are whole segments, or will be; of one that is
        being recorded, those that :attr:`meta` counts.

        :param take: is given the descriptor of each sealed segment instead, and what it
            sums up to, if all of it is counted
        """
        live, contents = self.at_work, self._accounted()
        for piece in self._surveyed.pieces[self.kept_pieces :]:
            with self.reading(piece.name) as folder:
                if piece.sealed and (
                    not live
                    or all(
                        span.last < contents.next[span.cpu]
                        for span in piece.summary.cpus
                    )
                ):
                    with folder.opened(piece.name) as descriptor:
                        take(descriptor, piece.summary)
                    continue
                records = self._segments.read(folder, piece)
            yield (
                records[records["seq"] < contents.next[records["cpu"]]]
                if live
                else records
            )

    def _accounted(self) -> Contents:
        return Contents.of([cpu.next for cpu in self.meta.counts.cpus], self.meta.rings)

    def tail(self) -> Callable[[], NDArray[Any]]:
        """
        What returns the events that were written since it was last asked, by CPU and
        then by number.
        """
        tail = Tail(self._surveyed)

        def read() -> NDArray[Any]:
            with self.reading(EVENTS) as folder:
                return tail.read(folder, whole=not self.at_work)

        return read

    def in_order(self, records: NDArray[Any]) -> NDArray[Any]:
        """
        Events in the order in which they happened, ``time_nsec`` of all of them in the
        clock of :attr:`clock` (0: not known).
        """
        order = EventOrder(self._clock_by(records))
        records = in_sequence(records)
        return records[np.argsort(order.places(records), kind="stable")]

    def times(self, records: NDArray[Any]) -> NDArray[np.int64]:
        """
        When each event happened, in nanoseconds of :attr:`clock`; −1 if that is not
        known.
        """
        return EventOrder(self._clock_by(records)).times(records)

    def _clock_by(self, records: NDArray[Any]) -> EventClock | None:
        if not self.page_owner:
            return None
        return EventClock([both_clocks(records)], self.meta.begun)

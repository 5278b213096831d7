# SPDX-License-Identifier: GPL-2.0-or-later
"""The allocations of a capture that are not known to be over, as its events go by."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pagedbg.analysis.correlation_arrays import block_size, find, first_of
from pagedbg.capture.event_members import Members
from pagedbg.capture.held_file import RELATED, SPECIAL, WAITING, Kept
from pagedbg.schema.event_record import COPY, RECORD, RESET, SET, SPLIT, joined, taken

KINDS = (SET, RESET, COPY, SPLIT)
"""The events that tell what becomes of allocations."""


class Events(NamedTuple):
    """
    An array of :data:`pagedbg.schema.event_record.RECORD`, and where each event is in
    the order of all.
    """

    records: NDArray[Any]
    places: NDArray[np.int64]

    def take(self, which: NDArray[Any]) -> Events:
        """Some of them, by their indices or by a mask."""
        return Events(taken(self.records, which), self.places[which])

    @classmethod
    def join(cls, parts: list[Events]) -> Events:
        """Several together."""
        return cls(
            joined([part.records for part in parts]),
            np.concatenate([np.zeros(0, np.int64), *(part.places for part in parts)]),
        )


Over = Callable[[NDArray[Any], NDArray[Any]], NDArray[np.bool_]]
"""Says which allocations are over, given their sets and what freed them as a whole."""


class OpenAllocations:
    """
    The sets whose allocation is not over, by ``ts_nsec``.

    Events of pieces come in any order. But each piece knows from which time on later
    ones may have sets: what is about these waits for them.
    """

    def __init__(
        self, followed: NDArray[np.uint64], targets: NDArray[np.uint64]
    ) -> None:
        """
        :param followed: times of allocations of which there are more events than a set
            and a reset, sorted
        :param targets: pages whose allocations matter to others, sorted
        """
        self._followed, self._targets = followed, targets
        # What is behind `count` is room for more.
        self._count = 0
        self._times = np.zeros(0, np.uint64)
        self._places = np.zeros(0, np.int64)
        self._records = np.zeros(0, RECORD)
        # Which are known to be no simple case, and which are over.
        self._special, self._over = np.zeros((2, 0), np.bool_)
        self._waiting = Events.join([])

    def follow(self, followed: NDArray[np.uint64], targets: NDArray[np.uint64]) -> None:
        """Have other ``followed`` times and ``targets`` than up to now."""
        self._followed, self._targets = followed, targets
        used = slice(self._count)
        sets = self._records[used]
        self._special[used] |= find(followed, self._times[used]) >= 0
        self._special[used] |= self._on_targets(sets["pfn"], sets["order"])

    def resume(self, sets: Events, special: NDArray[np.bool_], waiting: Events) -> None:
        """Go on from what :meth:`left` and :meth:`waiting` said."""
        by_time = np.argsort(sets.records["ts_nsec"], kind="stable")
        self._append(sets.take(by_time), special[by_time])
        self._waiting = waiting

    def waiting(self) -> Events:
        """What waits for events that come late."""
        return self._waiting

    def special(self) -> NDArray[np.bool_]:
        """Which of those that are :meth:`left` are known to be no simple case."""
        used = slice(self._count)
        return self._special[used][~self._over[used]]

    def end(self, which: NDArray[np.bool_]) -> None:
        """Have some of those that are :meth:`left` be over."""
        left = np.flatnonzero(~self._over[: self._count])
        self._over[left[which]] = True

    def left(self) -> Events:
        """The sets of all that are not over."""
        used = slice(self._count)
        return Events(self._records[used], self._places[used]).take(~self._over[used])

    def step(
        self,
        members: Members,
        places: NDArray[np.int64],
        bound: int,
        over: Over | None,
    ) -> tuple[Events, int]:
        """
        Take events in.

        :param places: where each is in the order of all
        :param bound: later events have no set with a ``ts_nsec`` before this
        :param over: asked about pairs that are made; None if all of them are over
        :return: the events that are not part of a pair, and how many pairs there are
        """
        members = members.behind(self._waiting.records)
        places = np.concatenate((self._waiting.places, places))

        def events(which: NDArray[Any]) -> Events:
            return Events(members.records(which), places[which])

        kind, times = members["event"], members["ts_nsec"]
        is_set, is_reset, early = kind == SET, kind == RESET, times < bound
        self._waiting = events(np.flatnonzero((is_set | is_reset) & ~early))
        others = np.flatnonzero(~is_set & ~is_reset)
        resets = np.flatnonzero(is_reset & early)
        new = np.flatnonzero(is_set & early)
        new = new[np.argsort(times[new], kind="stable")]

        old = self._count
        special = self._special_of(members, new, times[new])
        special = np.concatenate((self._special[:old], special))
        ended = np.concatenate((self._over[:old], np.zeros(len(new), np.bool_)))
        at = self._find(times[new], times[resets])
        # Of what is not known to be open nothing was captured, or it is over.
        known = at >= 0
        # But it may have been moved to a page that others were allocated on.
        strays = resets[~known]
        strays = strays[find(self._followed, times[strays]) >= 0]
        known[known] = ~ended[at[known]]
        resets, at = resets[known], at[known]
        first = first_of(at, places[resets])
        simple = first & ~special[at]
        older = at < old
        for name in ("pfn", "order"):
            begun = np.empty(len(at), RECORD[name])
            begun[older] = self._records[name][at[older]]
            begun[~older] = members[name][new[at[~older] - old]]
            simple &= begun == members[name][resets]
        pair, ending = at[simple], resets[simple]
        if over is not None:
            older = pair < old
            sets = np.empty(len(pair), RECORD)
            sets[older] = taken(self._records, pair[older])
            sets[~older] = members.records(new[pair[~older] - old])
            # What is not over is more than it seems.
            told = over(sets, members.records(ending))
            special[pair[~told]] = True
            simple[simple] = told
            pair = pair[told]
        ended[pair] = True
        special[at[first & ~simple]] = True
        # Of others all that happens to them is kept.
        rest = np.concatenate((others, resets[special[at]], strays))

        self._special[:old], self._over[:old] = special[:old], ended[:old]
        stay = ~ended[old:]
        self._append(events(new[stay]), special[old:][stay])
        return events(rest), len(pair)

    def _find(
        self, new: NDArray[np.uint64], times: NDArray[np.uint64]
    ) -> NDArray[np.intp]:
        """
        Where allocations of some times are among those that are open, with new ones
        behind them; −1 if they are not there.
        """
        # Most do not last long.
        at = find(new, times)
        older = at < 0
        at[~older] += self._count
        at[older] = find(self._times[: self._count], times[older])
        return at

    def _special_of(
        self, members: Members, sets: NDArray[np.intp], times: NDArray[np.uint64]
    ) -> NDArray[np.bool_]:
        """Which new sets, by their times, are those of no simple case."""
        special: NDArray[np.bool_] = find(self._followed, times) >= 0
        # Of one time there may be several.
        same = times[1:] == times[:-1]
        special[1:] |= same
        special[:-1] |= same
        special |= self._on_targets(members["pfn"][sets], members["order"][sets])
        return special

    def _on_targets(
        self, pfn: NDArray[np.uint64], order: NDArray[np.uint8]
    ) -> NDArray[np.bool_]:
        """Which blocks have a page whose allocation matters to others."""
        if not len(self._targets):
            return np.zeros(len(pfn), np.bool_)
        begin, end = (
            np.searchsorted(self._targets, each)
            for each in (pfn, pfn + block_size(order))
        )
        found: NDArray[np.bool_] = begin < end
        return found

    def _append(self, sets: Events, special: NDArray[np.bool_]) -> None:
        """Add sets, whose times are behind all of those that are there."""
        if self._count + len(special) > len(self._times):
            self._make_room(len(special))
        new = slice(self._count, self._count + len(special))
        self._count = new.stop
        self._times[new] = sets.records["ts_nsec"]
        self._places[new] = sets.places
        self._records[new] = sets.records
        self._special[new], self._over[new] = special, False

    def _make_room(self, more: int) -> None:
        """Forget what is over, and have room for more."""
        which = np.flatnonzero(~self._over[: self._count])
        self._count = len(which)
        room = 2 * (len(which) + more)
        for name in ("_times", "_places", "_records", "_special", "_over"):
            old = getattr(self, name)
            new = np.zeros(room, old.dtype)
            new[: len(which)] = taken(old, which)
            setattr(self, name, new)


def resumed(kept: Kept) -> tuple[OpenAllocations, Events]:
    """
    What goes on from where events were kept: the allocations that are open, and other
    events about them.
    """
    events = Events(kept.records, kept.places)
    related = events.take(kept.marks == RELATED)
    open_ = OpenAllocations(*followed_by([related.records]))
    sets = np.flatnonzero(kept.marks <= SPECIAL)
    open_.resume(
        events.take(sets),
        kept.marks[sets] == SPECIAL,
        events.take(kept.marks == WAITING),
    )
    return open_, related


def followed_by(
    pieces: Iterable[NDArray[Any]],
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """
    The times of allocations that are copied or split in some pieces of the events, and
    the pages that others are copied to, both sorted.
    """
    times, targets = [np.zeros(0, np.uint64)], [np.zeros(0, np.uint64)]
    for records in pieces:
        copies = records["event"] == COPY
        times.append(
            np.unique(records["ts_nsec"][copies | (records["event"] == SPLIT)])
        )
        targets.append(np.unique(records["pfn"][copies]))
    return np.unique(np.concatenate(times)), np.unique(np.concatenate(targets))

# SPDX-License-Identifier: GPL-2.0-or-later
"""
The filters of a command line on what was captured: events, or the allocations that they
are about.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pagedbg.analysis.grouping import group
from pagedbg.errors import PagedbgError
from pagedbg.schema.filter_words import named, parse_kinds
from pagedbg.schema.flag_words import parse_flags
from pagedbg.sources.capture_names import Captured

_Test = Callable[[NDArray[Any]], NDArray[np.bool_]]


class Stacks(Protocol):
    """Whoever knows the stacks of handles, and what time it is."""

    @property
    def now(self) -> int | None:
        """The time of now, in the clock of the events."""

    def stack(self, handle: int) -> list[str]:
        """The stack of a handle."""

    def module(self, handle: int) -> str | None:
        """The module in it."""


class CaptureSelection:
    """
    What passes the filters, as a mask over rows that have the members of an allocation;
    what is dear to find out is asked last.
    """

    def __init__(
        self,
        args: argparse.Namespace,
        captured: Captured,
        stacks: Stacks,
        owner: str = "",
    ) -> None:
        """
        :param owner: what stands before ``pid``, ``tgid`` and ``comm`` in the names of
            the members that say who allocated
        """
        self._args, self._captured, self._stacks, self._owner = (
            args,
            captured,
            stacks,
            owner,
        )
        capture = captured.capture
        names = capture.meta.names
        zones = list(dict.fromkeys(span.zone for span in names.zones))
        self._gfp = np.uint32(
            named("--gfp", lambda: parse_flags(capture.gfp_names, args.gfp))
            if args.gfp
            else 0
        )
        self._migratetype = (
            named(
                "--migratetype",
                lambda: parse_kinds(args.migratetype, names.migratetype, "migratetype"),
            )
            if args.migratetype
            else None
        )
        self._zone = (
            named("--zone", lambda: parse_kinds(args.zone, zones, "zone"))
            if args.zone
            else None
        )
        if args.age and stacks.now is None:
            raise PagedbgError(
                "ages are not known here: the capture does not say what time it is."
                " Leave --age out."
            )

    def __call__(self, rows: NDArray[Any]) -> NDArray[np.bool_]:
        """Which rows pass."""
        left = np.arange(len(rows))
        for test in self._tests():
            left = left[test(rows[left])]
        chosen = np.zeros(len(rows), np.bool_)
        chosen[left] = True
        return chosen

    def _tests(self) -> Iterator[_Test]:
        args, captured, stacks, now = (
            self._args,
            self._captured,
            self._stacks,
            self._stacks.now,
        )
        pid, tgid, comm = (self._owner + name for name in ("pid", "tgid", "comm"))
        if args.orders:
            yield lambda rows: args.orders.mask(
                rows["order"],
                np.where(rows["ts_nsec"] > 0, rows["ts_nsec"], rows["pfn"]),
            )
        if args.pfns:
            start, end = (np.uint64(pfn) for pfn in args.pfns)
            yield (
                lambda rows: (
                    (rows["pfn"] < end)
                    & (
                        rows["pfn"] + (np.uint64(1) << rows["order"].astype(np.uint64))
                        > start
                    )
                )
            )
        if args.gfp:
            yield lambda rows: (rows["gfp_mask"] & self._gfp) == self._gfp
        if args.pid:
            yield lambda rows: args.pid.mask(rows[pid]) | args.pid.mask(rows[tgid])
        if args.age and now is not None:
            yield lambda rows: args.age.mask(now - rows["ts_nsec"].astype(np.int64))
        if (migratetype := self._migratetype) is not None:
            yield lambda rows: _each(
                [rows["gfp_mask"]],
                rows,
                lambda row: migratetype(captured.migratetype(int(row["gfp_mask"]))),
            )
        if args.comm:
            yield lambda rows: _each(
                list(rows[comm].T),
                rows,
                lambda row: args.comm(captured.comm(row[comm])),
            )
        if self._zone or args.node:
            yield self._places
        if args.stack:
            yield lambda rows: _each(
                [rows["handle"]],
                rows,
                lambda row: args.stack(stacks.stack(int(row["handle"]))),
            )
        if args.module:
            yield lambda rows: _each(
                [rows["handle"]],
                rows,
                lambda row: args.module(stacks.module(int(row["handle"]))),
            )

    def _places(self, rows: NDArray[Any]) -> NDArray[np.bool_]:
        zones, nodes = self._captured.zones(rows["pfn"])
        chosen = np.ones(len(rows), np.bool_)
        if (wanted := self._zone) is not None:
            chosen &= np.fromiter((wanted(zone) for zone in zones), np.bool_, len(rows))
        if self._args.node:
            chosen &= self._args.node.mask(
                np.array([-1 if node is None else node for node in nodes], np.int64)
            )
        return chosen


def _each(
    columns: Sequence[NDArray[Any]],
    rows: NDArray[Any],
    test: Callable[[NDArray[Any]], bool],
) -> NDArray[np.bool_]:
    """Apply a test to one row of each kind."""
    if not len(rows):
        return np.zeros(0, np.bool_)
    first, which = group(columns)
    passed: NDArray[np.bool_] = np.array([test(rows[i]) for i in first], np.bool_)[
        which
    ]
    return passed

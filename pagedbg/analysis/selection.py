# SPDX-License-Identifier: GPL-2.0-or-later
"""What the filters of a command line choose among allocations."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pagedbg.analysis.names import Names
from pagedbg.errors import PagedbgError
from pagedbg.schema.batch import Batch
from pagedbg.schema.filter_words import named, parse_kinds
from pagedbg.schema.flag_words import parse_flags
from pagedbg.schema.owner_record import comm_bytes

_Mask = NDArray[np.bool_]

_Test = Callable[[Batch], _Mask]


class Selection:
    """
    The filters of one command line, as a mask over a batch. What is cheap to find out
    is asked first, and what is dear of what is left, once for each distinct value.
    """

    def __init__(self, args: argparse.Namespace, names: Names) -> None:
        """
        :param args: what :data:`pagedbg.shell.filter_options.FILTERS` have parsed
        :raises UsageError: if a word is not one of the kernel's
        :raises PagedbgError: if ages are asked for, and what time it is is not known
        """
        self._args, self._names = args, names
        self._tests = (*self._of_numbers(), *self._of_words(), *self._of_stacks())

    @property
    def takes_all(self) -> bool:
        """Whether there is no filter."""
        return not self._tests

    def __call__(self, rows: Batch) -> _Mask:
        """Return which rows pass."""
        chosen = np.ones(len(rows), np.bool_)
        part = _Part(rows, None)
        for test in self._tests:
            part = part.take(test(part))
            if not len(part):
                break
        if part.index is not None:
            chosen[:] = False
            chosen[part.index] = True
        return chosen

    def _of_numbers(self) -> Iterator[_Test]:
        args, names = self._args, self._names
        if args.orders:
            yield lambda rows: args.orders.mask(
                rows.column("order"), rows.column("pfn")
            )
        if args.pfns:
            yield lambda rows: _in_range(rows, *args.pfns)
        if args.gfp:
            wanted = np.uint32(
                named("--gfp", lambda: parse_flags(names.gfp_names, args.gfp))
            )
            yield lambda rows: (rows.column("gfp_mask") & wanted) == wanted
        if args.pid:
            yield lambda rows: np.logical_or.reduce(
                [
                    args.pid.mask(rows.column(member))
                    for member in ("pid", "tgid")
                    if member in rows.members
                ]
            )
        recorder = names.recorder if getattr(args, "no_self", False) else None
        if recorder is not None:
            yield lambda rows: rows.column("tgid") != np.uint32(recorder)
        if args.age:
            now = names.now
            if now is None:
                raise PagedbgError(f"ages are not known here: {names.no_clock}.")
            yield lambda rows: args.age.mask(
                now - rows.column("ts_nsec").astype(np.int64)
            )

    def _of_words(self) -> Iterator[_Test]:
        args, names = self._args, self._names
        if getattr(args, "kind", None):
            yield _each("kind", lambda code: args.kind(names.of_page("kind", code)))
        if getattr(args, "memcg", None):
            yield _each("memcg", lambda data: args.memcg(names.of_page("memcg", data)))
        if args.migratetype:
            wanted = named(
                "--migratetype",
                lambda: parse_kinds(
                    args.migratetype, names.migratetypes, "migratetype"
                ),
            )
            yield _each("gfp_mask", lambda mask: wanted(names.migratetype(mask)))
        if args.comm:
            yield _each("comm", lambda comm: args.comm(names.comm(np.array(comm))))
        if args.zone:
            zones, _ = names.zones(np.zeros(0, np.uint64))
            kinds = named("--zone", lambda: parse_kinds(args.zone, zones, "zone"))
            numbers = [i for i, zone in enumerate(zones) if kinds(zone)]
            yield lambda rows: np.isin(names.zones(rows.column("pfn"))[1], numbers)
        if args.node:
            yield lambda rows: args.node.mask(names.nodes(rows.column("pfn")))

    def _of_stacks(self) -> Iterator[_Test]:
        args, names = self._args, self._names
        if args.stack:
            yield _each("handle", lambda one: args.stack(names.stack(one)), names)
        if args.module:
            yield _each("handle", lambda one: args.module(names.module(one)), names)


class _Part:
    """The rows of a batch that are left, all of them where ``index`` is None."""

    def __init__(self, rows: Batch, index: NDArray[np.intp] | None) -> None:
        self._rows = rows
        self.index = index

    def __len__(self) -> int:
        return len(self._rows) if self.index is None else len(self.index)

    @property
    def members(self) -> Collection[str]:
        return self._rows.members

    def column(self, member: str) -> NDArray[Any]:
        column = self._rows.column(member)
        return column if self.index is None else column[self.index]

    def take(self, chosen: _Mask) -> _Part:
        if chosen.all():
            return self
        which = np.flatnonzero(chosen)
        return _Part(self._rows, which if self.index is None else self.index[which])


def _in_range(rows: Batch, first: int, end: int) -> _Mask:
    """Which rows have a page in a range."""
    pfn, order = rows.column("pfn"), rows.column("order").astype(np.uint64)
    inside: _Mask = (pfn < np.uint64(end)) & (
        pfn + (np.uint64(1) << order) > np.uint64(first)
    )
    return inside


def _each(
    member: str, test: Callable[[Any], bool], stacks: Names | None = None
) -> _Test:
    """
    Return a test of a member that asks for each distinct value once.

    :param stacks: who has the stacks of the values, to be read together before
    """
    known: dict[Any, bool] = {}

    def mask(rows: Batch) -> _Mask:
        column = rows.column(member)
        if column.ndim > 1:
            column = comm_bytes(column)
        distinct, which = np.unique(column, return_inverse=True)
        values = distinct.tolist()
        new = [value for value in values if value not in known]
        if stacks is not None:
            stacks.stacks(new)
        known.update((value, test(value)) for value in new)
        chosen: _Mask = np.array([known[value] for value in values], np.bool_)[which]
        return chosen

    return mask

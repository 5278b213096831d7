# SPDX-License-Identifier: GPL-2.0-or-later
"""
The filter options, the same words in every command that looks at allocations, and what
they choose among blocks.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pagedbg.analysis.grouping import group
from pagedbg.errors import PagedbgError
from pagedbg.mm.gfp import gfp_flag_names, gfpflag_names
from pagedbg.mm.migrate import migratetype_names
from pagedbg.mm.mmzone import zone_names
from pagedbg.schema import filter_words
from pagedbg.schema.blocks import Blocks
from pagedbg.schema.event_record import KINDS_BY_WORD
from pagedbg.schema.flag_words import parse_flags
from pagedbg.session import Session
from pagedbg.shell.command import argument, argument_group
from pagedbg.shell.option_values import values
from pagedbg.sources.kernel_names import Lookup

ONLY_EVENTS = argument(
    "--events", metavar="EVENTS", help="only these: " + ", ".join(KINDS_BY_WORD)
)

FILTERS = argument_group(
    argument(
        "--orders",
        metavar="ORDERS",
        type=filter_words.parse_all_of_orders,
        help="4, 4-9, '>=3', 0,3,9",
    ),
    argument(
        "--gfp",
        metavar="FLAGS",
        help="all of these flags: GFP_KERNEL, '__GFP_COMP|__GFP_ZERO'",
    ),
    argument(
        "--migratetype",
        metavar="TYPE",
        help="what the allocation asked for: Unmovable, Movable, Reclaimable",
    ),
    argument("--zone", metavar="ZONE", help="Normal, DMA32, ..."),
    argument(
        "--node", metavar="NODE", type=filter_words.parse_numbers, help="0, 0-3, 1,3"
    ),
    argument(
        "--pid",
        metavar="PID",
        type=filter_words.parse_numbers,
        help="allocated by this process or thread",
    ),
    argument(
        "--comm",
        metavar="NAME",
        type=filter_words.parse_names,
        help=(
            "allocated by this program; * and ? match as in a shell (Tab writes ? for"
            " what cannot be typed)"
        ),
    ),
    argument(
        "--stack",
        metavar="REGEX",
        type=filter_words.parse_regex,
        help="a frame of the allocation's stack matches",
    ),
    argument(
        "--module",
        metavar="NAME",
        type=filter_words.parse_names,
        help="the first frame that belongs to a module belongs to this one",
    ),
    argument(
        "--age",
        metavar="AGE",
        type=filter_words.parse_age,
        help="'>10s', '<5m', 10s-1h; 10s is at least 10s",
    ),
    argument(
        "--pfns",
        metavar="RANGE",
        type=filter_words.parse_pfns,
        help="blocks with a page in A-B, or A+N",
    ),
    title="filters",
)


@values("--events")
def _event_words(session: Session) -> Sequence[str]:
    return list(KINDS_BY_WORD)


@values("--zone", patterns=True)
def _zones(session: Session) -> Sequence[str]:
    return zone_names(session.prog)


@values("--migratetype", patterns=True)
def _migratetypes(session: Session) -> Sequence[str]:
    return migratetype_names(session.prog)


@values("--gfp")
def _gfp_flags(session: Session) -> Sequence[str]:
    return gfp_flag_names(session.prog)


class Selection:
    """
    The filters of one command line, as a mask over blocks; cheap ones first, stacks
    last and only for what is left.
    """

    def __init__(self, args: argparse.Namespace, lookup: Lookup) -> None:
        self._args = args
        self._lookup = lookup
        self._handles: dict[int, bool] = {}
        self._gfp_mask = (
            filter_words.named(
                "--gfp", lambda: parse_flags(gfpflag_names(lookup.prog), args.gfp)
            )
            if args.gfp
            else 0
        )
        self._zone = (
            filter_words.named(
                "--zone",
                lambda: filter_words.parse_kinds(
                    args.zone, zone_names(lookup.prog), "zone"
                ),
            )
            if args.zone
            else None
        )
        self._migratetype = (
            filter_words.named(
                "--migratetype",
                lambda: filter_words.parse_kinds(
                    args.migratetype, migratetype_names(lookup.prog), "migratetype"
                ),
            )
            if args.migratetype
            else None
        )
        if args.age and lookup.now is None:
            raise PagedbgError(
                "ages are not known here: the run queues' clocks cannot be read."
            )

    def choose(self, blocks: Blocks) -> Blocks:
        """The blocks that pass."""
        for test in (self._numbers, self._names, self._places, self._stacks):
            if not len(blocks):
                break
            mask = test(blocks)
            if mask is not None and not mask.all():
                blocks = blocks.take(mask)
        return blocks

    def _numbers(self, blocks: Blocks) -> NDArray[np.bool_] | None:
        args, column = self._args, blocks.column
        masks = []
        if args.orders:
            masks.append(
                args.orders.mask(
                    blocks.order,
                    column("ts_nsec") if "ts_nsec" in blocks.members else blocks.pfn,
                )
            )
        if args.pfns:
            masks.append(
                (blocks.pfn < np.uint64(args.pfns[1]))
                & (blocks.end_pfn > np.uint64(args.pfns[0]))
            )
        if args.gfp:
            wanted = np.uint32(self._gfp_mask)
            masks.append((column("gfp_mask") & wanted) == wanted)
        if args.pid:
            mask = args.pid.mask(column("pid"))
            masks.append(
                mask | args.pid.mask(column("tgid"))
                if "tgid" in blocks.members
                else mask
            )
        if args.age:
            assert self._lookup.now is not None
            masks.append(
                args.age.mask(self._lookup.now - column("ts_nsec").astype(np.int64))
            )
        return np.logical_and.reduce(masks) if masks else None

    def _names(self, blocks: Blocks) -> NDArray[np.bool_] | None:
        masks = []
        if (wanted := self._migratetype) is not None:
            name = self._lookup.migratetype
            masks.append(
                _each(blocks.column("gfp_mask"), lambda mask: wanted(name(int(mask))))
            )
        if self._args.comm:
            words = blocks.column("comm")
            first, which = group(list(words.T))
            masks.append(
                np.array(
                    [self._args.comm(self._lookup.comm(words[i])) for i in first],
                    np.bool_,
                )[which]
            )
        return np.logical_and.reduce(masks) if masks else None

    def _places(self, blocks: Blocks) -> NDArray[np.bool_] | None:
        masks = []
        if self._zone:
            names, index = self._lookup.zones(blocks.pfn)
            wanted = [i for i, name in enumerate(names) if self._zone(name)]
            masks.append(np.isin(index, wanted))
        if self._args.node:
            masks.append(self._args.node.mask(self._lookup.nodes(blocks.pfn)))
        return np.logical_and.reduce(masks) if masks else None

    def _stacks(self, blocks: Blocks) -> NDArray[np.bool_] | None:
        if not (self._args.stack or self._args.module):
            return None
        handles = blocks.column("handle")
        self._lookup.stacks(np.unique(handles).tolist())
        return _each(handles, self._stack_matches)

    def _stack_matches(self, handle: Any) -> bool:
        number = int(handle)
        if number not in self._handles:
            args, lookup = self._args, self._lookup
            self._handles[number] = (
                not args.stack or args.stack(lookup.stack(number))
            ) and (not args.module or args.module(lookup.module(number)))
        return self._handles[number]


def _each(column: NDArray[Any], test: Callable[[Any], bool]) -> NDArray[np.bool_]:
    """Apply a test to each distinct value of a column."""
    distinct, which = np.unique(column, return_inverse=True)
    return np.array([test(value) for value in distinct.tolist()], np.bool_)[which]

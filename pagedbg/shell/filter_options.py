# SPDX-License-Identifier: GPL-2.0-or-later
"""
The filter options, the same words in every command that looks at allocations.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from pagedbg.mm.gfp import gfpflag_names
from pagedbg.mm.migrate import migratetype_names
from pagedbg.mm.mmzone import for_each_populated_zone, zone_name, zone_names
from pagedbg.mm.page_kinds import KINDS, OWN
from pagedbg.schema import filter_words
from pagedbg.schema.event_record import KINDS_BY_WORD
from pagedbg.schema.sizes import size
from pagedbg.session import Session
from pagedbg.shell.command import argument, argument_group
from pagedbg.shell.option_values import values

ONLY_EVENTS = argument(
    "--events", metavar="EVENTS", help="only these: " + ", ".join(KINDS_BY_WORD)
)

ZONE = argument("--zone", metavar="ZONE", help="Normal, DMA32, ...")
NODE = argument(
    "--node", metavar="NODE", type=filter_words.parse_numbers, help="0, 0-3, 1,3"
)
PFNS = argument(
    "--pfns",
    metavar="RANGE",
    type=filter_words.parse_pfns,
    help="blocks with a page in A-B, or A+N",
)


class _AlsoOf(argparse.Action):
    """Options that all have to be met: each is a test of a kind."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        tests = [getattr(namespace, self.dest), self.const or values]
        first, *others = (test for test in tests if test is not None)
        setattr(
            namespace,
            self.dest,
            (lambda kind: first(kind) and others[0](kind)) if others else first,
        )


KIND = argument(
    "--kind",
    metavar="KIND",
    action=_AlsoOf,
    type=lambda text: filter_words.parse_kinds(text, tuple(KINDS), "kind"),
    help="what the page is used for: slab, anon, file, kernel, ...",
)
NO_SELF = argument(
    "--no-self",
    dest="kind",
    action=_AlsoOf,
    nargs=0,
    const=lambda kind: kind != OWN,
    help="leave out pagedbg's own: the rings of its recorders",
)
NOT_RECORDED_BY = argument(
    "--no-self",
    action="store_true",
    help="leave out what the process has allocated that recorded it",
)
MEMCG = argument(
    "--memcg",
    metavar="PATH",
    type=filter_words.parse_names,
    help="charged to this memory cgroup; * and ? match as in a shell",
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
    ZONE,
    NODE,
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
            "allocated by this program; *, ? and [,] match as in a shell (Tab writes ?"
            " for what cannot be typed)"
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
    PFNS,
    title="filters",
)


@values("--events")
def _event_words(session: Session) -> Mapping[str, str]:
    return {word: kind.functions[0] for word, kind in KINDS_BY_WORD.items()}


@values("--kind", patterns=True)
def _kinds(session: Session) -> Mapping[str, str]:
    return KINDS


@values("--zone", patterns=True, read=True)
def _zones(session: Session) -> Mapping[str, str]:
    page_size = session.prog["PAGE_SIZE"].value_()
    pages = dict.fromkeys(zone_names(session.prog), 0)
    for zone in for_each_populated_zone(session.prog):
        pages[zone_name(zone)] += zone.present_pages.value_()
    return {
        name: size(count * page_size) if count else "no pages"
        for name, count in pages.items()
    }


# What the kernel means by them, in include/linux/mmzone.h.
_MIGRATETYPES = {
    "Unmovable": "stays where it is",
    "Movable": "can be moved by compaction",
    "Reclaimable": "goes when memory is short",
    "HighAtomic": "kept for what cannot wait",
    "CMA": "lent by a driver's area",
    "Isolate": "nothing is allocated there now",
}


@values("--migratetype", patterns=True, read=True)
def _migratetypes(session: Session) -> Mapping[str, str]:
    names = migratetype_names(session.prog)
    return {name: _MIGRATETYPES.get(name, "") for name in names}


@values("--gfp", read=True)
def _gfp_flags(session: Session) -> Mapping[str, str]:
    masks = {name: mask for mask, name in gfpflag_names(session.prog)}
    return {name: f"{masks[name]:#x}" for name in sorted(masks)}

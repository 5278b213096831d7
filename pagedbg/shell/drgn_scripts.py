# SPDX-License-Identifier: GPL-2.0-or-later
"""
``--drgn``: Python for drgn's prompt or a script that finds the same as a command.

Each is short and to be read: it shows which helpers answer, and how to ask more of
them. So it stands for a command with few options; where there are others it is not
printed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import NamedTuple

from drgn.commands import argument

from pagedbg.errors import UsageError

__all__ = (
    *("BLOCKS", "DRGN", "EXPLAIN", "FREE", "MEMORY", "OWNERS", "ZONES"),
    *("Script", "script_for"),
)

DRGN = argument(
    "--drgn",
    action="store_true",
    help="print Python that finds the same figures in drgn, instead of them",
)


class Script(NamedTuple):
    """How Python is written for a command line, and the arguments that it minds."""

    write: Callable[[argparse.Namespace], str]
    minds: Sequence[str] = ()


def script_for(
    script: Script, args: argparse.Namespace, defaults: Callable[[str], object]
) -> str:
    """
    Return Python for a command line.

    :param defaults: what an argument is where it is not given
    :raises UsageError: if there is none for it
    """
    for name, value in vars(args).items():
        if name not in ("drgn", *script.minds) and value != defaults(name):
            raise UsageError(
                f"--drgn has no Python for --{name.replace('_', '-')}: leave it out"
            )
    return script.write(args).strip()


# ---- who holds pages

_SUMS = """
from collections import Counter

from pagedbg.mm.page_owner_blocks import for_each_block
{imports}

pages = Counter()
for blocks in for_each_block(prog, {state}):
    for key, count in zip({keys}, blocks.pages.tolist()):
        pages[key] += count
for key, count in pages.most_common({top}):
    print(count, {shown})
"""

_ROWS = """
from itertools import islice

from pagedbg.mm.page_owner import page_owner_of_pfn
from pagedbg.mm.page_owner_blocks import for_each_block
from pagedbg.schema.owner_record import {state}


def every_block():
    for blocks in for_each_block(prog, {state}):
        yield from zip(blocks.pfn.tolist(), blocks.pages.tolist())


for pfn, count in islice(every_block(), {top}):
    print(hex(pfn), count, page_owner_of_pfn(prog, pfn))
"""

# By key of --by: what else is imported, what blocks are told apart by, and how that is
# shown.
_KEYS = {
    "comm": (
        "from pagedbg.schema.owner_record import {state}, decode_comm",
        'map(decode_comm, blocks.column("comm"))',
        "key",
    ),
    "stack": (
        "from pagedbg.mm.stackdepot import stack_depot_fetch\n"
        "from pagedbg.schema.owner_record import {state}",
        'blocks.column("handle").tolist()',
        "prog.stack_trace_from_pcs(stack_depot_fetch(prog, key))",
    ),
    **{
        name: (
            "from pagedbg.schema.owner_record import {state}",
            f'blocks.column("{name}").tolist()',
            "key",
        )
        for name in ("order", "pid", "tgid")
    },
}


def _owners(args: argparse.Namespace) -> str:
    state = "FREED" if args.state == "freed" else "ALLOCATED"
    if args.state == "any":
        raise UsageError("--drgn has Python for --state allocated or freed")
    if not args.by:
        return _ROWS.format(state=state, top=args.top)
    if len(args.by) > 1 or args.by[0] not in _KEYS:
        raise UsageError(f"--drgn has Python for --by {', '.join(sorted(_KEYS))}")
    imports, keys, shown = _KEYS[args.by[0]]
    return _SUMS.format(
        imports=imports.format(state=state),
        state=state,
        keys=keys,
        shown=shown,
        top=args.top or "",
    )


OWNERS = Script(_owners, ("by", "state", "top", "no_stack"))

# ---- what pages are

MEMORY = Script(
    lambda args: (
        """
from collections import Counter

from pagedbg.sources.page_batches import PageSource
from pagedbg.sources.page_words import PageWords

words = PageWords(prog)
pages = Counter()
for batch in PageSource(prog, words).batches(0, prog["max_pfn"].value_()):
    pages.update(batch.column("kind").tolist())
for code, count in pages.most_common():
    print(count, words.word("kind", code))
"""
    )
)

BLOCKS = Script(
    lambda args: (
        """
from pagedbg.mm.migrate import decode_migratetype
from pagedbg.mm.mmzone import zone_spans
from pagedbg.mm.page_array import PageDecoder
from pagedbg.mm.pageblock_flags import get_pfnblock_migratetype, pageblock_end_pfn

decoder = PageDecoder(prog)
for span in zone_spans(prog):
    start = span.start_pfn
    while start < span.end_pfn:
        end = min(pageblock_end_pfn(prog, start), span.end_pfn)
        kinds = [
            decoder.kinds[code]
            for piece in decoder.pieces(start, end)
            for code in piece.kind.tolist()
        ]
        type_ = decode_migratetype(prog, get_pfnblock_migratetype(prog, start))
        print(hex(start), span.name, type_, end - start, kinds.count("free"))
        start = end
"""
    )
)

# ---- zones and what is free

ZONES = Script(
    lambda args: (
        """
from pagedbg.mm.mmzone import for_each_populated_zone
from pagedbg.mm.zone_state import zone_state

for zone in for_each_populated_zone(prog):
    state = zone_state(zone)
    print(state.node, state.name, zone.present_pages.value_(), state.free)
    print("   ", state.wmark_min, state.wmark_low, state.wmark_high, state.boost)
"""
    )
)

FREE = Script(
    lambda args: (
        """
from pagedbg.mm.free_area import nr_free
from pagedbg.mm.mmzone import for_each_populated_zone, zone_name

for zone in for_each_populated_zone(prog):
    for order, blocks in enumerate(nr_free(zone)):
        print(zone.zone_pgdat.node_id.value_(), zone_name(zone), order, blocks)
"""
    )
)


def _explain(args: argparse.Namespace) -> str:
    match args.what:
        case ["order", order] if order.isdecimal():
            asked = "".join(
                f", {name}={value!r}"
                for name in ("gfp", "migratetype", "zone")
                if (value := getattr(args, name)) is not None
            )
            return f"""
from pagedbg.analysis.allocation_attempt import attempt
from pagedbg.mm.zone_state import zone_state
from pagedbg.sources.allocator import machine_of, typed_request, zones_for

request = typed_request(prog, {order}{asked})
zones = [zone_state(zone) for zone in zones_for(prog, request, {args.node!r})]
outcome = attempt(request, zones, machine_of(prog))
for each in outcome.attempts:
    print(each.zone.name, each.result, each.zone.free, each.need)
print("it is there" if outcome.at_once else "nothing is free for it now")
"""
    raise UsageError("--drgn has Python for explain order ORDER")


EXPLAIN = Script(_explain, ("what", "gfp", "migratetype", "zone", "node"))

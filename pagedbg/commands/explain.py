# SPDX-License-Identifier: GPL-2.0-or-later
"""``explain``: which allocations failed, and why one does."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from pagedbg.analysis.allocation_attempt import Outcome, attempt
from pagedbg.analysis.allocation_log import Report
from pagedbg.analysis.compaction import FreeList, chances
from pagedbg.analysis.explanation import Findings, finding, owner_name
from pagedbg.analysis.explanation_verdict import (
    InTheWay,
    verdict,
    verdict_of_report,
)
from pagedbg.errors import PagedbgError, UsageError
from pagedbg.mm.mmzone import zone_idx
from pagedbg.mm.zone_state import compactions_deferred, zone_state
from pagedbg.output.explanation_text import explanation_lines
from pagedbg.schema.explanation_columns import EXPLANATION, FAILURES
from pagedbg.schema.pageblock_columns import PAGEBLOCK_KEYS
from pagedbg.schema.table import Row, Table
from pagedbg.session import Session
from pagedbg.shell import drgn_scripts
from pagedbg.shell.command import argument, command
from pagedbg.shell.filter_options import ZONE
from pagedbg.shell.option_values import values
from pagedbg.shell.table_options import ByParser, parse_top
from pagedbg.sources.allocator import (
    GFP_DEFAULT,
    allocation_request,
    busy_kswapds,
    extfrag_threshold,
    machine_of,
    typed_request,
    zones_for,
)
from pagedbg.sources.failure_log import failures_of
from pagedbg.sources.free_memory import free_list_rows
from pagedbg.sources.in_the_way import Deferred, Obstacles, find_obstacles
from pagedbg.sources.stack_frames import function_of, module_of

# What somebody can be asked to stop: more are hardly looked at.
_OWNERS = 3

_FOR_ORDER = ("gfp", "migratetype", "zone", "node", "by", "top")


@values("WHAT", read=True)
def _what(session: Session) -> Sequence[str]:
    reports = failures_of(session.prog, [])
    return ["order", *(str(number) for number in range(1, len(reports) + 1))]


@command(
    "explain",
    long_description="""
Say why allocations fail.

  explain                 list what the kernel's log says of allocations
  explain N               take one of these reports apart
  explain order ORDER...  say whether one would succeed now, and if not, why

The kernel logs an allocation that failed, that took too long, or that it killed a
process for, with a report on memory.

Of an order it is said, zone by zone in the order in which the kernel asks them: how
many pages are free, how many have to be (the watermark, what is withheld for others,
and the allocation itself), and how many are in blocks that are too small, with the
kernel's own indices for that; then the free blocks by order and migratetype, and which
of them may be taken. If it does not succeed at once: whether compaction could make a
block, and which owners are in the way, step by step: how many blocks would be free if
the first let go, then the second; at once, or when compaction has moved what else is in
them, for which there has to be room elsewhere. All pages are looked at for that, once
for all the orders that are asked for.

--gfp says what it is asked with; --migratetype and --zone, the highest that it may come
from, replace what these flags say of the two.

What the CPUs keep on lists of their own is not counted on, and neither are cpusets,
memory policies and limits of cgroups, which only whoever allocates has.
""",
    arguments=(
        argument(
            "what",
            metavar="WHAT",
            nargs="*",
            help="the number of a report, or order and one or more orders",
        ),
        argument(
            "--gfp",
            metavar="FLAGS",
            help=f"what it is asked with, {GFP_DEFAULT} by default: GFP_ATOMIC, 0xcc0",
        ),
        argument(
            "--migratetype",
            metavar="TYPE",
            help="ask for this type instead: Unmovable, Movable, Reclaimable",
        ),
        ZONE,
        argument(
            "--node",
            metavar="NODE",
            type=int,
            help="the node where it is wanted, the first one by default",
        ),
        argument(
            "--by",
            metavar="KEY",
            type=ByParser([column.name for column in PAGEBLOCK_KEYS]),
            help="what tells owners apart: stack, comm; by default module,function",
        ),
        argument(
            "--top",
            metavar="N",
            type=parse_top,
            help=f"ask so many owners to let go, {_OWNERS} by default",
        ),
    ),
    examples=(
        ("explain", "which allocations have failed"),
        ("explain 1", "and why the first one did"),
        ("explain order 4", "would 16 pages that lie together be there now"),
        ("explain order 9 --gfp GFP_TRANSHUGE", "and a huge page"),
        ("explain order 4 9", "both kinds, in one look at all pages"),
        ("explain order 3 --gfp GFP_ATOMIC --zone DMA32", "in an interrupt"),
        ("explain order 4 --by stack --format json", "the same for a script"),
    ),
    table=True,
    drgn=drgn_scripts.EXPLAIN,
)
def explain(session: Session, args: argparse.Namespace) -> Table:
    """Run the command."""
    notes = list(session.target.notes)
    words: Sequence[str] = args.what
    if words[:1] == ["order"] and words[1:] and all(map(str.isdecimal, words[1:])):
        orders = dict.fromkeys(int(word[:9]) for word in words[1:])
        return _explanation(list(_orders(session, orders, args, notes)), notes)
    for name in _FOR_ORDER:
        if getattr(args, name) is not None:
            raise UsageError(f"--{name} is for explain order ORDER")
    if not words:
        return _failures(failures_of(session.prog, notes), notes)
    if len(words) == 1 and words[0].isdecimal():
        rows = list(_report(session, int(words[0][:9]), notes))
        return _explanation(rows, notes)
    raise UsageError("write explain, explain N, or explain order 4")


def _explanation(rows: Sequence[Row], notes: list[str]) -> Table:
    return Table.of(EXPLANATION, rows, notes=notes, text=explanation_lines(rows))


# ---- allocations that would be made now ----


class _Asked(NamedTuple):
    """An allocation, and what becomes of it."""

    outcome: Outcome
    zones: list[Deferred]

    @property
    def in_the_way(self) -> bool:
        """Whether it has to be looked for what is in the way."""
        return bool(
            self.zones and self.outcome.request.order and not self.outcome.at_once
        )


def _asked_now(session: Session, order: int, args: argparse.Namespace) -> _Asked:
    request = typed_request(session.prog, order, args.gfp, args.migratetype, args.zone)
    zones = [
        (zone_state(zone), compactions_deferred(zone, order))
        for zone in zones_for(session.prog, request, args.node)
    ]
    states = [state for state, _ in zones]
    return _Asked(attempt(request, states, machine_of(session.prog)), zones)


def _orders(
    session: Session, orders: Iterable[int], args: argparse.Namespace, notes: list[str]
) -> Iterator[Row]:
    asked = {order: _asked_now(session, order, args) for order in orders}
    lists = [FreeList(*row[:5]) for row in free_list_rows(session.prog, notes)]
    found = find_obstacles(
        session,
        {order: each.zones for order, each in asked.items() if each.in_the_way},
        by=args.by or ["module", "function"],
        most=args.top or _OWNERS,
        notes=notes,
    )
    for order, each in asked.items():
        yield from _order(session, each.outcome, lists, found.get(order))
    for each in asked.values():
        _note_kswapd(session, each.outcome, notes)


def _order(
    session: Session,
    outcome: Outcome,
    lists: Iterable[FreeList],
    found: Obstacles | None,
) -> Iterator[Row]:
    prog, request = session.prog, outcome.request
    page_size = prog["PAGE_SIZE"].value_()
    findings = Findings(outcome, page_size)
    yield findings.request()
    yield from findings.zones()
    names = {(each.zone.node, each.zone.name) for each in outcome.attempts}
    lists = [each for each in lists if (each.node, each.zone) in names]
    yield from findings.lists(lists)
    way = None
    if found is not None:
        possible = chances(request, found.zones, lists, extfrag_threshold(prog))
        yield from findings.compaction(possible)
        for number, step in enumerate(found.steps or (), 1):
            yield from findings.owner(
                number,
                step.pageblocks,
                step.at_once,
                step.total,
                found.owners(step),
            )
        first = found.steps[0] if found.steps else None
        way = InTheWay(
            [(chance.result, chance.blocks) for chance in possible],
            [owner_name(owner) for owner in found.owners(first)] if first else (),
            first.pageblocks if first else 0,
            first.at_once if first else 0,
        )
    yield verdict(outcome, page_size, way)


def _note_kswapd(session: Session, outcome: Outcome, notes: list[str]) -> None:
    busy = busy_kswapds(session.prog)
    nodes = {each.zone.node for each in outcome.attempts}
    if len(nodes) > 1 and busy and not nodes <= set(busy):
        notes.append(
            f"kswapd is at work on node {', '.join(map(str, busy))}: newer kernels ask"
            " the other nodes first then."
        )


# ---- what was logged ----


def _failures(found: Sequence[Report], notes: list[str]) -> Table:
    rows: list[Row] = [
        (
            number,
            report.ts_ns,
            report.kind,
            report.order,
            report.gfp_mask,
            report.gfp,
            report.comm,
            report.pid,
            module_of(report.stack),
            function_of(report.stack),
            None if report.mem_info is None else report.mem_info.counters.get("free"),
            None if report.stalled_ms is None else report.stalled_ms * 10**6,
            report.victim,
            report.victim_pid,
            None if report.victim_kib is None else report.victim_kib * 1024,
            report.constraint,
            report.memcg,
            report.complete,
            report.stack,
        )
        for number, report in enumerate(found, 1)
    ]
    # What no report says, and what the flags' names say, too, takes room only.
    kept = [
        i
        for i, column in enumerate(FAILURES)
        if column.kind != "stack" and column.name != "gfp_mask"
        if any(row[i] is not None for row in rows)
    ]
    return Table.of(
        FAILURES,
        rows,
        notes=notes,
        empty="The log has no allocation that failed.",
        text=Table.of(
            [FAILURES[i] for i in kept],
            [[row[i] for i in kept] for row in rows],
            empty="The log has no allocation that failed.",
        ),
    )


def _report(session: Session, number: int, notes: list[str]) -> Iterator[Row]:
    found = failures_of(session.prog, notes)
    if not 1 <= number <= len(found):
        there = (
            f"there are {len(found)}, explain lists them" if found else "there is none"
        )
        raise PagedbgError(f"the log has no report {number}: {there}.")
    report = found[number - 1]
    prog = session.prog
    page_size = prog["PAGE_SIZE"].value_()
    outcome = _outcome_of(session, report)
    if not report.complete:
        notes.append("The report is not complete: some of its lines are lost.")
    if outcome is None or report.order == -1:
        yield finding(
            "request",
            _asked(report),
            order=report.order,
            gfp=report.gfp,
            comm=report.comm,
            stack=report.stack,
        )
    if outcome is not None:
        findings = Findings(outcome, page_size, past=True)
        if report.order != -1:
            yield findings.request(comm=report.comm, stack=report.stack)
        yield from findings.zones()
        yield from findings.lists(list(_lists(outcome)))
    if report.mem_info is not None:
        for name, pages in report.mem_info.counters.items():
            yield finding(
                "counter", f"{name} was {pages} pages.", kind=name, pages=pages
            )
    yield verdict_of_report(report, outcome, page_size)


def _asked(report: Report) -> str:
    """What was asked for, where the report does not say more of it."""
    if report.order == -1:
        return f"{report.comm} asked for the OOM killer."
    what = "memory" if report.order is None else f"order {report.order}"
    return f"{report.comm} asked for {what}, {report.gfp}."


def _outcome_of(session: Session, report: Report) -> Outcome | None:
    """What a report says of the zones, as if the allocation were made then."""
    prog = session.prog
    if report.mem_info is None or report.order is None:
        return None
    request = allocation_request(prog, max(report.order, 0), report.gfp_mask)
    if request is None:
        return None
    said = {(zone.node, zone.zone): zone for zone in report.mem_info.zones}
    order = [
        (zone.zone_pgdat.node_id.value_(), zone_idx(zone))
        for zone in zones_for(prog, request, None)
    ]
    zones = [said[key] for key in order if key in said and report.allows(key[0])]
    return attempt(request, zones, machine_of(prog)) if zones else None


def _lists(outcome: Outcome) -> Iterator[FreeList]:
    for each in outcome.attempts:
        zone = each.zone
        for order, (blocks, types) in enumerate(
            zip(zone.blocks, zone.types, strict=True)
        ):
            yield FreeList(zone.node, zone.name, None, order, blocks, types)

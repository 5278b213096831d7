# SPDX-License-Identifier: GPL-2.0-or-later
"""The one sentence that an explanation ends with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pagedbg.analysis.allocation_attempt import (
    IN_PIECES,
    NO_TYPE,
    SHORT,
    Attempt,
    Outcome,
)
from pagedbg.analysis.allocation_log import OOM_KILL, STALL, Report
from pagedbg.analysis.compaction import COULD_HELP, DEFERRED
from pagedbg.analysis.explanation import (
    FAILS,
    SUCCEEDS,
    WAITS,
    finding,
    once_moved,
    zone_label,
)
from pagedbg.schema.sizes import size
from pagedbg.schema.table import Row

__all__ = ("InTheWay", "verdict", "verdict_of_report")


class InTheWay(NamedTuple):
    """
    What is in the way of a block, as far as that was looked at: of each zone what
    compaction could do and how many blocks it could make; who would leave most blocks
    free, how many, and how many of them without anything being moved.
    """

    compaction: Sequence[tuple[str, int]] | None = None
    owners: Sequence[str] = ()
    blocks: int = 0
    at_once: int = 0

    @property
    def could_make(self) -> int:
        """How many blocks compaction could make, where it would try."""
        return sum(
            blocks for result, blocks in self.compaction or () if result == COULD_HELP
        )


def verdict(outcome: Outcome, page_size: int, way: InTheWay | None = None) -> Row:
    """Say what becomes of an allocation that would be made now."""
    way = way or InTheWay()
    request = outcome.request
    name = f"Order {request.order}"
    if outcome.zone is not None:
        where = zone_label(outcome.zone, _nodes(outcome))
        woken = "" if outcome.low else ", and kswapd is woken to reclaim memory"
        blocks = sum(outcome.zone.blocks[request.order :])
        large = (
            f"{blocks} free block{'s are' if blocks != 1 else ' is'} large enough"
            if request.order
            else f"{_free(outcome.zone.free, page_size)} are free"
        )
        return finding(
            "verdict",
            f"{name} succeeds in {where}: {large}{woken}.",
            result=SUCCEEDS,
            node=outcome.zone.node,
            zone=outcome.zone.name,
            order=request.order,
        )
    most = _most(outcome)
    if most is None:
        return finding(
            "verdict",
            f"{name} fails: there is no zone that it could come from.",
            result=FAILS,
            order=request.order,
        )
    if not request.may_reclaim:
        result, verb = FAILS, "fails in"
    elif most.result == SHORT or way.compaction is None:
        result, verb = WAITS, "has to wait for memory to be reclaimed in"
    elif way.could_make:
        result, verb = WAITS, "has to wait for compaction in"
    elif request.gives_up:
        result, verb = FAILS, "fails, unless memory is freed, in"
    else:
        result, verb = WAITS, "has to wait until memory is freed in"
    zone = most.zone
    sentence = (
        f"{name} {verb} {zone_label(zone, _nodes(outcome))}:"
        f" {_why(most, request.order, page_size)}"
    )
    if way.compaction is not None:
        sentence += f"; {_compaction(way, request.order)}"
    if way.owners:
        sentence += (
            f"; {_blocks(way.blocks, request.order)} would be free but for pages of"
            f" {' and '.join(way.owners)}{once_moved(way.blocks, way.at_once)}"
        )
    return finding(
        "verdict",
        f"{sentence}.",
        result=result,
        node=zone.node,
        zone=zone.name,
        order=request.order,
    )


def verdict_of_report(report: Report, outcome: Outcome | None, page_size: int) -> Row:
    """
    Say what became of an allocation that was logged.

    :param outcome: what its own report says of the zones; None where it says nothing
    """
    sentences = []
    if report.constraint == "CONSTRAINT_MEMCG":
        sentences.append(
            f"The memory cgroup {report.memcg or ''} was at its limit, whatever was"
            " free elsewhere".replace("  ", " ")
        )
    elif outcome is None:
        sentences.append(
            "The report does not say what was free: it has no zones, or they are lost"
        )
    else:
        sentences.append(_past(report, outcome, page_size))
    if report.kind == OOM_KILL:
        if report.victim_pid is None:
            sentences.append("Whom the kernel killed is not in the report")
        else:
            held = (
                ""
                if report.victim_kib is None
                else f", which had {size(report.victim_kib * 1024)} mapped"
            )
            sentences.append(
                f"The kernel killed {report.victim} ({report.victim_pid}){held}"
            )
    most = None if outcome is None else _most(outcome)
    return finding(
        "verdict",
        ". ".join(sentences) + ".",
        result=WAITS if report.kind == STALL else FAILS,
        node=None if most is None else most.zone.node,
        zone=None if most is None else most.zone.name,
        order=report.order,
    )


def _past(report: Report, outcome: Outcome, page_size: int) -> str:
    order = outcome.request.order
    if report.order == -1:
        return "Somebody asked for the OOM killer, and no allocation had failed"
    what = f"An order-{order} allocation by {report.comm}"
    what += (
        f" had waited for {(report.stalled_ms or 0) / 1000:g} s"
        if report.kind == STALL
        else " found nothing"
        if report.kind == OOM_KILL
        else " failed"
    )
    if outcome.zone is not None:
        return (
            f"{what}, though by its own report {outcome.zone.name} could give it:"
            " memory became free meanwhile, or the allocation was bound to other nodes"
        )
    most = _most(outcome)
    if most is None:
        return f"{what}: there was no zone that it could come from"
    return (
        f"{what} in {zone_label(most.zone, _nodes(outcome))}:"
        f" {_why(most, order, page_size, past=True)}"
    )


def _nodes(outcome: Outcome) -> int:
    return len({each.zone.node for each in outcome.attempts})


def _most(outcome: Outcome) -> Attempt | None:
    """The zone that has most pages that the allocation could have."""
    return max(
        outcome.attempts, key=lambda each: each.zone.free - each.need, default=None
    )


def _why(attempt: Attempt, order: int, page_size: int, *, past: bool = False) -> str:
    are = "were" if past else "are"
    free = f"{_free(attempt.zone.free, page_size)} {are} free"
    if attempt.result == IN_PIECES:
        return f"{free}, none in pieces of {1 << order} pages"
    if attempt.result == NO_TYPE:
        return f"{free}, in large pieces only of types that it may not take"
    have = "had" if past else "have"
    return f"{free}, and {_free(attempt.need, page_size)} {have} to be"


def _free(pages: int, page_size: int) -> str:
    return size(pages * page_size)


def _compaction(way: InTheWay, order: int) -> str:
    if way.could_make:
        return f"compaction could make up to {_blocks(way.could_make, order)}"
    results = {result for result, _ in way.compaction or ()}
    if DEFERRED in results:
        return "compaction has failed too often to be tried again soon"
    return (
        "too few for compaction to be tried"
        if SHORT in results
        else "compaction can make none"
    )


def _blocks(count: int, order: int) -> str:
    return f"{count} block{'' if count == 1 else 's'} of {1 << order} pages"

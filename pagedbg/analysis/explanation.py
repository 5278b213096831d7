# SPDX-License-Identifier: GPL-2.0-or-later
"""
Why an allocation fails: what is known of it as findings, each a row of
:data:`pagedbg.schema.explanation_columns.EXPLANATION` with a sentence that says the
same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pagedbg.analysis.allocation_attempt import (
    COULD,
    GIVES,
    IN_PIECES,
    SHORT,
    Attempt,
    Outcome,
    Request,
)
from pagedbg.analysis.compaction import (
    CANNOT_HELP,
    COULD_HELP,
    DEFERRED,
    Chance,
    FreeList,
)
from pagedbg.mm.page_alloc import (
    CMA,
    FALLBACKS,
    HIGHATOMIC,
    AllocFlags,
    ZoneState,
    fragmentation_index,
    unusable_free_index,
)
from pagedbg.schema.explanation_columns import EXPLANATION
from pagedbg.schema.sizes import size
from pagedbg.schema.table import Row

__all__ = (
    "FAILS",
    "SUCCEEDS",
    "WAITS",
    "Findings",
    "finding",
    "once_moved",
    "owner_name",
    "zone_label",
)

SUCCEEDS, WAITS, FAILS = "succeeds", "waits", "fails"

_COLUMNS = tuple(column.name for column in EXPLANATION)


def finding(topic: str, sentence: str, **values: Any) -> Row:
    """Make a row of some values; all others are null."""
    values |= {"topic": topic, "finding": sentence}
    assert values.keys() <= set(_COLUMNS)
    return [values.get(name) for name in _COLUMNS]


def zone_label(zone: ZoneState, nodes: int) -> str:
    """What a zone is called on a machine of so many nodes."""
    return zone.name if nodes == 1 else f"{zone.name} of node {zone.node}"


class Findings:
    """
    Says what is known of one allocation.

    :param outcome: what becomes of it, or became
    :param page_size: in bytes
    :param past: whether it is one that was logged
    """

    def __init__(
        self,
        outcome: Outcome,
        page_size: int,
        *,
        past: bool = False,
    ) -> None:
        self._outcome, self._page_size, self._past = outcome, page_size, past
        self._request: Request = outcome.request
        self._nodes = len({each.zone.node for each in outcome.attempts})
        self._are = "were" if past else "are"

    @property
    def pieces(self) -> str:
        """What is asked for: ``16 pages``."""
        count = 1 << self._request.order
        return "1 page" if count == 1 else f"{count} pages"

    def request(self, **values: Any) -> Row:
        """What is asked for."""
        request = self._request
        together = " that lie together" if request.order else ""
        whence = ", ".join(self._label(each.zone) for each in self._outcome.attempts)
        return finding(
            "request",
            f"{self.pieces}{together} ({self._size(1 << request.order)}), order"
            f" {request.order}, {request.gfp or '0'}: {request.migratetype}, from"
            f" {whence or 'no zone that there is'}.",
            order=request.order,
            gfp=request.gfp,
            migratetype=request.migratetype,
            pages=1 << request.order,
            **values,
        )

    # ---- zones ----

    def zones(self) -> Iterator[Row]:
        """What each zone has, in the order in which they are asked."""
        flags = self._request.last_flags
        for each in self._outcome.attempts:
            zone, order = each.zone, self._request.order
            highest = self._request.highest_zone
            stuck = sum(
                count << smaller for smaller, count in enumerate(zone.blocks[:order])
            )
            yield finding(
                "zone",
                f"{self._label(zone)} {self._zone(each)}.",
                node=zone.node,
                zone=zone.name,
                order=order,
                result=each.result,
                free=zone.free,
                need=each.need,
                withheld=(
                    (zone.lowmem_reserve[highest : highest + 1] or (0,))[0]
                    + (0 if flags.reserves else zone.free_highatomic)
                    + (0 if flags.cma else zone.free_cma)
                ),
                stuck=stuck,
                unusable_index=unusable_free_index(zone.blocks, order),
                fragmentation_index=fragmentation_index(zone.blocks, order),
                blocks=sum(zone.blocks[order:]),
            )

    def _zone(self, attempt: Attempt) -> str:
        zone, past = attempt.zone, self._past
        block = attempt.block
        if attempt.result in (GIVES, COULD) and block is not None:
            verb = (
                ("gave it" if past else "gives it")
                if attempt.result == GIVES
                else "could have given it, too"
                if past
                else "could give it, too"
            )
            return f"{verb}: from {block.migratetype} blocks of order {block.order}"
        free = f"{zone.free} pages {self._are} free"
        if attempt.result == SHORT:
            return (
                f"{'was' if past else 'is'} short of memory: {free}, and"
                f" {attempt.need} have to be"
            )
        if attempt.result == IN_PIECES:
            largest = max((o for o, n in enumerate(zone.blocks) if n), default=0)
            return (
                f"{'was' if past else 'is'} in pieces: {free}, in blocks of"
                f" {1 << largest} at most"
            )
        return (
            f"{'had' if past else 'has'} blocks that are large enough, but none of a"
            " type that this allocation may take"
        )

    # ---- free blocks ----

    def lists(self, lists: Sequence[FreeList]) -> Iterator[Row]:
        """The free blocks by order and migratetype, and which of them may be taken."""
        wanted = self._usable_types(self._request.last_flags)
        for each in lists:
            types = {each.migratetype} if each.migratetype else each.types
            usable = bool(
                each.order >= self._request.order
                and each.blocks != 0
                and not wanted.isdisjoint(types)
            )
            count = "an unknown number of" if each.blocks is None else each.blocks
            named = each.migratetype or ", ".join(sorted(each.types)) or "no"
            may = "may" if usable else "may not"
            yield finding(
                "blocks",
                f"{each.zone} has {count} free blocks of order {each.order}"
                f" ({named} type): they {may} be taken.",
                node=each.node,
                zone=each.zone,
                migratetype=each.migratetype,
                order=each.order,
                blocks=each.blocks,
                pages=None if each.blocks is None else each.blocks << each.order,
                usable=usable,
            )

    def _usable_types(self, flags: AllocFlags) -> set[str]:
        asked = self._request.migratetype
        found = {asked, *FALLBACKS.get(asked, ())}
        if flags.cma:
            found.add(CMA)
        if flags.highatomic or flags.non_block:
            found.add(HIGHATOMIC)
        return found

    # ---- what could help ----

    def compaction(self, chances: Sequence[Chance]) -> Iterator[Row]:
        """The same as rows."""
        for zone, result, blocks, targets in chances:
            pages = self.pieces
            what = {
                COULD_HELP: f"could make up to {blocks} blocks of {pages}",
                SHORT: "is not tried, since too few pages are free",
                DEFERRED: (
                    "has failed, and is not tried the next"
                    f" {'time' if zone.deferred == 1 else f'{zone.deferred} times'}"
                ),
                CANNOT_HELP: f"can make no block of {pages}",
            }[result]
            if zone.deferred is None:
                what = "is not built into this kernel"
            held = f", {zone.pinned} more are pinned" if zone.pinned else ""
            yield finding(
                "compaction",
                f"In {self._label(zone.zone)} compaction {what}: {zone.movable} pages"
                f" can be moved{held}, and {targets} are free where it moves them.",
                node=zone.zone.node,
                zone=zone.zone.name,
                order=self._request.order,
                result=result,
                free=targets,
                blocks=blocks,
                movable=zone.movable,
                pinned=zone.pinned,
            )

    def owner(
        self,
        step: int,
        blocks: int,
        at_once: int,
        total: int,
        owners: Sequence[Mapping[str, Any]],
    ) -> Iterator[Row]:
        """
        Who would leave blocks free.

        :param step: counted from 1
        :param blocks: how many are left free by this step
        :param at_once: in how many of these nothing has to be moved
        :param total: the same with all steps before
        :param owners: for each who lets go at this step its ``module``, ``function``,
            ``comm`` and ``stack``, as far as they are told apart by these
        """
        names = " and ".join(owner_name(owner) for owner in owners)
        also = "also " if step > 1 else ""
        so_far = f", {total} with those before" if step > 1 else ""
        when = once_moved(blocks, at_once) or " at once"
        for owner in owners:
            yield finding(
                "owners",
                f"If {names} {also}let{'s' if len(owners) == 1 else ''} go, {blocks}"
                f" blocks of {self.pieces} are free{when}{so_far}.",
                order=self._request.order,
                blocks=blocks,
                step=step,
                at_once=at_once,
                **owner,
            )

    def _label(self, zone: ZoneState) -> str:
        return zone_label(zone, self._nodes)

    def _size(self, pages: int) -> str:
        return size(pages * self._page_size)


def once_moved(blocks: int, at_once: int) -> str:
    """Of blocks that somebody would leave free, how many only when pages are moved."""
    if at_once == blocks:
        return ""
    some = f", {blocks - at_once} of them" if at_once else ""
    return f"{some} once what is movable has been moved"


def owner_name(owner: Mapping[str, Any]) -> str:
    """What an owner is called in a sentence: ``leaky_rx_refill [leaky]``."""
    name = owner.get("function") or owner.get("comm") or ""
    if not name and owner.get("stack"):
        name = owner["stack"][0]
    module = owner.get("module")
    if not name:
        return f"module {module}" if module else "an unknown owner"
    return f"{name} [{module}]" if module else str(name)

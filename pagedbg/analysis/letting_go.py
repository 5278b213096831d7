# SPDX-License-Identifier: GPL-2.0-or-later
"""Whom to ask first to let go of pages, so that most blocks become wholly free."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ("LetGo", "steps_of")

_Owners = frozenset[tuple[Any, ...]]


class LetGo(NamedTuple):
    """
    What happens when some owners let go of all their pages, after those of the steps
    before have.
    """

    owners: tuple[tuple[Any, ...], ...]
    """Who lets go now: for each the values of the keys."""
    pageblocks: int
    """How many blocks nobody holds any more that were held before."""
    at_once: int
    """In how many of these nothing has to be moved."""
    total: int
    """The same with all steps before."""
    first_pfn: int
    """The first page frame number of one of these blocks."""


def steps_of(held: Mapping[_Owners, tuple[int, int, int]], most: int) -> list[LetGo]:
    """
    Choose step by step: those few who together free most blocks for each of them.

    :param held: by who holds them, how many blocks there are, in how many of them
        nothing has to be moved, and the first page frame number of one
    :param most: how many owners let go at most
    """
    sets = dict(held)
    steps: list[LetGo] = []
    gone: frozenset[tuple[Any, ...]] = frozenset()
    total = 0
    while sets:
        best = max(
            (each | gone for each in sets if len(each | gone) <= most),
            key=lambda wanted: (
                sum(sets[each][0] for each in sets if each <= wanted)
                / len(wanted - gone),
                -len(wanted),
            ),
            default=None,
        )
        if best is None:
            break
        freed = [each for each in sets if each <= best]
        counts, at_once, firsts = zip(*(sets[each] for each in freed), strict=True)
        total += sum(counts)
        now = tuple(sorted(best - gone, key=str))
        steps.append(LetGo(now, sum(counts), sum(at_once), total, min(firsts)))
        gone = best
        for each in freed:
            del sets[each]
    return steps

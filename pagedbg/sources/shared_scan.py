# SPDX-License-Identifier: GPL-2.0-or-later
"""Scans of all records of page_owner that several processes do together."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
from drgn import Program
from numpy.typing import NDArray

from pagedbg.analysis.keys import KEYS, PAGE_COLUMNS
from pagedbg.mm.page_owner_blocks import block_spans
from pagedbg.parallel import in_processes
from pagedbg.progress import measured

__all__ = ("Columns", "joined", "shared_scan", "spans_to_share")

Columns = dict[str, NDArray[Any]]

# Parts of memory that a process has to read to be worth its while: what of its memory
# it shares with the first one is copied when it is written to, which takes as long as
# to read some of them.
_LEAST = 16

_Result = TypeVar("_Result")


def spans_to_share(
    prog: Program, args: argparse.Namespace, jobs: int, start: int, end: int | None
) -> list[tuple[int, int]]:
    """
    The parts of memory to read by several processes; none where one process does
    better: there is little to read, or they would come to know of stacks and of what
    pages point to, which this one would have to find again.

    :param args: ``by`` and what the filters have parsed
    :param jobs: how many processes, at most
    """
    numbers = {number for name in args.by for number in KEYS[name].numbers}
    names = any((args.stack, args.module, args.kind, args.memcg))
    if jobs < 2 or names or numbers & set(PAGE_COLUMNS):
        return []
    spans = block_spans(prog, start, end)
    return spans if _jobs(spans, jobs) > 1 else []


def _jobs(spans: Sequence[tuple[int, int]], jobs: int) -> int:
    """How many processes are worth their while, of so many at most."""
    return min(jobs, len(spans) // _LEAST)


def shared_scan(
    spans: Sequence[tuple[int, int]],
    work: Callable[[tuple[int, int]], _Result],
    jobs: int,
) -> Iterator[_Result]:
    """
    Have several processes look at parts of memory.

    :param spans: the parts, as :func:`pagedbg.mm.page_owner_blocks.block_spans`
    :param jobs: how many processes, at most
    :return: what is found in each of them, in order
    """
    total = sum(end - start for start, end in spans)
    with measured("reading records of pages", total, "pages") as advance:
        found = in_processes(work, spans, _jobs(spans, jobs))
        for (start, end), part in zip(spans, found, strict=True):
            yield part
            advance(end - start)


def joined(parts: Sequence[Columns]) -> Columns | None:
    """The rows of several, one behind the other; None if there are no parts."""
    if not parts:
        return None
    return {
        # In the machine's byte order.
        name: np.concatenate(
            [part[name] for part in parts], dtype=found.dtype.newbyteorder("=")
        )
        for name, found in parts[0].items()
    }

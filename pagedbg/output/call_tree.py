# SPDX-License-Identifier: GPL-2.0-or-later
"""The stacks of a table as a tree of calls, with how much each call path has."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from pagedbg.schema.sizes import size
from pagedbg.schema.stack_ids import FRAME
from pagedbg.schema.table import Table
from pagedbg.sources.stack_frames import allocator_frames

__all__ = (
    "Call",
    "CallTree",
    "WeighedStack",
    "call_path",
    "call_tree",
    "function_names",
    "weighed_stacks",
)

# What a stack weighs, by the columns that a table may have; else each row is one.
_WEIGHTS = ("pages", "blocks", "count")

_NO_STACK = "(no stack)"


@dataclasses.dataclass(frozen=True)
class WeighedStack:
    """A stack, innermost frame first, and what the rows with it have."""

    frames: Sequence[str]
    weight: int
    bytes: int


@dataclasses.dataclass
class Call:
    """
    A function where one call path comes to it; ``weight`` is that of all paths on from
    there.
    """

    name: str
    weight: int = 0
    calls: dict[str, Call] = dataclasses.field(default_factory=dict)

    @property
    def sorted(self) -> list[Call]:
        """Where the path goes on, the heaviest first."""
        return sorted(self.calls.values(), key=lambda each: (-each.weight, each.name))


@dataclasses.dataclass(frozen=True)
class CallTree:
    """
    All calls below one ``root``. ``unit`` is what is counted; ``bytes`` are those of
    the root, 0 where they are not known.
    """

    root: Call
    unit: str
    bytes: int

    def amount(self, call: Call) -> str:
        """Say what a call has, in words."""
        total = max(self.root.weight, 1)
        parts = [f"{call.weight:,} {self.unit}"]
        if self.bytes:
            parts.append(size(self.bytes * call.weight // total))
        return f"{', '.join(parts)}, {100 * call.weight / total:.1f}%"


def weighed_stacks(table: Table) -> tuple[str, Iterator[WeighedStack]]:
    """
    Take the stacks out of a table.

    :return: what is counted, and each stack once
    """
    names = [column.name for column in table.columns]
    unit = next((name for name in _WEIGHTS if name in names), "rows")
    return unit, _weighed(table, names, unit)


def _weighed(table: Table, names: Sequence[str], unit: str) -> Iterator[WeighedStack]:
    stack = names.index("stack")
    weight = names.index(unit) if unit in names else None
    of_bytes = names.index("bytes") if "bytes" in names else None
    sums: dict[tuple[str, ...], list[int]] = {}
    for rows in table.batches:
        for row in rows:
            found = sums.setdefault(tuple(row[stack] or ()), [0, 0])
            found[0] += 1 if weight is None else int(row[weight] or 0)
            found[1] += 0 if of_bytes is None else int(row[of_bytes] or 0)
    for frames, (each, size_) in sums.items():
        yield WeighedStack(frames, each, size_)


def function_names(frames: Sequence[str]) -> list[str]:
    """The functions of frames, with the module that each is of."""
    return [_name(frame) for frame in frames] or [_NO_STACK]


def call_path(
    frames: Sequence[str], *, inverted: bool, allocator: bool
) -> Sequence[str]:
    """
    The functions of a stack, as :func:`call_tree` goes through them.

    :param frames: innermost first
    """
    if not allocator:
        # Where there is nothing else, that is who it was.
        frames = frames[min(allocator_frames(frames), max(len(frames) - 1, 0)) :]
    names = function_names(frames)
    return names[::-1] if inverted else names


def call_tree(table: Table, *, inverted: bool, allocator: bool) -> CallTree:
    """
    Join the stacks of a table.

    :param inverted: whether to begin with the outermost frames, and not with whoever
        asked the allocator
    :param allocator: whether to keep the frames of the allocator itself
    """
    unit, stacks = weighed_stacks(table)
    root, total = Call("all"), 0
    for stack in stacks:
        root.weight += stack.weight
        total += stack.bytes
        here = root
        for name in call_path(stack.frames, inverted=inverted, allocator=allocator):
            here = here.calls.setdefault(name, Call(name))
            here.weight += stack.weight
    return CallTree(root, unit, total)


def _name(frame: str) -> str:
    match = FRAME.fullmatch(frame)
    if match is None:
        return frame
    module = match["module"]
    return f"{match['symbol']} [{module}]" if module else match["symbol"]

# SPDX-License-Identifier: GPL-2.0-or-later
"""How page frames, blocks, times and names are written in text for people."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = (
    "age",
    "line",
    "or_unknown",
    "pfn_range",
    "pfn_ranges",
    "position",
    "seconds",
)


def line(name: str, text: str) -> str:
    """Return a line of a record: a name, and what is said under it."""
    return f"  {name:14}{text}"


def pfn_range(start: int, end: int) -> str:
    """Write page frames from the first to the one after the last."""
    return f"{start:#x}-{end - 1:#x}" if end - start > 1 else f"{start:#x}"


def position(pfn: int, head: int, pages: int) -> str:
    """Say where a page is in the block that begins at *head*."""
    if pages == 1:
        return f"{head:#x}"
    return f"{pfn_range(head, head + pages)} ({pages} pages), this is " + (
        "its head" if pfn == head else f"tail {pfn - head}"
    )


def pfn_ranges(parts: Iterable[tuple[int, int]]) -> str:
    """
    Write page frames as ranges: eight of them at most.

    :param parts: the first page frame of each range, and how many there are
    """
    ranges = [pfn_range(first, first + pages) for first, pages in parts]
    return ", ".join(ranges[:8]) + (
        f" and {len(ranges) - 8} more" if len(ranges) > 8 else ""
    )


def seconds(nanoseconds: int | None) -> str:
    """Write a time since boot."""
    return (
        f"{nanoseconds // 10**9}.{nanoseconds % 10**9:09} s"
        if nanoseconds is not None
        else "an unknown time"
    )


def age(nanoseconds: int | None) -> str:
    """Say how long ago something was."""
    if nanoseconds is None:
        return "no clock to say how long ago"
    # The clock is read from run queues, which it may be ahead of by a tick.
    elapsed = max(nanoseconds, 0) / 1e9
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if elapsed >= 2 * length:
            return f"{elapsed / length:.1f} {unit} ago"
    return f"{elapsed:.3f} s ago"


def or_unknown(value: object) -> str:
    """Write a value, or a question mark for none."""
    return "?" if value is None else str(value)

# SPDX-License-Identifier: GPL-2.0-or-later
"""
The filters that are the same words in every command: their grammar, and how they choose
rows of NumPy columns.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pagedbg.errors import UsageError
from pagedbg.schema.nearest import did_you_mean

Mask = NDArray[np.bool_]

_GOLDEN_RATIO_64 = np.uint64(0x61C8864680B583EB)  # include/linux/hash.h
_UNITS = {
    "": 10**9,
    "ns": 1,
    "us": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
    "d": 86400 * 10**9,
}
_HIGHEST = (1 << 63) - 1
_PFN_LIMIT = 1 << 52  # 64 bits of address with pages of 4 KiB


def number(text: str) -> int:
    """A decimal or ``0x`` number; a word with digits a to f counts as hexadecimal."""
    try:
        return int(text, 0) if not re.fullmatch(r"0\d+", text) else int(text)
    except ValueError:
        pass
    if re.fullmatch(r"(?i)[0-9a-f]*[a-f][0-9a-f]*", text):
        return int(text, 16)
    raise UsageError(f"{text!r} is not a number; write 4660 or 0x1234")


@dataclasses.dataclass(frozen=True)
class Ranges:
    """Closed ranges of numbers."""

    ranges: tuple[tuple[int, int], ...]

    def mask(self, values: NDArray[Any]) -> Mask:
        """Which of the values lie in one of the ranges."""
        chosen = np.zeros(len(values), np.bool_)
        for low, high in self.ranges:
            chosen |= (values >= low) & (values <= high)
        return chosen


def parse_numbers(text: str) -> Ranges:
    """``4``, ``-1``, ``4-9``, ``>=3``, ``<3``, and several with commas."""
    return Ranges(tuple(_range(part.strip()) for part in text.split(",")))


def _range(text: str) -> tuple[int, int]:
    # What is called by such numbers has them in decimals, and a word is a mistake.
    for word in re.findall(r"\w+", text):
        if not re.fullmatch(r"\d+|0[xobXOB]\w+", word):
            raise UsageError(f"{word!r} is not a number; write 12, 10-19 or '>=3'")
    if match := re.fullmatch(r"(>=|<=|>|<)\s*(\w+)", text):
        limit = number(match[2])
        pair = {
            ">=": (limit, _HIGHEST),
            ">": (limit + 1, _HIGHEST),
            "<=": (0, limit),
            "<": (0, limit - 1),
        }[match[1]]
    elif re.fullmatch(r"-\d+", text):
        pair = int(text), int(text)
    else:
        low, dash, high = text.partition("-")
        pair = number(low), number(high) if dash else number(low)
    if pair[0] > pair[1]:
        raise UsageError(f"{text!r} is an empty range")
    return pair


@dataclasses.dataclass(frozen=True)
class Orders:
    """Allocation orders, each with the percentage of its allocations that take part."""

    parts: tuple[tuple[int, int, float], ...]

    def mask(self, orders: NDArray[Any], keys: NDArray[np.uint64]) -> Mask:
        """
        Which allocations take part.

        :param keys: what chooses an allocation: its time stamp, or its pfn where there
            is none
        """
        chosen = np.zeros(len(orders), np.bool_)
        for low, high, percent in self.parts:
            here = (orders >= low) & (orders <= high)
            chosen |= here if percent >= 100 else here & participates(keys, percent)
        return chosen


def participates(keys: NDArray[np.uint64], percent: float) -> Mask:
    """
    Which allocations are among a percentage of all, the same for whatever happens to
    one of them.

    A key takes part if its :func:`participation_hash` is below the
    :func:`threshold` of the percentage.
    """
    chosen: Mask = participation_hash(keys) < np.uint64(threshold(percent))
    return chosen


def threshold(percent: float) -> int:
    """That percentage of 1 << 32, cut to a whole number."""
    return int((1 << 32) * percent / 100)


def participation_hash(keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """
    32 bits of each key, by which BPF programs and the module choose, too:
    ``pagedbg_hash()`` of ``bpf/ring.h``.

    The kernel's ``hash_64()`` is the last of its three steps. Alone, it leaves the
    times of a loop that allocates as regular as they were.
    """
    mixed = keys.astype(np.uint64) * _GOLDEN_RATIO_64
    mixed ^= mixed >> np.uint64(32)
    return (mixed * _GOLDEN_RATIO_64) >> np.uint64(32)


def parse_orders(text: str) -> Orders:
    """
    ``4``, ``4-9``, ``>=3``, ``0:20,1:50,4``: what follows a colon is the percentage
    that takes part.
    """
    parts = []
    for part in text.split(","):
        orders, colon, percent = part.strip().partition(":")
        try:
            low, high = _range(orders)
            if low < 0:
                raise UsageError("there is no such order")
            share = float(percent) if colon else 100.0
        except (UsageError, ValueError):
            raise UsageError(
                f"{part.strip()!r} names no orders; write 4, 4-9, '>=3' or 0:20,1:50,4"
                " (order:percent)"
            ) from None
        if not 0 <= share <= 100:
            raise UsageError(
                f"{percent} is no percentage; write a number from 0 to 100 behind the"
                " colon"
            )
        parts.append((low, high, share))
    return Orders(tuple(parts))


def parse_all_of_orders(text: str) -> Orders:
    """
    As :func:`parse_orders`, for what was recorded or is on record: to take a share of
    that would make sums that look like all of it.
    """
    orders = parse_orders(text)
    if ":" in text:
        plain = ",".join(part.partition(":")[0].strip() for part in text.split(","))
        raise UsageError(
            f"which share of an order takes part is said when it is recorded (trace"
            f" set --orders {text}); here write {plain}"
        )
    return orders


def parse_pfns(text: str) -> tuple[int, int]:
    """
    ``A``, ``A-B`` (both included) or ``A+N`` as the half-open range of page frame
    numbers ``(start, end)``.
    """
    if "+" in text:
        first, _, count = text.partition("+")
        start, end = number(first), number(first) + number(count)
    else:
        first, dash, last = text.partition("-")
        start, end = number(first), (number(last) if dash else number(first)) + 1
    if end <= start:
        raise UsageError(
            f"{text!r} is an empty range of pages; write 0x1000-0x1fff or 0x1000+512"
        )
    if end > _PFN_LIMIT:
        raise UsageError(f"{text!r} lies beyond all page frame numbers")
    return start, end


@dataclasses.dataclass(frozen=True)
class Age:
    """Ages between two limits, in nanoseconds."""

    low: int
    high: int

    def mask(self, ages: NDArray[np.int64]) -> Mask:
        """Which of the ages lie between the limits."""
        chosen: Mask = (ages >= self.low) & (ages <= self.high)
        return chosen


def parse_age(text: str) -> Age:
    """
    ``>10s``, ``<5m``, ``10s-1m``; ``10s`` alone is the least age. Units: ns, us, ms, s,
    m, h, d.
    """
    stripped = text.strip()
    if match := re.fullmatch(r"(>=|>|<=|<)\s*(.+)", stripped):
        limit = duration(match[2])
        return Age(limit, _HIGHEST) if match[1][0] == ">" else Age(-_HIGHEST, limit)
    low, dash, high = stripped.partition("-")
    age = Age(duration(low), duration(high) if dash else _HIGHEST)
    if age.low > age.high:
        raise UsageError(f"{text!r} is an empty range; write {high}-{low}")
    return age


def duration(text: str) -> int:
    """``10s``, ``1.5h`` in nanoseconds; units as in :func:`parse_age`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text.strip())
    if not match or match[2] not in _UNITS:
        raise UsageError(f"{text!r} is no time span; write 10s, 5m, 2h or 1d")
    return int(min(float(match[1]) * _UNITS[match[2]], _HIGHEST))


@dataclasses.dataclass(frozen=True)
class NamePatterns:
    """Names or shell patterns, of which one has to match."""

    patterns: tuple[str, ...]
    ignore_case: bool = False

    def __call__(self, name: str | None) -> bool:
        if name is None:
            return False
        if self.ignore_case:
            return any(
                fnmatch.fnmatchcase(name.lower(), pattern.lower())
                for pattern in self.patterns
            )
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self.patterns)


def parse_names(text: str, ignore_case: bool = False) -> NamePatterns:
    """
    Names separated by commas; ``*``, ``?`` and ``[…]`` match as in a shell. A comma in
    brackets is one of a name.
    """
    parts = re.findall(r"(?:\[[^]]*\]|[^,])+", text)
    patterns = tuple(part.strip() for part in parts if part.strip())
    if not patterns:
        raise UsageError("a name is missing")
    return NamePatterns(patterns, ignore_case)


def parse_kinds(text: str, known: Sequence[str], what: str) -> NamePatterns:
    """
    Like :func:`parse_names` for names of which all are known: one that matches none of
    them is refused.
    """
    names = parse_names(text, ignore_case=True)
    for pattern in names.patterns:
        if not any(NamePatterns((pattern,), True)(name) for name in known):
            near = did_you_mean(pattern, known) or f", only {', '.join(known)}"
            raise UsageError(f"there is no {what} {pattern!r} here{near}")
    return names


def parse_regex(text: str) -> Callable[[Sequence[str]], bool]:
    """A regular expression that has to be found in one of a stack's lines."""
    try:
        with warnings.catch_warnings():
            # "[[]" may mean something else to a later Python.
            warnings.simplefilter("ignore", FutureWarning)
            pattern = re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        # What is wrong is said with a part of the text, of which a line may end in it.
        why = " ".join(str(error).split())
        raise UsageError(f"{text!r} is no regular expression: {why}") from None
    return lambda stack: any(pattern.search(frame) for frame in stack)


def named(option: str, parse: Callable[[], Any]) -> Any:
    """Say which option was wrong, for those that only the target can check."""
    try:
        return parse()
    except UsageError as error:
        raise UsageError(f"{option}: {error}") from None

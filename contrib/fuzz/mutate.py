# SPDX-License-Identifier: GPL-2.0-or-later
"""
How numbers and bytes are damaged: by values at the edges of what can be held, and by
what stands elsewhere in the same file.
"""

from __future__ import annotations

import dataclasses

import numpy as np

Choice = np.random.Generator

EDGES = sorted(
    {
        value + off
        for value in (
            0,
            *(
                1 << bits
                for bits in (
                    3,
                    4,
                    6,
                    7,
                    8,
                    12,
                    15,
                    16,
                    20,
                    21,
                    24,
                    26,
                    30,
                    31,
                    32,
                    33,
                    40,
                    47,
                    48,
                    52,
                    56,
                    62,
                    63,
                    64,
                )
            ),
        )
        for off in (-1, 0, 1)
        if 0 <= value + off < 1 << 64
    }
)
POISON = (
    0xDEAD_0000_0000_0100,
    0x6B6B_6B6B_6B6B_6B6B,
    0x5A5A_5A5A_5A5A_5A5A,
    0x4141_4141_4141_4141,
    0x7F45_4C46,
    0xEB9F,
)
TEXT = b"\x1b]0;x\x07\x1b[2J\n\r\t'\"`!|;$(reboot)\xe2\x80\xa8\xc2\x9b\xff\xfe"


def one(choice: Choice, most: int) -> int:
    """A number below ``most``."""
    return int(choice.integers(most))


def few(choice: Choice, most: int = 64) -> int:
    """A number from 1 to ``most``; small ones are likely."""
    return (
        min(int(choice.geometric(0.35)), most)
        if choice.random() < 0.8
        else 1 + one(choice, most)
    )


def number(choice: Choice, old: int, size: int) -> int:
    """Another value for a number of ``size`` bytes."""
    mask = (1 << 8 * size) - 1
    kind = one(choice, 8)
    if kind == 0:
        return EDGES[one(choice, len(EDGES))] & mask
    if kind == 1:
        return (old + (1, -1, 8, -8, 4096, -4096)[one(choice, 6)]) & mask
    if kind == 2:
        return old ^ 1 << one(choice, 8 * size)
    if kind == 3:
        return int.from_bytes(choice.bytes(size), "little")
    if kind == 4:
        return POISON[one(choice, len(POISON))] & mask
    if kind == 5:
        return (old << (1, 4, 8, 16)[one(choice, 4)]) & mask
    return (0, mask, mask >> 1, mask >> 1 ^ mask)[one(choice, 4)]


@dataclasses.dataclass(frozen=True)
class Place:
    """Some bytes of a file or of memory that are of one kind: where, and how many."""

    at: int
    size: int


def words(
    choice: Choice, place: Place, data: bytes, neighbours: list[Place]
) -> list[tuple[int, bytes]]:
    """
    Damage bytes that hold numbers, pointers and text.

    :param data: what is there now
    :param neighbours: other places of the same kind, whose addresses are as good as any
    :return: what to write where
    """
    size = min((8, 8, 8, 4, 4, 2, 1)[one(choice, 7)], len(data))
    at = one(choice, max(len(data) // size, 1)) * size
    old = int.from_bytes(data[at : at + size], "little")
    kind = one(choice, 12)
    if kind < 6:
        return [(place.at + at, number(choice, old, size).to_bytes(size, "little"))]
    at = at // 8 * 8
    if kind == 6:
        # A pointer to itself, or into another of its kind: lists that never end.
        other = (
            neighbours[one(choice, len(neighbours))]
            if neighbours and choice.random() < 0.7
            else place
        )
        return [
            (
                place.at + at,
                (
                    other.at
                    + (0 if choice.random() < 0.5 else one(choice, other.size) // 8 * 8)
                ).to_bytes(8, "little"),
            )
        ]
    if kind == 7:
        # Two words swapped.
        second = one(choice, max(len(data) // 8, 1)) * 8
        return [
            (place.at + at, data[second : second + 8]),
            (place.at + second, data[at : at + 8]),
        ]
    length = min(1 << one(choice, 13), len(data) - at)
    if kind == 8:
        # What stands elsewhere, once more.
        source = one(choice, max(len(data) - length, 1))
        return [(place.at + at, data[source : source + length])]
    if kind == 9:
        return [(place.at + at, (TEXT * (length // len(TEXT) + 1))[:length])]
    if kind == 10:
        return [(place.at + at, choice.bytes(length))]
    return [(place.at + at, (b"\0", b"\xff")[one(choice, 2)] * length)]


def text(choice: Choice, lines: list[bytes]) -> list[bytes]:
    """Damage lines of ``KEY=VALUE``."""
    lines = list(lines)
    at = one(choice, len(lines))
    key, _, value = lines[at].partition(b"=")
    kind = one(choice, 9)
    if kind == 0:
        del lines[at]
    elif kind == 1:
        lines.insert(one(choice, len(lines)), lines[at])
    elif kind == 2:
        lines[at] = key + b"=" + lines[one(choice, len(lines))].partition(b"=")[2]
    elif kind == 3:
        lines[at] = key + b"." * (1 << one(choice, 12)) + b"=" + value
    elif kind == 4:
        lines[at] = key + b"=" + choice.bytes(1 + one(choice, 32)).replace(b"\n", b"")
    elif kind == 5:
        lines[at] = key + b"=" + TEXT.replace(b"\n", b"")
    elif kind == 6 and value:
        base = 16 if key.startswith((b"SYMBOL", b"KERNELOFFSET")) else 10
        try:
            new = number(choice, int(value, base) & (1 << 64) - 1, 8)
        except ValueError:
            new = EDGES[one(choice, len(EDGES))]
        lines[at] = key + b"=" + (f"{new:x}" if base == 16 else f"{new}").encode()
    elif kind == 7:
        lines[at] = key + b"=" + str(-EDGES[one(choice, len(EDGES))]).encode()
    else:
        lines[at] = b"="
    return lines

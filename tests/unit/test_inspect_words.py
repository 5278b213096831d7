# SPDX-License-Identifier: GPL-2.0-or-later
"""``inspect``: the words of its arguments and of its record."""

from __future__ import annotations

import pytest

from pagedbg.commands.inspect import _code
from pagedbg.errors import UsageError
from pagedbg.output.phrases import age, pfn_ranges, position, seconds
from pagedbg.output.printable import printable
from pagedbg.sources.page_address import parse_range


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4660", (4660, 4661, True)),
        ("0x1234", (0x1234, 0x1235, True)),
        ("12ab", (0x12AB, 0x12AC, True)),
        ("0x10-0x1f", (0x10, 0x20, False)),
        ("16+0x10", (16, 32, False)),
        ("7-7", (7, 8, False)),
    ],
)
def test_numbers_and_ranges(text: str, expected: tuple[int, int, bool]) -> None:
    assert parse_range(text) == expected


@pytest.mark.parametrize(
    "text", ["", "xyz", "-5", "5-4", "5+0", "0x", "1..2", "1-2-3", "+3"]
)
def test_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_range(text)


def test_place() -> None:
    assert position(0x10, 0x10, 1) == "0x10"
    assert position(0x10, 0x10, 8) == "0x10-0x17 (8 pages), this is its head"
    assert position(0x13, 0x10, 8) == "0x10-0x17 (8 pages), this is tail 3"


def test_ranges() -> None:
    assert pfn_ranges([(0x10, 2), (0x13, 1)]) == "0x10-0x11, 0x13"
    assert (
        pfn_ranges((pfn, 1) for pfn in range(0, 20, 2))
        == "0x0, 0x2, 0x4, 0x6, 0x8, 0xa, 0xc, 0xe and 2 more"
    )


def test_times() -> None:
    assert seconds(16267030585) == "16.267030585 s"
    assert age(-5) == "0.000 s ago"
    assert age(90 * 10**9) == "90.000 s ago"
    assert age(3 * 3600 * 10**9) == "3.0 hours ago"
    assert age(None) == "no clock to say how long ago"


def test_a_name_cannot_drive_the_terminal() -> None:
    assert printable("a\x1b[31mb") == "a\\x1b[31mb"


@pytest.mark.parametrize(
    ("what", "where"),
    [
        ("pfn", ["1"]),
        ("page", ["0x10+2"]),
        ("phys", ["1-2"]),
        ("virt", ["0xffff"]),
        ("task", ["1", "5+4096"]),
    ],
)
def test_python_is_valid(what: str, where: list[str]) -> None:
    compile(_code(what, where), "--drgn", "exec")

# SPDX-License-Identifier: GPL-2.0-or-later
"""A report without names: what is left out, and that it is so throughout."""

from __future__ import annotations

import re

import pytest

from pagedbg.output.call_tree import call_tree
from pagedbg.output.redaction import redacted
from pagedbg.output.report import Listing, MemoryReport, Section
from pagedbg.output.treemap import Part, treemap
from pagedbg.schema.table import Column, Table

COLUMNS = (
    *(Column("comm"), Column("file"), Column("detail"), Column("function")),
    *(Column("pfn", "hex"), Column("stack", "stack"), Column("words", "list")),
)
STACK = ["leaky_read+0x1/0x2", "0xffffffffc0123456"]
ROW = ("postgres", "/srv/data/1", "of postgres", "leaky", 0x1234, STACK, ["postgres"])


def section(*words: str) -> Section:
    columns = [Column("stack", "stack"), Column("pages", "int")]
    return Section(
        "owners",
        "Who",
        "Counted.",
        ["owners --comm 'postgres*'"],
        words=words,
        listings=[
            Listing("Of postgres", COLUMNS, [ROW, ("cat", None, *ROW[2:])]),
        ],
        pictures=[treemap([Part("postgres", 1, "1", "postgres")], "of postgres")],
        calls=call_tree(
            Table.of(columns, [(STACK, 3)]), inverted=False, allocator=False
        ),
    )


def said(*words: str) -> Section:
    """What is left of a section with some sentences."""
    known = {"host": ["db7"], "process": ["kswapd0", "kworker/0:1"]}
    report = MemoryReport("Memory of db7", "m", [section(*words)])
    return redacted(report, known).sections[0]


def test_a_name_has_one_stand_in() -> None:
    found = said("postgres and cat read /srv/data/1 on db7; postgres waits.")
    (listing,) = found.listings
    postgres, cat = (row[0] for row in listing.rows)
    path = listing.rows[0][1]
    assert postgres != cat
    assert all(re.fullmatch(r"\(process \d\)", name) for name in (postgres, cat))
    assert path == "(path 1)"
    assert found.words == [
        f"{postgres} and {cat} read {path} on (host 1); {postgres} waits."
    ]
    assert listing.caption == f"Of {postgres}"
    assert listing.rows[0][2] == f"of {postgres}"
    assert listing.rows[0][6] == [postgres]
    (picture,) = found.pictures
    assert picture.title == f"of {postgres}"
    assert picture.boxes[0].title == f"{postgres}: 1"


def test_what_is_no_name_stays() -> None:
    (row, _) = said().listings[0].rows
    assert row[3:5] == ["leaky", 0x1234]
    assert row[5][0] == "leaky_read+0x1/0x2"
    found = said("16 pages/order of 0x1234-0x5678 are in 3/4 of it, by 46.2% of RAM.")
    assert found.words == [
        "16 pages/order of 0x1234-0x5678 are in 3/4 of it, by 46.2% of RAM."
    ]


def test_addresses_of_stacks_are_left_out_of_pictures_as_well() -> None:
    found = said()
    (address,) = {row[5][1] for row in found.listings[0].rows}
    assert address == "(address 1)"
    assert found.calls is not None
    (first,) = found.calls.root.calls.values()
    assert list(first.calls) == [address]
    assert found.calls.root.weight == first.weight == 3


@pytest.mark.parametrize(
    "name",
    [
        *("db7", "kswapd0", "kworker/0:1", "/home/ann/a.core", "ffff888012345678"),
        *("0xffff888012345678", "192.168.7.1", "52:54:00:12:34:56"),
        *("--comm x*", "--comm 'x y'", "--memcg=/user.slice"),
    ],
)
def test_what_tells_of_a_machine_is_left_out(name: str) -> None:
    (words,) = said(f"There is {name} in it.").words
    assert name not in words
    assert words.startswith("There is ") and words.endswith(") in it.")


def test_the_title_has_no_host() -> None:
    report = MemoryReport("Memory of db7", "m", [])
    assert redacted(report, {"host": ["db7"]}).title == "Memory of (host 1)"

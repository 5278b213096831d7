# SPDX-License-Identifier: GPL-2.0-or-later
"""A line has colours while it is typed, and what is wrong in it is marked."""

from __future__ import annotations

import contextlib

import pytest
from fake_session import fake_session
from prompt_toolkit.document import Document

from pagedbg.shell.background_values import BackgroundValues, NotYet
from pagedbg.shell.command import load_commands
from pagedbg.shell.highlighting import LineLexer
from pagedbg.shell.option_values import VALUES


def drawn(text: str, values: BackgroundValues | None = None) -> dict[str, list[str]]:
    """The parts of a line by their styles; nothing of it is left out."""
    values = values or BackgroundValues(fake_session())
    line = LineLexer({"mine"}, values).lex_document(Document(text))
    parts: dict[str, list[str]] = {}
    for number, whole in enumerate(text.split("\n")):
        pieces = [(piece[0], piece[1]) for piece in line(number)]
        assert "".join(part for _, part in pieces) == whole
        for style, part in pieces:
            if part.strip():
                parts.setdefault(style, []).append(part)
    return parts


def wrong_in(text: str, values: BackgroundValues | None = None) -> list[str]:
    """The parts of a line that are marked as wrong."""
    return drawn(text, values).get("ansired underline", [])


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("owners --by comm --sort -pages --pid -1 --top 3", []),
        ("owners --nope x", ["--nope"]),
        ("ownerz --by comm", ["ownerz"]),
        # It is not known yet.
        ("ownerz", []),
        ("owners --nope", []),
        ("mine --nope x", []),
        ("trace nope x", ["nope"]),
        ("trace set --orders 4 --by x", ["--by"]),
        ("owners --by comm | hea --nope x", []),
        ("!ownerz --nope x", []),
        ("# ownerz --nope x", []),
        ("memory; ownerz x", ["ownerz"]),
        ("memory\nownerz x", ["ownerz"]),
        ("owners --comm 'a\n--nope x' --nope y", ["--nope"]),
        ("owners >f --nope y", ["--nope"]),
        ("owners --by=comm -o f ", []),
        ("owners --orders x --top 3", ["x"]),
        ("owners --orders=x --top 3", ["--orders=x"]),
        ("owners --orders 4-9,x ", ["4-9,x"]),
        ("owners --orders x", []),
        ("owners --age 5q --pid abc --pfns 9-1 ", ["5q", "abc", "9-1"]),
        ("owners --stack 'a(' --by nope ", ["'a('", "nope"]),
        ("owners --state nope --format nope ", ["nope", "nope"]),
        ("owners --state --top 3", ["--state"]),
        ("owners nope ", ["nope"]),
        ("owners --ord 4 ", ["--ord"]),
        ("owners --by comm --sort pfn ", ["pfn"]),
        ("owners --sort -pfn ", []),
        ("memory --section largest --sort order ", []),
        ("owners --columns pfn,-stack ", []),
        ("owners --columns pfn,com ", ["pfn,com"]),
        ("owners --columns=-nope ", ["--columns=-nope"]),
        ("owners --by comm --columns comm,pages ", []),
        ("owners --by comm --columns pfn ", ["pfn"]),
        ("correlate --lifetimes --columns order,median --sort p99 ", []),
        ("correlate --lifetimes --sort pages ", ["pages"]),
        ("memory --section largest --columns order,nope ", ["order,nope"]),
        ("zones --columns free ", []),
        ("zones --columns nope ", ["nope"]),
        ("sql 'SELECT 1 AS nope' --columns nope ", []),
        ("fleet owners lake --sort pages ", []),
        ("inspect page 0x10+2 ", []),
        ("inspect pages xyz ", ["pages", "xyz"]),
        ("trace set --orders 0:20,4 --events set,nope ", ["set,nope"]),
        ("record -o d --duration 5q stress-ng --vm 2 ", ["5q"]),
        ("watch -n 0 owners --by comm --nope --top x ", ["0", "--nope", "x"]),
        ("watch trace nope --nope ", ["nope"]),
        ("watch --diff ownerz ", ["ownerz"]),
        ("watch ownerz", []),
        ("alias mine owners --by nope --top 3 ", ["nope"]),
        ("alias mine ownerz --by comm ", ["ownerz"]),
        ("alias mine ownerz ", ["ownerz"]),
        ("alias mine trace ", []),
        ("alias mine 'log | grep -i nope' ", []),
        ("alias mine 'owners --nope | head' ", ["'owners --nope | head'"]),
        ("alias mine '!ls --nope' ", []),
        ("alias nope ", []),
        ("help trace nope ", ["nope"]),
        ("set formats json ", ["formats"]),
        ("set format jsn ", ["jsn"]),
        ("sql --schema ", []),
        ("sql --schema nope ", ["nope"]),
        # Nobody knows the zones of this kernel.
        ("owners --zone nope ", []),
    ],
)
def test_what_is_wrong_is_marked_where_it_is(text: str, wrong: list[str]) -> None:
    assert wrong_in(text) == wrong


def test_nothing_is_wrong_in_what_the_help_says() -> None:
    for command in load_commands():
        for line, _ in command.examples:
            assert wrong_in(f"{line} ") == [], line


def test_what_the_target_does_not_have_is_wrong_once_that_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for option, names in {
        "--zone": ["DMA", "Normal"],
        "--migratetype": ["Movable"],
        "--gfp": {"GFP_A": "0x3", "__GFP_B": "0x4"},
    }.items():
        monkeypatch.setitem(VALUES, option, lambda session, names=names: names)
    values = BackgroundValues(fake_session())
    line = "owners --zone norm,DMA --zone 'n*' --migratetype X --gfp gfp_a,1 --gfp C "
    assert wrong_in(line, values) == []
    for option in ("--zone", "--migratetype", "--gfp"):
        with contextlib.suppress(NotYet):
            values.of(option)
            continue
        values.wait(option)
    assert wrong_in(line, values) == ["norm,DMA", "X", "C"]


def test_what_is_what_has_its_colour() -> None:
    assert drawn("owners --comm 'a b' >f --by comm | head -3") == {
        "bold": ["owners"],
        "ansicyan": ["--comm", "--by"],
        "ansigreen": ["'a b'", "f"],
        "": ["comm"],
        "ansimagenta": [">", "|", "head", "-3"],
    }

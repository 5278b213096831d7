# SPDX-License-Identifier: GPL-2.0-or-later
"""A line has colours while it is typed, and what is wrong in it is marked."""

from __future__ import annotations

import pytest
from prompt_toolkit.document import Document

from pagedbg.shell.highlighting import LineLexer


def drawn(text: str) -> dict[str, list[str]]:
    """The parts of a line by their styles; nothing of it is left out."""
    line = LineLexer({"mine"}).lex_document(Document(text))
    parts: dict[str, list[str]] = {}
    for number, whole in enumerate(text.split("\n")):
        pieces = [(piece[0], piece[1]) for piece in line(number)]
        assert "".join(part for _, part in pieces) == whole
        for style, part in pieces:
            if part.strip():
                parts.setdefault(style, []).append(part)
    return parts


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
    ],
)
def test_what_is_wrong_is_marked_where_it_is(text: str, wrong: list[str]) -> None:
    assert drawn(text).get("ansired underline", []) == wrong


def test_what_is_what_has_its_colour() -> None:
    assert drawn("owners --comm 'a b' >f --by comm | head -3") == {
        "bold": ["owners"],
        "ansicyan": ["--comm", "--by"],
        "ansigreen": ["'a b'", "f"],
        "": ["comm"],
        "ansimagenta": [">", "|", "head", "-3"],
    }

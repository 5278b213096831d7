# SPDX-License-Identifier: GPL-2.0-or-later
"""contrib/CONTRIBUTING.md: its examples are in the files, and in no others."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest

# Of the checkout, whatever it runs on.
pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]
CODE = [
    file
    for folder in ("pagedbg", "bpf", "kmod")
    for file in sorted((ROOT / folder).rglob("*.[pch]*"))
    if file.suffix in (".py", ".c", ".h")
]
NUMBERS = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "nine": 9}

# What only those files have that the example is in, by the title of its section.
MARKS = {
    "A command": r'"doctor"(,\n|: Entry)|\.doctor"',
    "A column": r'BOOTED_S|"booted_s"',
    "A filter word": r'parse_age|args\.age|"--age"',
    "A filter word that the kernel applies, too": r"\bpids\b|_read_pid",
    "A kind of event": r"PAGEDBG_DUMP|__dump_page_owner",
    "A machine": r"aarch64|AARCH64|x86_64|X86_64|bpf_target_arm64",
}


class Section(NamedTuple):
    """How many files it says that there are, and what it shows of each."""

    count: int
    files: dict[str, str]


def sections() -> dict[str, Section]:
    text = (ROOT / "contrib/CONTRIBUTING.md").read_text(encoding="utf-8")
    found = {}
    for part in text.split("\n## ")[1:]:
        title, body = part.split("\n", 1)
        name, number = re.fullmatch(r"(.+): (\w+)(?: more)? files", title).groups()  # type: ignore[union-attr]
        files = re.findall(r"^- `(.+)`\n\n((?:      .*\n|\n)+)", body, re.MULTILINE)
        found[name] = Section(NUMBERS[number], dict(files))
    return found


def squeezed(text: str) -> str:
    """Text without what differs by how deep it stands."""
    return " ".join(text.split())


def test_every_section_has_its_mark() -> None:
    assert list(sections()) == list(MARKS)


@pytest.mark.parametrize("title", MARKS)
def test_there_are_as_many_files_as_it_says(title: str) -> None:
    count, files = sections()[title]
    assert len(files) == count


@pytest.mark.parametrize("title", MARKS)
def test_each_file_has_the_lines_that_are_shown(title: str) -> None:
    for path, shown in sections()[title].files.items():
        contents = squeezed((ROOT / path).read_text(encoding="utf-8"))
        at = 0
        for piece in shown.split("...\n"):
            assert squeezed(piece)
            at = contents.find(squeezed(piece), at)
            assert at >= 0, f"{path}: {piece}"


@pytest.mark.parametrize("title", MARKS)
def test_no_other_file_has_to_do_with_it(title: str) -> None:
    having = {
        str(file.relative_to(ROOT))
        for file in CODE
        if re.search(MARKS[title], file.read_text(encoding="utf-8"))
    }
    assert having == set(sections()[title].files)

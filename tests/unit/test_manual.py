# SPDX-License-Identifier: GPL-2.0-or-later
"""
pagedbg(1), as ``make install`` makes it: every command, option and column is on it, as
a reader of man pages shows it.
"""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pagedbg.schema.relations import RELATIONS
from pagedbg.shell.command import NAMESPACE, Command
from pagedbg.shell.command_line import command_line_parser
from pagedbg.shell.registry import COMMANDS, command_of

# mandoc is there where pagedbg is developed.
pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]

# Beside those that other tests have made.
OURS = [
    name
    for name, entry in COMMANDS.items()
    if entry.module.startswith("pagedbg.commands.")
]

# What stands for something in the table of what crash's users type.
EXAMPLES = {
    "PAGE": "0xffffea0000000000",
    "PHYS": "0x1000",
    "VIRT": "0x1000",
    "PID": "1",
}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("man") / "pagedbg.1"
    with made.open("w") as file:
        manual = [sys.executable, ROOT / "contrib/manual"]
        subprocess.run(manual, stdout=file, check=True)
    return made


@pytest.fixture(scope="module")
def sections(page: Path) -> dict[str, str]:
    """The text of each section, without where lines end."""
    show = ["mandoc", "-T", "ascii", "-O", "width=1000", page]
    drawn = subprocess.run(show, capture_output=True, text=True, check=True).stdout
    # Bold and underlined letters are typed over. Two blanks are behind sentences, and
    # behind a short tag.
    text = re.sub(r"(?<=\S) +", " ", re.sub(".\b", "", drawn))
    found = re.split(r"^(?=\S)", text, flags=re.MULTILINE)
    return {
        title.strip(): body for title, _, body in (s.partition("\n") for s in found)
    }


@pytest.fixture(scope="module")
def commands(sections: dict[str, str]) -> dict[str, str]:
    """The text on each command."""
    _, *parts = re.split(r"^ {3}(?=\S)", sections["COMMANDS"], flags=re.MULTILINE)
    return {name: text for name, _, text in (part.partition("\n") for part in parts)}


def written(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    """How each option of a parser is called, and what is said of it."""
    for action in parser._actions:
        for name in action.option_strings:
            yield name, " ".join(str(action.help).replace("%%", "%").split())


def says(text: str, name: str, meaning: str) -> bool:
    """Whether a text has an option with what is said of it."""
    return any(
        re.search(rf"(^|, ){re.escape(name)}( |,|$)", tag.strip())
        for tag in re.findall(rf"^(.*)\n? +{re.escape(meaning)}$", text, re.MULTILINE)
    )


def test_mandoc_has_nothing_to_say(page: Path) -> None:
    lint = ["mandoc", "-T", "lint", page]
    done = subprocess.run(lint, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("", 0)


def test_every_option_before_a_command_is_on_it(sections: dict[str, str]) -> None:
    for name, meaning in written(command_line_parser()):
        assert says(sections["OPTIONS"], name, meaning), name


def test_every_command_is_on_it(commands: dict[str, str]) -> None:
    assert [*commands] == OURS


@pytest.mark.parametrize("command", [*map(NAMESPACE.get, OURS)], ids=OURS)
def test_every_option_of_a_command_is_on_it(
    command: Command, sections: dict[str, str], commands: dict[str, str]
) -> None:
    text, shared = commands[command.name], sections["OPTIONS OF MANY COMMANDS"]
    also = re.findall(r"^ +Also (.*): see OPTIONS OF MANY", text, re.MULTILINE)
    for name, meaning in written(command.parser):
        if not says(text, name, meaning):
            assert says(shared, name, meaning), name
            if name == command.parser._option_string_actions[name].option_strings[0]:
                assert name == "-h" or name in also[0].split(", "), name
    for line, meaning in command.examples:
        assert re.search(rf"{re.escape(line)}\n? +{re.escape(meaning)}", text), line


def test_every_column_is_on_it(sections: dict[str, str]) -> None:
    fields = sections["JSON FIELDS"]
    entries = re.split(r"^ {7}(?=\S)", sections["RELATIONS"], flags=re.MULTILINE)
    words = {entry.split()[0]: " ".join(entry.split()) for entry in entries[2:]}
    assert [*words] == [*RELATIONS]
    for relation, columns in RELATIONS.items():
        names = ", ".join(column.name for column in columns)
        assert re.search(rf"^{relation} Given by .*\. {names}\.$", words[relation])
        for column in columns:
            assert re.search(rf"^ {{7}}{column.name}( of [\w, ]+)?(\n| )", fields, re.M)
            assert column.meaning in fields, column.name


def test_what_users_of_crash_are_told_to_type_is_right(page: Path) -> None:
    table = page.read_text().partition(".TS\n")[2].partition(".TE\n")[0]
    rows = [row.replace("\\-", "-") for row in table.splitlines()[3:]]
    assert len(rows) > 10
    for row in rows:
        _, line = row.split("\t")
        words = [EXAMPLES.get(word, word) for word in shlex.split(line)]
        name = command_of(words)
        NAMESPACE.get(name).parser.parse_line(words[len(name.split()) :])

# SPDX-License-Identifier: GPL-2.0-or-later
"""contrib/support.md, which ``contrib/support`` writes: it is of these commands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from pagedbg.shell.registry import COMMANDS, command_of

PAGE = (Path(__file__).parents[2] / "contrib/support.md").read_text()
ROWS = {
    line: cells.split(" | ")
    for line, cells in re.findall(r"^\| `(.+?)` \| (.+) \|$", PAGE, re.MULTILINE)
}
NOTES = dict(re.findall(r"^(\d+)\. (.+)$", PAGE, re.MULTILINE))


def test_its_commands_exist_and_each_has_a_row_or_is_left_out() -> None:
    asked = [command_of(shlex.split(line)) for line in ROWS]
    (left,) = re.findall(r"^Look at no kernel.*: (.*)\.$", PAGE, re.MULTILINE)
    names = re.findall(r"`(.+?)`", left)
    assert set(asked + names) <= set(COMMANDS)
    assert len({*asked, *names}) == len(asked) + len(names)
    of_kernels = {
        name
        for name, entry in COMMANDS.items()
        if entry.group in ("The target", "Pages")
    }
    assert of_kernels <= {*asked, *names}


def test_every_column_is_explained_and_has_a_cell_in_each_row() -> None:
    letters = re.findall(r"^- ([A-Z]): .+ of .+$", PAGE, re.MULTILINE)
    assert f"| command | {' | '.join(letters)} |" in PAGE.splitlines()
    assert {len(cells) for cells in ROWS.values()} == {len(letters)}


def test_every_cell_is_yes_or_a_note_and_every_note_is_used() -> None:
    cells = [cell for cells in ROWS.values() for cell in cells if cell != "yes"]
    assert {f"({number})" for number in NOTES} == set(cells)


def test_no_note_is_of_a_failure_of_pagedbg() -> None:
    for note in NOTES.values():
        assert not re.search(r"Traceback|bug in pagedbg|damaged|cut short", note)
        assert note[0].isupper() and note.endswith("."), note

# SPDX-License-Identifier: GPL-2.0-or-later
"""The README's walk through the bundled dump: what it shows is what pagedbg prints."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from known import SAMPLE, Run

README = Path(__file__).parents[2] / "README.md"
PROMPT = "    pagedbg> "


def shown() -> dict[str, list[str]]:
    """The lines under each command in the section on the incident."""
    section = (
        README.read_text(encoding="utf-8")
        .partition("\n## An incident\n")[2]
        .partition("\n## ")[0]
    )
    found: dict[str, list[str]] = {}
    for block in re.findall(r"(?:^ {4}.*\n)+", section, re.MULTILINE):
        command, *lines = block.splitlines()
        assert command.startswith(PROMPT), command
        found[command.removeprefix(PROMPT)] = [
            line.removeprefix("    ") for line in lines
        ]
    return found


@pytest.mark.parametrize(("command", "lines"), shown().items(), ids=shown())
def test_what_the_readme_shows_is_what_is_printed(
    command: str, lines: list[str], pagedbg: Run
) -> None:
    done = pagedbg("-c", SAMPLE.name, "--no-pager", "-e", command, cwd=SAMPLE.parent)
    assert done.returncode == 0, done.stderr
    printed = iter(done.stdout.splitlines())
    skipping = False
    for line in lines:
        if line.strip() == "...":
            skipping = True
            continue
        start = line.removesuffix("...").rstrip()
        here = next(
            (each for each in printed if not skipping or each.startswith(start)), None
        )
        assert here is not None, f"{line!r} was not printed"
        assert here.startswith(start)
        assert line.endswith(" ...") or here.rstrip() == start
        skipping = False

# SPDX-License-Identifier: GPL-2.0-or-later
"""
The README's walk through the bundled dump, and that through the second incident's: what
they show is what pagedbg prints.
"""

from __future__ import annotations

import lzma
import re
import runpy
import shlex
import xml.etree.ElementTree as ET
from collections import defaultdict
from pathlib import Path

import pytest
from known import SAMPLE, Run
from PIL import Image

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
INCIDENTS = ROOT / "contrib/incidents"
PROMPT = "    pagedbg> "


def shown(section: str) -> dict[str, list[str]]:
    """The lines under each command in a text."""
    found: dict[str, list[str]] = {}
    for block in re.findall(r"(?:^ {4}.*\n)+", section, re.MULTILINE):
        command, *lines = block.splitlines()
        assert command.startswith(PROMPT), command
        found[command.removeprefix(PROMPT)] = [
            line.removeprefix("    ") for line in lines
        ]
    return found


FIRST = shown(README.partition("\n## An incident\n")[2].partition("\n## ")[0])
SECOND = shown((INCIDENTS / "order9.md").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The second incident's dump."""
    core = tmp_path_factory.mktemp("incident") / "order9.vmcore"
    core.write_bytes(lzma.decompress((INCIDENTS / "order9.vmcore.xz").read_bytes()))
    return core


@pytest.mark.parametrize(("command", "lines"), FIRST.items(), ids=FIRST)
def test_what_the_readme_shows_is_what_is_printed(
    command: str, lines: list[str], pagedbg: Run
) -> None:
    compare(command, lines, SAMPLE, pagedbg)


@pytest.mark.parametrize(("command", "lines"), SECOND.items(), ids=SECOND)
def test_what_the_second_incident_shows_is_what_is_printed(
    command: str, lines: list[str], second: Path, pagedbg: Run
) -> None:
    compare(command, lines, second, pagedbg)


def compare(command: str, lines: list[str], core: Path, pagedbg: Run) -> None:
    """Compare what is shown with what is printed."""
    done = pagedbg("-c", core.name, "--no-pager", "-e", command, cwd=core.parent)
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


# ---- its pictures ----------

SVG = "{http://www.w3.org/2000/svg}"
DRAW = runpy.run_path(str(ROOT / "contrib/picture"))
DRAWN, REPORT = DRAW["DRAWN"], DRAW["REPORT"]


def seen_in_a_terminal(picture: Path) -> list[str]:
    """The lines of a picture of one, made of words that each have their place."""
    lines: dict[float, dict[float, str]] = defaultdict(dict)
    width = 0.0
    for text in ET.parse(picture).iter(f"{SVG}text"):
        if "-r" in text.get("class", ""):
            word = text.text or ""
            # No reader of the picture has to know what a space is.
            assert word and not re.search(r"[\s\xa0]", word)
            width = width or float(text.get("textLength", 0)) / len(word)
            lines[float(text.get("y", 0))][float(text.get("x", 0))] = word
    found = []
    for y in sorted(lines):
        line = ""
        for x in sorted(lines[y]):
            line = line.ljust(round(x / width)) + lines[y][x]
        found.append(line)
    return found


def test_the_terminal_in_the_picture_shows_what_is_printed(pagedbg: Run) -> None:
    start, *lines = seen_in_a_terminal(ROOT / "contrib/pagedbg.svg")
    assert start == "$ pagedbg --sample"
    section = "".join(
        f"    {line}\n" if not line.startswith("pagedbg>") else f"\n    {line}\n"
        for line in lines
    )
    commands = shown(section)
    assert len(commands) == 3
    for command, printed in commands.items():
        done = pagedbg("-c", SAMPLE.name, "-e", command, cwd=SAMPLE.parent)
        assert printed == done.stdout.splitlines(), "run contrib/picture"


@pytest.mark.parametrize("picture", DRAWN)
def test_a_picture_of_the_readme_is_what_is_drawn(
    picture: str, pagedbg: Run, tmp_path: Path
) -> None:
    assert f"]({picture})" in README
    path = tmp_path / Path(picture).name
    done = pagedbg("-c", SAMPLE, *shlex.split(DRAWN[picture]), "-o", path)
    assert done.returncode == 0, done.stderr
    assert path.read_bytes() == (ROOT / picture).read_bytes(), "run contrib/picture"


@pytest.mark.once
def test_the_report_in_the_picture_is_what_is_written(
    pagedbg: Run, tmp_path: Path
) -> None:
    assert f"]({REPORT})" in README
    path = tmp_path / "memory.html"
    done = pagedbg("-c", SAMPLE.name, "report", path, cwd=SAMPLE.parent)
    assert done.returncode == 0, done.stderr
    with Image.open(ROOT / REPORT) as picture:
        shown = picture.text[DRAW["SOURCE"]]
    assert shown == DRAW["source"](path.read_text(encoding="utf-8")), (
        "run contrib/picture"
    )

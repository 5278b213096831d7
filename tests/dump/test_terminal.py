# SPDX-License-Identifier: GPL-2.0-or-later
"""
Nothing in a dump or a capture becomes a command or drives the terminal, whatever is
done with it there.
"""

from __future__ import annotations

import itertools
import os
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import forkserver
import pexpect
import pytest
from attack import DRIVES, FILES, captures, hostile_dump, with_mark
from known import SAMPLE, Run

from pagedbg.target.opening import open_target

# On a terminal, with sessions of their own: a minute.
pytestmark = pytest.mark.long

PROMPT = "pagedbg>"

# Our own colours, and what is drawn of long work and then erased: a machine that is
# busy sees it, too.
_COLOURS = re.compile(
    r"\x1b\[(?:[012]|38;5;\d+(?:;48;5;\d+)?)m"
    r"|(?:\r\x1b\[K[\w ]+ [━─]* *[0-9]+%[ \w,/:]*)+\r\x1b\[K"
)
# How prompt_toolkit moves the cursor, chooses colours and modes.
_DRAWN = re.compile(r"\x1b\[\??[0-9;]*[A-Za-z]|\x1b[=>]|\x1b\([B0]|\x08")

FORMATS = ("text", "json", "jsonl", "csv", "tsv")
TABLES = (
    "status",
    "doctor",
    "log",
    "zones",
    "free --by migratetype",
    "blocks",
    "blocks --by function,comm",
    "explain",
    "explain 1",
    "explain order 4 --gfp 0xcc0 --by comm",
    "stacks",
    "inspect pfn 0xa0e",
    "inspect pfn 0x104",
    "inspect pfn 0+300",
    "inspect pfn 0xa00+64",
    "inspect pfn 0x5e00+200",
    "map --by comm --pfns 0-0x1fff",
    "map --by function --highlight '--comm *'",
    "map --by file --at 0x104",
    "owners --top 300",
    "owners --by comm",
    "owners --by module",
    "owners --by function",
    "owners --by zone,migratetype",
    "owners --by gfp",
    "owners --by stack --top 50",
    "owners --module '?!x*' --top 3",
    "trace recover",
    "trace show --last 50",
    "trace show --last 50 --no-stack",
    "trace status",
    "correlate --top 20",
    "correlate --leaked",
    "correlate --by comm",
)
OTHERS = (
    "help",
    "help owners",
    "trace show --last 20 --format classic",
    "owners | head -n 30",
    "owners --format csv | cat",
    "log | tail -n 20",
)
ERRORS = (
    "owners --zone nonsense",
    "owners --migratetype nonsense",
    "owners --gfp nonsense",
    "inspect pfn 0xfffffff",
    "inspect task 999999 0",
    "inspect task 53 0x400000",
    "trace start",
    "record -o r",
    "trace load {d}",
    "'{d}'",
    "owners --comm x --by '{d}'",
    "owners --orders '{d}'",
    "help '{d}'",
    "owners '{d}'",
    "owners --stack '{d}('",
    "owners -o /no/such/directory/'{d}'",
)


class Place(NamedTuple):
    """
    A directory full of strange files, where ``x`` would leave a mark; and the
    environment of what runs there.
    """

    directory: Path
    mark: Path
    environment: dict[str, str]


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dump with a recorder in it and hostile names everywhere."""
    return hostile_dump(
        open_target(str(SAMPLE)).prog,
        tmp_path_factory.mktemp("dump") / f"vm{FILES[0].decode()}core",
    )


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Where a test runs pagedbg."""
    mark = with_mark(tmp_path / "bin")
    for name in FILES:
        (tmp_path / os.fsdecode(name)).touch()
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ("LESS", "NO_COLOR", "PAGEDBG_DEBUG")
    }
    more = {
        "PATH": f"{mark.parent}:{os.environ['PATH']}",
        "TERM": "xterm",
        "LC_ALL": "C.UTF-8",
        "XDG_STATE_HOME": str(tmp_path / "state"),
        # A pager that lets everything pass.
        "PAGER": "cat -",
    }
    return Place(tmp_path, mark, {**kept, **more})


def spawn(place: Place, program: str, *args: str) -> pexpect.spawn[str]:
    """
    Start a program in a terminal; what it writes is kept as it is, bytes that are no
    text included.
    """
    return pexpect.spawn(
        program,
        list(args),
        env=place.environment,
        cwd=place.directory,
        dimensions=(30, 200),
        encoding="utf-8",
        codec_errors="surrogateescape",
        timeout=120,
    )


def on_a_terminal(place: Place, *args: str, failing: bool = True) -> str:
    """
    What pagedbg writes to a terminal; :param failing: whether it may fail, with what it
    says of that
    """
    child = spawn(place, str(forkserver.pagedbg()), *args)
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus in ((0, 1, 2) if failing else (0,)), child.before[-300:]
    return str(child.before)


def check(place: Place, output: str, ours: re.Pattern[str] = _COLOURS) -> None:
    """
    All that was written is text or ours, nobody ran ``x``, and nothing went wrong
    unexplained.
    """
    rest = ours.sub("", output)
    strange = {c for c in rest if not c.isprintable()} - set("\r\n\t")
    assert not strange, [
        rest[max(rest.index(c) - 60, 0) : rest.index(c) + 60] for c in strange
    ]
    assert not [drive for drive in DRIVES if drive in output]
    assert "bug in pagedbg" not in output, output
    assert "Traceback" not in output, output
    assert not place.mark.exists()


@pytest.mark.parametrize("format", FORMATS)
def test_tables_of_a_dump(place: Place, dump: Path, format: str) -> None:
    # A terminal that takes no pager, and one that does.
    for options in ([], ["--no-pager"]):
        lines = itertools.chain.from_iterable(("-e", line) for line in TABLES)
        output = on_a_terminal(
            place, "-c", str(dump), "--format", format, *options, *lines, failing=False
        )
        check(place, output)
        # They were all run, and they had names to show, the kernel's own functions
        # among them.
        assert output.count("!x") > 300
        escape = "\\u001b" if format.startswith("json") else "\\x1b"
        assert f"entry_SYSCALL_{escape}c_after_hwframe" in output


@pytest.mark.parametrize("line", OTHERS)
def test_what_is_no_table(place: Place, dump: Path, line: str) -> None:
    check(place, on_a_terminal(place, "-c", str(dump), "-e", line))


@pytest.mark.parametrize("line", ERRORS)
def test_errors(place: Place, dump: Path, line: str) -> None:
    output = on_a_terminal(
        place, "-c", str(dump), "-e", line.format(d="\n!x\n\x1bc\x1b[8m\u202e")
    )
    check(place, output)
    assert output.strip()


@pytest.mark.parametrize(
    "args",
    [
        ["-c", "{f}"],
        ["--capture", "{f}"],
        ["-x", "{f}"],
        ["{f}"],
        ["-s", "{f}", "status"],
        ["--{f}"],
    ],
)
def test_errors_before_there_is_a_session(place: Place, args: list[str]) -> None:
    for name in FILES:
        output = on_a_terminal(
            place, *(arg.format(f=os.fsdecode(name)) for arg in args)
        )
        check(place, output)


def test_a_dump_is_no_script(place: Place, dump: Path) -> None:
    check(place, on_a_terminal(place, "--sample", "-x", str(dump)))


# ---- captures

CAPTURES = (
    "trace status",
    "trace show --last 30",
    "trace show --last 30 --format classic",
    "correlate --top 20",
    "correlate --by comm",
)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Captures with hostile strings, each in another part."""
    directory = tmp_path_factory.mktemp("captures")
    original = directory / "original"
    assert Run()("--sample", "-e", f"trace save {original}").returncode == 0
    (directory / "changed").mkdir()
    return captures(original, directory / "changed")


@pytest.mark.once
def test_captures(place: Place, saved: dict[str, Path]) -> None:
    shown = []
    for part, path in saved.items():
        for format in FORMATS:
            lines = [f"trace load {shlex.quote(str(path))}", *CAPTURES]
            output = on_a_terminal(
                place,
                "--format",
                format,
                "--capture",
                str(path),
                *itertools.chain.from_iterable(("-e", line) for line in lines),
            )
            check(place, output)
            if "!x" in output:
                shown.append(part)
            else:
                # Refused, or it is nothing that is shown.
                assert output.strip()
    # What a machine that is recorded can name so is no reason to refuse its capture.
    assert {"stacks", "comm", "filters"} <= set(shown)


@pytest.mark.once
def test_captures_with_the_dump_of_their_machine(
    place: Place, saved: dict[str, Path]
) -> None:
    for part, path in saved.items():
        for line in ("correlate --top 5", "inspect pfn 0x7850", "status"):
            output = on_a_terminal(
                place, "--sample", "--capture", str(path), "-e", line
            )
            check(place, output)
            assert output.strip(), part


# ---- the prompt


@pytest.fixture
def prompt(place: Place, dump: Path) -> Iterator[pexpect.spawn[str]]:
    """pagedbg at its prompt, on the dump."""
    child = spawn(place, sys.executable, "-m", "pagedbg", "-c", str(dump))
    ready(child)
    yield child
    child.close(force=True)


def ready(child: pexpect.spawn[str]) -> str:
    """
    Wait for a prompt with its bottom line, and return all that was written before and
    with it.
    """
    # prompt_toolkit asks where the cursor is, and draws the bottom line when it knows.
    child.expect_exact("\x1b[6n")
    seen = child.before
    child.send("\x1b[1;1R")
    child.expect_exact("page_owner on")
    return str(seen + child.before)


@pytest.mark.once
@pytest.mark.parametrize(
    "begun",
    [
        "owners --top 1 --comm ",
        "owners --top 1 --comm=",
        "owners --top 1 --comm 'z,",
        'owners --top 1 --comm "z,',
        "owners --top 1 --zone ",
        "owners --top 1 --migratetype ",
        "owners --top 1 --gfp ",
        "owners --top 1 -o ",
        "owners --top 1 > ",
        "inspect pfn 1 -o '",
    ],
)
def test_what_tab_offers_is_one_word(
    place: Place, prompt: pexpect.spawn[str], begun: str
) -> None:
    for tabs in range(2, 9):
        prompt.send(begun)
        prompt.send("\t" * tabs)
        prompt.send("\r")
        check(place, ready(prompt), _DRAWN)
    prompt.sendeof()
    prompt.expect(pexpect.EOF)
    check(place, prompt.before, _DRAWN)


@pytest.mark.parametrize("quote", ["'", '"'])
def test_what_is_pasted_inside_quotes_is_no_command(
    place: Place, prompt: pexpect.spawn[str], quote: str
) -> None:
    for line in (
        f"owners --top 1 --comm {quote}q\n!x\n{quote}",
        f"owners --comm {quote}q\n!x\n",
        f"!true {quote}\n!x\n{quote}",
    ):
        prompt.send(f"\x1b[200~{line}\x1b[201~\r")
        check(place, ready(prompt), _DRAWN)
        # Again, from the history.
        prompt.send("\x1b[A\r")
        check(place, ready(prompt), _DRAWN)


def test_the_mark_is_left_by_what_somebody_types(
    place: Place, prompt: pexpect.spawn[str]
) -> None:
    prompt.send("!x\r")
    ready(prompt)
    assert place.mark.exists()

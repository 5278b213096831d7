# SPDX-License-Identifier: GPL-2.0-or-later
"""
The dumps of an ordinary machine and, bundled, of an incident; what
``contrib/lab/oracle.py`` found in them with debug info; and pagedbg as a program to run
on them.

Beside the ``conftest.py`` that makes fixtures of them, since tests of several
directories cannot each import a module of that name.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import json
import lzma
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import forkserver
import pytest

from pagedbg.schema.settings import Settings
from pagedbg.session import Session
from pagedbg.shell.command import NAMESPACE
from pagedbg.shell.command_line import SAMPLE
from pagedbg.target.target import Target

__all__ = (
    "DATA",
    "ORDINARY",
    "SAMPLE",
    "Ask",
    "Block",
    "Oracle",
    "Result",
    "Row",
    "Run",
    "asking",
    "check",
    "look_at",
)

DATA = Path(__file__).parent / "data"
ORDINARY = DATA / "ordinary.vmcore"


@dataclasses.dataclass(frozen=True)
class Block:
    """
    A block put together from the oracle's pages: its first page's record, and how many
    of its pages are in that state.
    """

    pfn: int
    pages: int
    record: Mapping[str, Any]


class Oracle:
    """What ``contrib/lab/oracle.py`` found."""

    def __init__(self, path: Path) -> None:
        with lzma.open(path, "rt", encoding="utf-8") as file:
            said = json.load(file)
        self.release: str = said["release"]
        self.special: dict[str, int] = said["special"]
        self.stacks: dict[int, list[tuple[int, str | None]]] = {
            int(handle): [tuple(f) for f in frames]
            for handle, frames in said["stacks"].items()
        }
        self.zones: list[dict[str, Any]] = said["zones"]
        self.pages: dict[int, dict[str, Any]] = {
            row[0]: dict(zip(said["columns"], row, strict=True))
            for row in said["records"]
        }

    @functools.cache  # noqa: B019 - there is one oracle
    def blocks(self, state: str = "allocated") -> Sequence[Block]:
        """The blocks with pages in a state, one page after the other."""
        found: dict[tuple[int, int], list[dict[str, Any]]] = {}
        for pfn, record in sorted(self.pages.items()):
            if record["state"] == state:
                found.setdefault(
                    (pfn - pfn % (1 << record["order"]), record["order"]), []
                ).append(record)
        return [Block(pfn, len(pages), pages[0]) for (pfn, _), pages in found.items()]

    def zone(self, pfn: int) -> str:
        """The zone that a page lies in."""
        return next(
            zone["name"]
            for zone in self.zones
            if zone["start_pfn"] <= pfn < zone["start_pfn"] + zone["spanned"]
        )


class Run:
    """
    Runs pagedbg, in a process forked for that; with ``starting``, the program as it
    starts.
    """

    def __call__(
        self, *args: str | os.PathLike[str], starting: bool = False, **more: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run it with some arguments; it never ends with a traceback."""
        program = (
            [sys.executable, "-m", "pagedbg"] if starting else [forkserver.pagedbg()]
        )
        more.setdefault("stdin", subprocess.DEVNULL)
        done = subprocess.run(
            [*program, *map(os.fspath, args)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            **more,
        )
        assert "Traceback" not in done.stderr
        assert "bug in pagedbg" not in done.stderr, done.stderr
        return done

    def json(self, *args: str, core: Path = ORDINARY) -> Any:
        """What a command on a dump prints as JSON."""
        done = self("-c", core, "--format", "json", *args)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return json.loads(done.stdout)


Row = dict[str, Any]
Ask = Callable[[str], list[Row]]


def asking(target: Target) -> Ask:
    """What a command on a target prints as JSON, in this process."""
    Session(target, settings=Settings(pager="off")).keep()

    def ask(line: str) -> list[Row]:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            NAMESPACE.run(target.prog, f"{line} --format json")
        return json.loads(out.getvalue())  # type: ignore[no-any-return]

    return ask


# Runs several commands on one dump, whatever becomes of each, and says what came of
# them.
DRIVER = """
import contextlib, io, json, sys
from pagedbg.shell.execute import execute
from pagedbg.shell.failures import explain
from pagedbg.schema.settings import Settings
from pagedbg.session import Session
from pagedbg.target.opening import open_target
core, *lines = sys.argv[1:]
results = []
try:
    session = Session(open_target(core), settings=Settings(pager="off"))
except Exception as error:
    results.append((1, "", f"pagedbg: {explain(error)}\\n"))
else:
    session.keep()
    for line in lines:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = execute(session, line)
        results.append((status, out.getvalue(), err.getvalue()))
json.dump(results, sys.stdout)
"""

Result = tuple[int, str, str]


def look_at(core: Path, *lines: str) -> list[Result]:
    """Run commands on a dump, in one process."""
    done = subprocess.run(
        [forkserver.python(), "-c", DRIVER, core, *lines],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return [tuple(result) for result in json.loads(done.stdout)]  # type: ignore[misc]


def check(result: Result) -> None:
    """Done, or refused in one sentence."""
    status, _, said = result
    assert status in (0, 1), result
    assert "Traceback" not in said
    if "bug in pagedbg" in said:
        pytest.fail(said)
    if status:
        assert said.count("\n") == 1, said

# SPDX-License-Identifier: GPL-2.0-or-later
"""
The bundled dump, and what is known of it from elsewhere: from drgn with debug info, a page at a time (``contrib/lab/oracle.py``), and from
the guest itself just before it was stopped.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import lzma
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from debugfs_text import Record, parse

from pagedbg.cli import SAMPLE
from pagedbg.target import Target, open_target

DATA = Path(__file__).parent / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is in this directory."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("dump")


@dataclasses.dataclass(frozen=True)
class Block:
    """A block put together from the oracle's pages: its first page's record, and how many of its pages are in that state."""

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
        self.stacks: dict[int, list[tuple[int, str | None]]] = {int(handle): [tuple(f) for f in frames] for handle, frames in said["stacks"].items()}
        self.zones: list[dict[str, Any]] = said["zones"]
        self.pages: dict[int, dict[str, Any]] = {row[0]: dict(zip(said["columns"], row, strict=True)) for row in said["records"]}

    @functools.cache  # noqa: B019 - there is one oracle
    def blocks(self, state: str = "allocated") -> Sequence[Block]:
        """The blocks with pages in a state, one page after the other."""
        found: dict[tuple[int, int], list[dict[str, Any]]] = {}
        for pfn, record in sorted(self.pages.items()):
            if record["state"] == state:
                found.setdefault((pfn - pfn % (1 << record["order"]), record["order"]), []).append(record)
        return [Block(pfn, len(pages), pages[0]) for (pfn, _), pages in found.items()]

    def zone(self, pfn: int) -> str:
        """The zone that a page lies in."""
        return next(zone["name"] for zone in self.zones if zone["start_pfn"] <= pfn < zone["start_pfn"] + zone["spanned"])


@pytest.fixture(scope="session")
def oracle() -> Oracle:
    """What drgn says of the bundled dump with debug info."""
    return Oracle(DATA / "sample.oracle.json.xz")


@pytest.fixture(scope="session")
def said_by_the_kernel() -> list[Record]:
    """What the guest's debugfs page_owner said shortly before the dump: some of it has changed since."""
    with lzma.open(DATA / "sample.page_owner.xz", "rt", encoding="utf-8", errors="backslashreplace") as file:
        return parse(file.read())


@pytest.fixture(scope="session")
def sample() -> Target:
    """The bundled dump, opened without debug info."""
    return open_target(str(SAMPLE))


class Run:
    """Runs pagedbg, the program."""

    def __call__(self, *args: str | os.PathLike[str], **more: Any) -> subprocess.CompletedProcess[str]:
        """Run it with some arguments; it never ends with a traceback."""
        more.setdefault("stdin", subprocess.DEVNULL)
        done = subprocess.run([sys.executable, "-m", "pagedbg", *map(os.fspath, args)], capture_output=True, text=True, timeout=120, check=False, **more)
        assert "Traceback" not in done.stderr
        assert "bug in pagedbg" not in done.stderr, done.stderr
        return done

    def json(self, *args: str) -> Any:
        """What a command on the bundled dump prints as JSON."""
        done = self("-c", SAMPLE, "--format", "json", *args)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="session")
def pagedbg() -> Run:
    """pagedbg as a program."""
    return Run()

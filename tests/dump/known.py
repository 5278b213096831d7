# SPDX-License-Identifier: GPL-2.0-or-later
"""
The bundled dump, what ``contrib/lab/oracle.py`` found in it with debug info, and pagedbg as a program to run on it.

Beside the ``conftest.py`` that makes fixtures of them, since tests of several directories cannot each import a module of that name.
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

from pagedbg.cli import SAMPLE

DATA = Path(__file__).parent / "data"


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
        self.stacks: dict[int, list[tuple[int, str | None]]] = {
            int(handle): [tuple(f) for f in frames] for handle, frames in said["stacks"].items()
        }
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


class Run:
    """Runs pagedbg, the program."""

    def __call__(self, *args: str | os.PathLike[str], **more: Any) -> subprocess.CompletedProcess[str]:
        """Run it with some arguments; it never ends with a traceback."""
        more.setdefault("stdin", subprocess.DEVNULL)
        done = subprocess.run(
            [sys.executable, "-m", "pagedbg", *map(os.fspath, args)], capture_output=True, text=True, timeout=120, check=False, **more
        )
        assert "Traceback" not in done.stderr
        assert "bug in pagedbg" not in done.stderr, done.stderr
        return done

    def json(self, *args: str) -> Any:
        """What a command on the bundled dump prints as JSON."""
        done = self("-c", SAMPLE, "--format", "json", *args)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return json.loads(done.stdout)

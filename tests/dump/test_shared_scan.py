# SPDX-License-Identifier: GPL-2.0-or-later
"""Sums of ``owners`` that several processes find together: the same as one finds."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest
from known import ORDINARY, SAMPLE

# The program as it is, but that it takes memory in parts of 4 MiB, as no process is
# worth its while in a dump that is small enough to come with the tests. At its end it
# says how many processes it had.
PROGRAM = """
import os, sys
from pagedbg.mm import page_owner_blocks
from pagedbg.sources import shared_scan
from pagedbg.cli import main
page_owner_blocks._LARGEST = 10
shared_scan._LEAST = 8
forks = []
os.register_at_fork(after_in_parent=lambda: forks.append(1))
status = main(sys.argv[1:])
print(len(forks), "forks", file=sys.stderr)
sys.stderr.flush()
os._exit(status)
"""


def ask(dump: object, lines: Sequence[str]) -> tuple[list[Any], str, int]:
    """What commands find, the notes on it, and how many processes they took."""
    done = subprocess.run(
        [
            *(sys.executable, "-c", PROGRAM, "-c", str(dump), "--format", "json"),
            *(word for line in lines for word in ("-e", line)),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    found, at = [], 0
    while at < len(done.stdout):
        rows, at = json.JSONDecoder().raw_decode(done.stdout, at)
        found.append(rows)
        at += 1
    *notes, forks = done.stderr.splitlines()
    return found, "\n".join(notes), int(forks.split()[0])


LINES = (
    "owners --by order",
    "owners --by stack,pid",
    "owners --by comm,gfp",
    "owners --by zone,node,age,migratetype",
    "owners --by module --state any",
    "owners --by order --state freed",
    "owners --by pid --orders '>=1' --migratetype Unmovable",
    "owners --by function --pfns 0x100-0x5fff --top 5",
)


@pytest.mark.parametrize("dump", (ORDINARY, SAMPLE), ids=lambda dump: dump.name)
def test_several_processes_find_what_one_finds(dump: object) -> None:
    found, notes, forks = ask(dump, [line + " --jobs 1" for line in LINES])
    assert len(found) == len(LINES) and all(found) and forks == 0
    shared = ask(dump, [line + " --jobs 3" for line in LINES])
    assert shared == (found, notes, 3 * len(LINES))


def test_what_is_found_by_names_is_found_by_one() -> None:
    lines = ("owners --by kind", "owners --by order --stack alloc", "owners --top 3")
    assert ask(ORDINARY, [line + " --jobs 3" for line in lines])[2] == 0


def test_a_number_of_processes_that_cannot_be() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pagedbg", "-c", str(SAMPLE), "owners", "--jobs", "0"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "write 1 or 4" in done.stderr and "Traceback" not in done.stderr

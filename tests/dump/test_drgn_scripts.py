# SPDX-License-Identifier: GPL-2.0-or-later
"""``--drgn``: what is printed runs in drgn, and finds what the command does."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from known import SAMPLE, Row, look_at

DRGN = Path(sys.executable).with_name("drgn")
END = "-- end of a script --"


def holders(key: str) -> Callable[[list[Row]], list[str]]:
    """Lines of pages and a key."""
    return lambda rows: [f"{row['pages']} {row[key]}" for row in rows]


def kinds(rows: list[Row]) -> list[str]:
    """Lines of pages and a kind, whatever the details are."""
    pages: Counter[str] = Counter()
    for row in rows:
        pages[row["kind"]] += row["pages"]
    return [f"{count} {kind}" for kind, count in pages.most_common()]


def zones(rows: list[Row]) -> list[str]:
    """Two lines a zone."""
    lines = []
    for row in rows:
        free = f"{row['node']} {row['zone']} {row['present']} {row['free']}"
        marks = [row[f"wmark_{name}"] for name in ("min", "low", "high")]
        lines += [free, " ".join(map(str, (*marks, row["boost"])))]
    return lines


def attempts(rows: list[Row]) -> list[str]:
    """A line for each zone that is asked."""
    return [
        f"{row['zone']} {row['result']} {row['free']} {row['need']}"
        for row in rows
        if row["topic"] == "zone"
    ]


def columns(*names: str) -> Callable[[list[Row]], list[str]]:
    """Lines of some columns."""
    return lambda rows: [" ".join(str(row[name]) for name in names) for row in rows]


def blocks_of(rows: list[Row]) -> list[str]:
    """Lines of pageblocks."""
    return [
        f"{row['start_pfn']:#x} {row['zone']} {row['pageblock_migratetype']}"
        f" {row['pages']} {row['free']}"
        for row in rows
    ]


# A command line, and what its script prints, by the rows that the command gives.
LINES: dict[str, Callable[[list[Row]], list[str]]] = {
    "owners --by comm --top 5": holders("comm"),
    "owners --by order": holders("order"),
    "owners --by pid --state freed": holders("pid"),
    "memory": kinds,
    "blocks": blocks_of,
    "zones": zones,
    "free": columns("node", "zone", "order", "blocks"),
    "explain order 4": attempts,
    "explain order 2 --gfp GFP_ATOMIC --zone DMA": attempts,
}


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What drgn prints by the script of each command line, without debug info."""
    lines = [*LINES, "owners --by stack --top 1", "owners --top 2"]
    answers = look_at(SAMPLE, *(f"{line} --drgn" for line in lines))
    assert [answer[0] for answer in answers] == [0] * len(lines)
    script = tmp_path_factory.mktemp("drgn") / "scripts.py"
    script.write_text(f"\nprint({END!r})\n".join(answer[1] for answer in answers))
    done = subprocess.run(
        [DRGN, "-q", "--no-default-symbols", "-c", SAMPLE, script],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    parts = done.stdout.split(f"{END}\n")
    found = [[each.strip() for each in part.splitlines()] for part in parts]
    return dict(zip(lines, found, strict=True))


def test_a_script_finds_what_the_command_does(printed: dict[str, list[str]]) -> None:
    answers = look_at(SAMPLE, *(f"{line} --format json" for line in LINES))
    for (line, lines_of), (_, out, _) in zip(LINES.items(), answers, strict=True):
        expected = lines_of(json.loads(out))
        assert len(expected) > 1 or "explain" in line
        # Those with as many pages may stand in any order.
        found = printed[line][: len(expected)]
        assert sorted(found) == sorted(expected), line


def test_a_script_shows_stacks_and_records(printed: dict[str, list[str]]) -> None:
    rows, by_stack = (
        json.loads(answer[1])
        for answer in look_at(
            SAMPLE,
            "owners --top 2 --format json",
            "owners --by stack --top 1 --format json",
        )
    )
    for row, said in zip(rows, printed["owners --top 2"], strict=True):
        assert said.startswith(f"{row['pfn']:#x} {row['pages']} PageOwner(")
        assert f"ts_nsec={row['ts_ns']}," in said
    first, *frames = printed["owners --by stack --top 1"]
    assert first.split()[0] == str(by_stack[0]["pages"])
    # drgn has no source lines without debug info, and numbers the frames.
    assert [line.split()[-1] for line in (first, *frames) if line] == [
        frame.split()[0] for frame in by_stack[0]["stack"]
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("owners --zone DMA", "--drgn has no Python for --zone: leave it out"),
        ("owners --by module", "--drgn has Python for --by comm, order, pid, stack"),
        ("owners --state any", "--drgn has Python for --state allocated or freed"),
        ("memory --by comm", "--drgn has no Python for --by: leave it out"),
        ("explain", "--drgn has Python for explain order ORDER"),
        ("inspect pfn 1 --format csv", "--drgn has no Python for --format"),
    ],
)
def test_what_no_script_does_is_said(line: str, said: str) -> None:
    ((status, _, error),) = look_at(SAMPLE, f"{line} --drgn")
    assert status == 2
    assert said in error

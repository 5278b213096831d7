# SPDX-License-Identifier: GPL-2.0-or-later
"""``watch`` on a dump: a picture after the other, and what it refuses."""

from __future__ import annotations

import re

import pytest
from known import SAMPLE, Run


def watched(pagedbg: Run, *args: str) -> str:
    done = pagedbg("-c", SAMPLE, "watch", "--times", "2", "-n", "0.1", *args)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_what_is_no_terminal_gets_one_table_after_the_other(pagedbg: Run) -> None:
    line = ("owners", "--by", "module", "--top", "2")
    table = pagedbg("-c", SAMPLE, *line).stdout
    heading = rf"\d\d:\d\d:\d\d  {' '.join(line)}\n"
    assert re.fullmatch(2 * f"{heading}{re.escape(table)}\n", watched(pagedbg, *line))


def test_in_a_dump_nothing_changes(pagedbg: Run) -> None:
    said = watched(pagedbg, "--diff", "owners", "--by", "module")
    assert said.count("Nothing has changed.\n") == 2


@pytest.mark.parametrize(
    ("args", "said"),
    (
        ("", "what shall be watched is missing; write watch owners --by comm"),
        ("nonsense", "nonsense: no such command"),
        ("log --format json", "a table that is watched is text: leave --format and -o"),
        ("log -o x", "a table that is watched is text: leave --format and -o out"),
        ("trace set", "trace set gives no table that could be drawn again"),
        ("trace follow", "trace follow gives no table that could be drawn again"),
        ("watch status", "watch gives no table that could be drawn again"),
        ("-n 0 status", "-n/--interval: '0' is no number of seconds"),
        ("--times 0 status", "--times: '0' is no number of times; write 10"),
        ("--diff --times 1 doctor", "--diff: nothing in this table is counted"),
    ),
)
def test_what_cannot_be_watched_is_refused(pagedbg: Run, args: str, said: str) -> None:
    done = pagedbg("-c", SAMPLE, "watch", *args.split())
    assert done.returncode == 2
    assert done.stderr.startswith(f"watch: {said}"), done.stderr
    assert done.stderr.count("\n") == 1

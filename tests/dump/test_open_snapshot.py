# SPDX-License-Identifier: GPL-2.0-or-later
"""
A snapshot that is opened in place of a kernel: what commands answer out of it is what
they say of the dump that it is of, to the row.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest
from kept_snapshots import CORES, Answers, answers_to, snapshots_of
from known import ORDINARY, SAMPLE, Run

KEYS = (
    *("stack_id", "stack_shape", "stack", "module", "function", "order", "gfp_mask"),
    *("gfp", "migratetype", "zone", "node", "kind", "memcg", "comm", "age"),
)

LINES = (
    "status",
    "zones",
    "free",
    "free --by migratetype",
    "explain",
    "blocks",
    "pageblocks --top 3",
    "blocks --polluted --sort -unmovable",
    "blocks --zone DMA --top 3",
    "blocks --node 0 --sort free",
    "blocks --node 1",
    "memory",
    "memory --section kinds --top 4 --sort detail",
    "memory --section unaccounted",
    "memory --section pools",
    "memory --section largest",
    "memory --section health",
    *(f"owners --by {key}" for key in KEYS),
    "owners --by comm,order,kind --top 5",
    "owners --by module,function --sort -blocks",
    "owners --by comm --orders '>=1' --gfp __GFP_COMP",
    "owners --by function --migratetype movable --zone DMA32",
    "owners --by comm --comm 'python*'",
    "owners --by order --stack vmalloc --node 0",
    "owners --by order --node 1",
    "owners --by stack_shape --module leaky --columns pages,stack_shape",
    "owners --by memcg --kind slab,file --memcg '/*'",
    'sql "SELECT * FROM owner_sums ORDER BY ALL"',
    'sql "SELECT * FROM stack_names ORDER BY ALL"',
    'sql "SELECT zone, managed FROM pageblocks JOIN zones USING (zone) ORDER BY ALL"',
    'sql "SELECT release, zones[1].managed FROM kernel"',
)


kept = snapshots_of()
answers = answers_to(LINES)


@pytest.mark.parametrize("core", CORES, ids=lambda core: core.stem)
@pytest.mark.parametrize("line", LINES)
def test_a_snapshot_says_what_the_dump_says(
    answers: Answers, core: Path, line: str
) -> None:
    answers.compare(core, line)


def test_what_is_compared_has_rows(answers: Answers) -> None:
    empty = {"blocks --node 1", "owners --by order --node 1", "memory --section pools"}
    for line in LINES:
        assert bool(answers.of_dump(SAMPLE, line)) == (line not in empty), line


def test_the_snapshot_that_is_open_is_the_later_side(
    pagedbg: Run, kept: dict[Path, Path]
) -> None:
    line = ("diff", kept[ORDINARY], "--by", "module", "--format", "json")
    done = pagedbg("--snapshot", kept[SAMPLE], *line)
    assert json.loads(done.stdout)
    assert done.stdout == pagedbg("-c", SAMPLE, *line).stdout


def test_status_says_what_the_snapshot_holds(
    pagedbg: Run, kept: dict[Path, Path]
) -> None:
    done = pagedbg("--snapshot", kept[SAMPLE], "status")
    assert done.stdout.startswith(f"snapshot: {kept[SAMPLE]}, of sample.vmcore (")
    assert " pageblocks, 1 failures, " in done.stdout


@pytest.mark.parametrize(
    ("line", "said"),
    (
        (
            "log",
            "log: a snapshot does not hold what log says: what it holds answers status,"
            " memory, owners, stacks, blocks, pageblocks, zones, free, explain,"
            " inspect, map, sql and diff.",
        ),
        (
            "owners --by comm,file",
            "owners: a snapshot does not hold sums by file: it has order, comm, stack,"
            " stack_id, stack_shape, module, function, site, gfp, gfp_mask,"
            " migratetype, zone, node, age, kind, memcg.",
        ),
        (
            "owners --state any --by comm",
            "owners: a snapshot does not hold what was freed: leave --state out.",
        ),
        (
            "memory --by file",
            "memory: a snapshot does not hold what --by asks for: it has sums by kind,"
            " and owners has what is on record by more.",
        ),
        (
            "memory --section processes",
            "memory: a snapshot does not hold the section processes: it has the"
            " sections kinds, unaccounted, pools, largest, health, objects.",
        ),
        (
            "blocks --pinned",
            "blocks: a snapshot does not hold what --pinned asks for: it has a row a"
            " pageblock; ask a dump, or the kernel.",
        ),
        (
            "explain order 4",
            "explain: a snapshot does not hold the log and the lists of free blocks"
            " that this takes apart: explain alone lists what failed, and zones and"
            " free --by migratetype say what was free.",
        ),
        (
            "sql 'SELECT count(*) FROM pages'",
            "sql: a snapshot does not hold single pages: snapshot save --full keeps",
        ),
        (
            "sql 'SELECT count(*) FROM messages'",
            "sql: a snapshot does not hold what log says: ",
        ),
        ("map", "map: a snapshot does not hold single pages: "),
        (
            "correlate",
            "correlate: a snapshot holds no recording: trace load DIR (or pagedbg"
            " --capture DIR) opens a capture.",
        ),
        ("trace status", "trace status: a snapshot holds no recording: "),
    ),
)
def test_what_it_does_not_hold_is_said_in_one_sentence(
    pagedbg: Run, kept: dict[Path, Path], line: str, said: str
) -> None:
    done = pagedbg("--snapshot", kept[SAMPLE], *shlex.split(line))
    assert done.returncode == 1
    assert done.stderr.startswith(said.format(kept[SAMPLE]))
    assert done.stderr.count("\n") == 1


def test_words_that_no_snapshot_knows_are_refused(
    pagedbg: Run, kept: dict[Path, Path]
) -> None:
    done = pagedbg("--snapshot", kept[SAMPLE], "blocks", "--zone", "DMA32'; --")
    assert done.returncode == 2
    assert done.stderr.startswith("blocks: --zone: ")


def test_what_is_no_snapshot_is_not_opened(pagedbg: Run, tmp_path: Path) -> None:
    done = pagedbg("--snapshot", tmp_path, "status")
    assert done.returncode == 1
    assert done.stderr == (
        f"pagedbg: {tmp_path} is no snapshot: meta.json: No such file or directory.\n"
    )
    done = pagedbg("--snapshot", tmp_path, "--capture", tmp_path, "status")
    assert done.returncode == 2
    assert "--snapshot cannot be given together with --capture" in done.stderr


def has_open(pid: int, name: str) -> bool:
    """Whether a process has a file of this name open."""
    for each in Path(f"/proc/{pid}/fd").iterdir():
        # What it has closed since.
        with contextlib.suppress(FileNotFoundError):
            if Path(os.readlink(each)).name == name:
                return True
    return False


def test_ctrl_c_ends_a_query(kept: dict[Path, Path], tmp_path: Path) -> None:
    copy = shutil.copytree(kept[SAMPLE], tmp_path / "copy")
    rows = 4_000_000
    duckdb.sql(
        f"SELECT o.* REPLACE (range::VARCHAR AS stack_id) FROM range({rows}), (SELECT *"
        f" FROM '{kept[SAMPLE]}/owners.parquet' LIMIT 1) o"
    ).write_parquet(str(copy / "owners.parquet"))
    meta = json.loads((copy / "meta.json").read_text())
    meta["relations"]["owners"] = rows
    (copy / "meta.json").write_text(json.dumps(meta))
    with subprocess.Popen(
        [sys.executable, "-m", "pagedbg", "--snapshot", copy, "owners", "--by", "comm"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as asked:
        # The query has begun when it has its file open.
        while not has_open(asked.pid, "owners.parquet"):
            time.sleep(0.01)
        time.sleep(0.2)
        asked.send_signal(signal.SIGINT)
        said = asked.communicate(timeout=60)
    assert (asked.returncode, *said) == (130, "", "")

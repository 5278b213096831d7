# SPDX-License-Identifier: GPL-2.0-or-later
"""A lake that is compacted says what it said before, whoever is killed meanwhile."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from fleet import change_meta, make_snapshots, told
from known import Run

KILLED = Path(__file__).with_name("killed_compaction.py")
NEW = "6.12.2-new"


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_snapshots(tmp_path_factory.mktemp("fleet"), hosts=3, days=2)


@pytest.fixture
def lake(snapshots: Path, tmp_path: Path) -> Path:
    """A lake, of which nothing is compacted."""
    lake = tmp_path / "lake"
    lake.mkdir()
    assert Run()("fleet", "add", lake, snapshots).returncode == 0
    return lake


QUESTIONS = (
    ("owners", "--by", "stack_shape,order"),
    ("diff", "--before", "2026-11-01", "--after", "2026-11-02", "--by", "module,comm"),
    ("since", NEW, "--by", "function"),
    ("trend", "--by", "function"),
    ("hosts", "--stack", "leaky"),
)


def answers(pagedbg: Run, lake: Path) -> list[object]:
    return [told(pagedbg, "fleet", name, lake, *words) for name, *words in QUESTIONS]


def test_answers_are_the_same_and_there_are_few_files(
    pagedbg: Run, lake: Path, snapshots: Path, tmp_path: Path
) -> None:
    before = answers(pagedbg, lake)
    assert pagedbg("fleet", "compact", lake).stdout == "Snapshots compacted: 6.\n"
    assert answers(pagedbg, lake) == before
    assert {path.name for path in lake.glob("*/*")} == {"compacted=1"}
    done = pagedbg("fleet", "add", lake, snapshots)
    assert done.stdout.endswith(": 0, and 6 were in it already.\n")
    # What each relation had is in one file a day, with the number of the snapshot.
    for relation in ("owners", "memory", "kernel", "pageblocks", "free_areas"):
        files = f"SELECT count(*) FROM '{snapshots}/*/{relation}.parquet'"
        ((one_by_one,),) = duckdb.sql(files).fetchall()
        ((together,),) = duckdb.sql(
            f"SELECT count(snapshot) FROM '{lake}/*/*/{relation}.parquet'"
        ).fetchall()
        assert together == one_by_one > 0
    said = duckdb.sql(f"SELECT meta FROM '{lake}/*/*/snapshots.parquet'").fetchall()
    assert {meta for (meta,) in said} == {
        path.read_text() for path in snapshots.glob("*/meta.json")
    }


def test_what_comes_later_is_compacted_with_it(
    pagedbg: Run, snapshots: Path, tmp_path: Path, lake: Path
) -> None:
    expected = answers(pagedbg, lake)
    late = tmp_path / "late"
    late.mkdir()
    for host in range(3):
        some = [snapshots / f"{host:05}-{day}" for day in range(2)]
        assert pagedbg("fleet", "add", late, *some).returncode == 0
        assert pagedbg("fleet", "compact", late).returncode == 0
    assert {path.name for path in late.glob("*/*")} == {"compacted=3"}
    assert answers(pagedbg, late) == expected


def test_what_is_damaged_stays_as_it_is(pagedbg: Run, lake: Path) -> None:
    (host,) = lake.glob("date=2026-11-02/host=host00001/snapshot=*")
    owners = (host / "zones.parquet").read_bytes()
    (host / "zones.parquet").write_bytes(owners[:-10])
    done = pagedbg("fleet", "compact", lake)
    assert f"zones.parquet of {host} is damaged" in done.stdout
    assert "Snapshots compacted: 5." in done.stdout
    assert [path.name for path in lake.glob("*/host=*")] == ["host=host00001"]


def test_a_damaged_day_is_named_and_the_others_answer(pagedbg: Run, lake: Path) -> None:
    assert pagedbg("fleet", "compact", lake).returncode == 0
    owners = lake / "date=2026-11-02" / "compacted=1" / "owners.parquet"
    owners.write_bytes(owners.read_bytes()[:100])
    done = pagedbg("fleet", "owners", lake, "--by", "comm")
    assert done.returncode == 0
    assert f"{owners.parent} is damaged" in done.stdout
    assert "3 hosts on 2026-11-01." in done.stdout


def test_one_at_a_time_compacts_a_day(pagedbg: Run, lake: Path) -> None:
    import fcntl

    held = os.open(lake / "date=2026-11-01", os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = pagedbg("fleet", "compact", lake)
    finally:
        os.close(held)
    assert done.returncode == 1
    assert "date=2026-11-01 is being compacted by another" in done.stderr
    assert done.stdout == "Snapshots compacted: 3.\n"


@pytest.mark.long
def test_whoever_is_killed_while_compacting_loses_nothing(
    pagedbg: Run, snapshots: Path, tmp_path: Path
) -> None:
    # One snapshot is compacted already, so that all that can be is there.
    first = tmp_path / "first"
    first.mkdir()
    for name in ("00000-0", "00001-0"):
        few = shutil.copytree(snapshots / name, tmp_path / name)
        rows = json.loads((few / "meta.json").read_text())["relations"]
        change_meta(few, relations={each: rows[each] for each in ("owners", "stacks")})
        assert pagedbg("fleet", "add", first, few).returncode == 0
        if name == "00000-0":
            assert pagedbg("fleet", "compact", first).returncode == 0
    copies = tmp_path / "copies"
    copies.mkdir()
    done = subprocess.run(
        [sys.executable, KILLED, first, copies],
        capture_output=True,
        text=True,
        check=True,
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["killed"] for each in found] == [True] * (len(found) - 1) + [False]
    # There is more to be interrupted than a few files.
    assert len(found) > 20
    for each in found:
        assert each["same"] and each["same_later"]
        assert each["left"] == []

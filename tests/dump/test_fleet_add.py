# SPDX-License-Identifier: GPL-2.0-or-later
"""What goes into a lake of many hosts' snapshots, and what does not."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fleet import change_meta, make_snapshots, told
from known import Run

from pagedbg.schema.relations import SCHEMA_VERSION

KILLED = Path(__file__).with_name("killed_adding.py")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_snapshots(tmp_path_factory.mktemp("fleet"), hosts=2, days=2)


@pytest.fixture
def snapshots(made: Path, tmp_path: Path) -> Path:
    """Four snapshots, to be changed."""
    return shutil.copytree(made, tmp_path / "snapshots")


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """An empty lake."""
    (tmp_path / "lake").mkdir()
    return tmp_path / "lake"


def files(lake: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in lake.rglob("*") if path.is_file()}


def test_snapshots_stand_by_day_and_host_as_they_were_saved(
    pagedbg: Run, snapshots: Path, lake: Path
) -> None:
    done = pagedbg("fleet", "add", lake, snapshots)
    assert done.stdout == f"Snapshots added to {lake}: 4.\n"
    (copy,) = lake.glob("date=2026-11-02/host=host00001/snapshot=*")
    original = snapshots / "00001-1"
    assert {each.name: each.read_bytes() for each in copy.iterdir()} == {
        each.name: each.read_bytes() for each in original.iterdir()
    }
    assert copy.stat().st_mode & 0o777 == 0o700
    days = told(pagedbg, "fleet", "status", lake)
    assert [(row["date"], row["hosts"], row["snapshot_count"]) for row in days] == [
        ("2026-11-01", 2, 2),
        ("2026-11-02", 2, 2),
    ]
    assert days[1]["releases"] == ["6.12.2-new"]
    assert sum(row["bytes"] for row in days) == sum(map(len, files(lake).values()))


def test_what_is_in_it_already_stays_as_it_is(
    pagedbg: Run, snapshots: Path, lake: Path
) -> None:
    pagedbg("fleet", "add", lake, snapshots / "00000-0")
    before = files(lake)
    done = pagedbg("fleet", "add", lake, snapshots)
    assert done.returncode == 0
    assert done.stdout.endswith(": 3, and 1 were in it already.\n")
    assert before.items() <= files(lake).items()


def test_what_does_not_go_in_is_named_and_the_others_go_in(
    pagedbg: Run, snapshots: Path, lake: Path
) -> None:
    owners = snapshots / "00000-0" / "owners.parquet"
    owners.write_bytes(owners.read_bytes()[:-100])
    (snapshots / "00000-1" / "zones.parquet").unlink()
    change_meta(snapshots / "00001-0", taken="2999-01-01T00:00:00+00:00")
    shutil.copytree(snapshots / "00001-1", snapshots / "odd")
    change_meta(snapshots / "odd", host="../../etc")
    shutil.copytree(snapshots / "00001-1", snapshots / "timeless")
    change_meta(snapshots / "timeless", taken=None)
    done = pagedbg("fleet", "add", lake, snapshots)
    assert done.returncode == 1
    assert done.stdout == f"Snapshots added to {lake}: 1.\n"
    for said in (
        f"owners.parquet of {snapshots}/00000-0 is damaged:",
        f"{snapshots}/00000-1 lacks zones.parquet",
        f"{snapshots}/00001-0 says that it is of 2999-01-01T00:00:00+00:00, which has",
        "a host called '../../etc' can be in no lake",
        f"{snapshots}/timeless does not say when it is of",
    ):
        assert said in done.stderr
    assert len([*lake.rglob("meta.json")]) == 1
    assert not [*lake.rglob(".*")]
    done = pagedbg("fleet", "add", lake, snapshots / "nowhere", snapshots)
    assert done.stderr.endswith("So it is with 1 more.\n")
    assert done.stdout.endswith(": 0, and 1 were in it already.\n")


def test_a_row_that_is_missing_is_noticed(
    pagedbg: Run, snapshots: Path, lake: Path
) -> None:
    shutil.copy(
        snapshots / "00000-0" / "zones.parquet",
        snapshots / "00000-0" / "memory.parquet",
    )
    done = pagedbg("fleet", "add", lake, snapshots / "00000-0")
    assert "memory.parquet of" in done.stderr
    assert "is damaged, or of another snapshot" in done.stderr


def test_two_machines_cannot_have_one_name(
    pagedbg: Run, snapshots: Path, lake: Path
) -> None:
    change_meta(snapshots / "00001-0", host="host00000", host_id="f" * 32)
    done = pagedbg("fleet", "add", lake, snapshots)
    assert "is of another machine that is called host00000, too" in done.stderr
    assert len([*lake.rglob("meta.json")]) == 3


def test_a_snapshot_of_another_version_is_named(
    pagedbg: Run, snapshots: Path, lake: Path
) -> None:
    change_meta(snapshots / "00000-0", version=2)
    done = pagedbg("fleet", "add", lake, snapshots)
    assert "has version 2 of the format, and this pagedbg reads 1" in done.stderr
    assert "added" in done.stdout and ": 3." in done.stdout


def test_columns_of_another_version_are_named(
    pagedbg: Run, snapshots: Path, lake: Path
) -> None:
    change_meta(snapshots / "00000-0", schema=SCHEMA_VERSION + 1)
    done = pagedbg("fleet", "add", lake, snapshots)
    assert f"has columns of version {SCHEMA_VERSION + 1}" in done.stderr
    assert ": 3." in done.stdout


def test_what_cannot_be_believed_is_named(
    pagedbg: Run, snapshots: Path, lake: Path
) -> None:
    pagedbg("fleet", "add", lake, snapshots)
    (lake / "lost+found").mkdir()
    (lake / "date=2026-11-01" / "host=host00000" / "notes.txt").write_text("hi")
    (broken,) = (lake / "date=2026-11-01" / "host=host00001").iterdir()
    (broken / "meta.json").write_text("{")
    (moved,) = (lake / "date=2026-11-02" / "host=host00001").iterdir()
    moved.rename(moved.with_name("snapshot=7"))
    done = pagedbg("fleet", "status", lake, "--format", "json")
    assert done.returncode == 0
    for said in (
        f"{lake}/lost+found is no part of a lake: it is left alone.",
        "notes.txt is no snapshot: it is left alone.",
        f"{broken} is no snapshot: its meta.json is damaged: it is left out.",
        "snapshot=7 has another snapshot's name: it is left out.",
    ):
        assert said in done.stderr
    assert '"hosts":1' in done.stdout.replace(" ", "")


def test_a_clock_that_was_set_and_a_twin_are_named(
    pagedbg: Run, snapshots: Path, lake: Path
) -> None:
    hour = 3600 * 10**9
    # Of one boot, which by its own clock is 3 hours older, and by the wall's a day.
    boot = {"boot_id": "x", "host": "set"}
    change_meta(snapshots / "00000-0", up_ns=5 * hour, **boot)
    change_meta(snapshots / "00000-1", up_ns=8 * hour, **boot)
    # The second was booted before the first was asked.
    twin = {"host": "twin", "host_id": None}
    change_meta(snapshots / "00001-0", up_ns=5 * hour, boot_id="y", **twin)
    change_meta(snapshots / "00001-1", up_ns=72 * hour, boot_id="z", **twin)
    assert pagedbg("fleet", "add", lake, snapshots).returncode == 0
    done = pagedbg("fleet", "status", lake, "--format", "json")
    assert "set at 2026-11-01T12:00:00+00:00 is not when it was" in done.stderr
    assert "set at 2026-11-02T12:00:00+00:00 is not when it was" in done.stderr
    assert "twin was booted while it ran" in done.stderr


def test_a_lake_that_is_none_is_named(pagedbg: Run, snapshots: Path) -> None:
    for lake, why in (
        (snapshots / "nowhere", "No such file or directory"),
        (snapshots / "00000-0" / "meta.json", "Not a directory"),
        (Path("/proc/self"), "cannot be made"),
    ):
        done = pagedbg("fleet", "add", lake, snapshots)
        assert done.returncode == 1
        assert why in done.stderr


def few_relations(snapshot: Path) -> Path:
    """A snapshot with as few files as are needed."""
    rows = json.loads((snapshot / "meta.json").read_text())["relations"]
    change_meta(snapshot, relations={each: rows[each] for each in ("owners", "stacks")})
    return snapshot


@pytest.mark.long
@pytest.mark.once
def test_who_is_killed_while_adding_leaves_nothing_for_good(
    pagedbg: Run, snapshots: Path, lake: Path, tmp_path: Path
) -> None:
    assert pagedbg("fleet", "add", lake, snapshots / "00000-0").returncode == 0
    (tmp_path / "copies").mkdir()
    late = few_relations(snapshots / "00001-0")
    done = subprocess.run(
        [sys.executable, KILLED, lake, late, tmp_path / "copies"],
        capture_output=True,
        text=True,
        check=True,
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["killed"] for each in found] == [True] * (len(found) - 1) + [False]
    assert sum(len(each["left"]) for each in found) >= 4
    for each in found:
        # It is no part of an answer, and said by fleet status.
        assert each["same"] == each["killed"]
        assert each["left"] == each["hidden"]
        assert each["snapshots"] == 2
        assert each["hidden_later"] == []


def test_what_is_left_is_told_from_what_is_being_written(
    pagedbg: Run, snapshots: Path, lake: Path
) -> None:
    assert pagedbg("fleet", "add", lake, snapshots / "00000-0").returncode == 0
    (host,) = lake.glob("date=*/host=*")
    unfinished = host / ".snapshot=1.99.new"
    unfinished.mkdir()
    held = os.open(unfinished, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert "killed" not in pagedbg("fleet", "status", lake).stdout
        assert pagedbg("fleet", "compact", lake).returncode == 0
        assert unfinished.is_dir()
    finally:
        os.close(held)
    said = f"{unfinished} is what is left of a fleet add that was killed"
    assert said in pagedbg("fleet", "status", lake).stdout
    pagedbg("fleet", "compact", lake)
    assert not host.exists()

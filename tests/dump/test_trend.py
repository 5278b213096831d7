# SPDX-License-Identifier: GPL-2.0-or-later
"""Who grows, over snapshots in which it is known who does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import duckdb
import pytest
from known import SAMPLE, Run

MINUTE = 60 * 10**9

# In each boot of six minutes a driver leaks, by as much again every minute; a program
# goes up and down; and what comm names is there in the later boot only.
PLANTED = """
    SELECT owners.* REPLACE (
        bytes * CASE
            WHEN module = 'leaky' THEN {step} + 1
            WHEN comm = 'python3' THEN 1 + 3 * ({step} % 2)
            ELSE 1 END AS bytes)
    FROM '{source}/owners.parquet' AS owners
    LEFT JOIN '{source}/stacks.parquet' USING (stack_id)
    WHERE {boot} = 1 OR comm IS DISTINCT FROM 'traffic' OR module = 'leaky'
"""


def changed_meta(snapshot: Path, **kernel: Any) -> None:
    path = snapshot / "meta.json"
    meta = json.loads(path.read_text())
    taken = kernel.pop("taken", meta["taken"])
    path.write_text(
        json.dumps({**meta, "taken": taken, "kernel": {**meta["kernel"], **kernel}})
    )


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve snapshots of two boots."""
    where = tmp_path_factory.mktemp("series")
    source = tmp_path_factory.mktemp("source") / "first"
    assert Run()("-c", SAMPLE, "snapshot", "save", source).returncode == 0
    for time in range(12):
        boot, step = divmod(time, 6)
        new = shutil.copytree(source, where / f"{11 - time}")
        planted = PLANTED.format(step=step, boot=boot, source=source)
        duckdb.sql(planted).write_parquet(str(new / "owners.parquet"))
        ((count,),) = duckdb.sql(
            f"SELECT count(*) FROM '{new}/owners.parquet'"
        ).fetchall()
        changed_meta(
            new,
            boot_id=f"boot {boot}",
            up_ns=(step + 1) * MINUTE,
            taken=f"2026-11-01T{boot:02}:{step:02}:00+00:00",
        )
        meta = json.loads((new / "meta.json").read_text())
        meta["relations"]["owners"] = count
        (new / "meta.json").write_text(json.dumps(meta))
    return where


def trend(pagedbg: Run, *args: str | Path) -> list[dict[str, Any]]:
    done = pagedbg("trend", *args, "--format", "json")
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_what_leaks_comes_first(pagedbg: Run, series: Path) -> None:
    found = trend(pagedbg, series, "--by", "module")
    leaky = found[0]
    # As much again every minute.
    assert leaky["module"] == "leaky"
    assert leaky["straightness"] == 100
    assert leaky["bytes_per_hour"] == 60 * leaky["first_bytes"]
    assert leaky["history"] == 2 * [
        leaky["first_bytes"] * (step + 1) for step in range(6)
    ]
    assert leaky["last_bytes"] == 6 * leaky["first_bytes"]


def test_what_goes_up_and_down_is_not_straight(pagedbg: Run, series: Path) -> None:
    by_comm = {row["comm"]: row for row in trend(pagedbg, series, "--by", "comm")}
    assert by_comm["python3"]["straightness"] < 10
    assert "swapper/0" not in by_comm


def test_a_reboot_is_no_growth(pagedbg: Run, series: Path) -> None:
    found = trend(pagedbg, series, "--by", "comm,module", "--comm", "traffic")
    (kernel,) = [row for row in found if row["module"] is None]
    assert kernel["history"][:6] == [0] * 6
    assert len(set(kernel["history"][6:])) == 1
    assert kernel["bytes_per_hour"] == 0


def test_a_stack_is_shown_with_its_shape(pagedbg: Run, series: Path) -> None:
    (first,) = trend(pagedbg, series, "--top", "1")
    assert any("leaky_rx_refill" in frame for frame in first["stack"])
    (bare,) = trend(pagedbg, series, "--top", "1", "--no-stack")
    assert "stack" not in bare


def test_text_has_a_little_picture(pagedbg: Run, series: Path) -> None:
    done = pagedbg("trend", series, "--by", "module")
    heading, first, *_, last = done.stdout.splitlines()
    assert heading.split() == [
        *("module", "bytes_per_hour", "straightness", "first_bytes", "last_bytes"),
        "history",
    ]
    assert first.startswith("leaky ")
    assert first.endswith("▂▃▄▅▆█▂▃▄▅▆█")
    assert last == (
        "12 snapshots of 2 boots, from 2026-11-01T00:00:00+00:00 to"
        " 2026-11-01T01:05:00+00:00."
    )


def test_what_cannot_be_used_is_named_and_left_out(
    pagedbg: Run, series: Path, tmp_path: Path
) -> None:
    where = shutil.copytree(series, tmp_path / "series")
    (where / "0" / "owners.parquet").unlink()
    (where / "1" / "stacks.parquet").write_bytes(b"PAR1")
    changed_meta(where / "2", up_ns=None)
    shutil.copytree(where / "3", where / "copy")
    (where / "4" / "meta.json").write_text("{")
    done = pagedbg("trend", where, "--by", "module", "--format", "json")
    (leaky, *_) = json.loads(done.stdout)
    assert len(leaky["history"]) == 8
    assert leaky["straightness"] == 100
    said = sorted(done.stderr.splitlines())
    for name, sentence in (
        ("0", f"{where}/0 lacks owners.parquet, which its meta.json counts:"),
        ("1", f"stacks.parquet of {where}/1 is damaged:"),
        (
            "2",
            f"{where}/2 does not say of which boot it is, or when it was: it is left"
            " out.",
        ),
        ("copy", f"{where}/copy is the same as {where}/3: it is left out."),
    ):
        assert any(line.startswith(sentence) for line in said), name


def test_many_that_cannot_be_used_are_one_sentence(
    pagedbg: Run, series: Path, tmp_path: Path
) -> None:
    where = shutil.copytree(series, tmp_path / "series")
    for name in ("0", "1", "2"):
        changed_meta(where / name, boot_id=None)
    done = pagedbg("trend", where, "--by", "module", "--format", "json")
    (said,) = (line for line in done.stderr.splitlines() if "left out" in line)
    assert said.startswith(str(where))
    assert said.endswith(
        " does not say of which boot it is, or when it was: it is left out, and so are"
        " 2 others like it."
    )


@pytest.mark.parametrize("chosen", ((), ("0",)))
def test_one_time_is_no_trend(
    pagedbg: Run, series: Path, tmp_path: Path, chosen: tuple[str, ...]
) -> None:
    done = pagedbg("trend", *(series / name for name in chosen), tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("trend: ")
    assert done.stderr.endswith(" no trend: give two or more.\n")


def test_clocks_that_were_set_do_not_matter(
    pagedbg: Run, series: Path, tmp_path: Path
) -> None:
    where = shutil.copytree(series, tmp_path / "series")
    for name in range(6):
        changed_meta(where / str(name), taken=f"2026-11-0{9 - name}T00:00:00+00:00")
    (leaky, *_) = trend(pagedbg, where, "--by", "module")
    assert leaky["straightness"] == 100

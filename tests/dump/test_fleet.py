# SPDX-License-Identifier: GPL-2.0-or-later
"""What is asked of a fleet, of which it is known what has happened to it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import duckdb
import pytest
from fleet import change_meta, make_snapshots, told
from known import Run

HOSTS, DAYS = 10, 3
NEW = "6.12.2-new"
LEAK, LOAD, OWN = "leaky_rx_refill", "page_cache_ra_unbounded", "alloc_buf.constprop.0"


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_snapshots(tmp_path_factory.mktemp("fleet"), HOSTS, DAYS)


@pytest.fixture(scope="module")
def lake(snapshots: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    lake = tmp_path_factory.mktemp("lake")
    assert Run()("fleet", "add", lake, snapshots).returncode == 0
    return lake


@pytest.fixture
def changed(lake: Path, tmp_path: Path) -> Path:
    """A lake to be damaged."""
    return shutil.copytree(lake, tmp_path / "lake")


def by(rows: list[dict[str, Any]], key: str) -> dict[Any, dict[str, Any]]:
    return {row[key]: row for row in rows}


def test_what_a_kernel_has_brought_comes_first(pagedbg: Run, lake: Path) -> None:
    found = told(pagedbg, "fleet", "since", lake, NEW, "--by", "function")
    first, *others = found
    assert first["function"] == LEAK
    # Seven of ten hosts have changed, and hold twice and thrice as much.
    assert (first["hosts_more"], first["hosts_less"]) == (7, 0)
    assert first["share_within"] == pytest.approx(100 * 1.5 * 796 / 32637, rel=0.1)
    assert first["share_between"] == pytest.approx(first["share_within"], rel=0.1)
    assert first["bytes_per_host"] == pytest.approx(1.5 * 796 * 4096, rel=0.1)
    # What grows everywhere, or on one host only, is not what the kernel has brought.
    for row in others:
        if row["function"] == LOAD:
            assert row["share_between"] < first["share_between"] / 10
        if row["function"] == OWN:
            assert row["share_between"] < first["share_between"] / 2
            assert row["hosts_more"] - row["hosts_less"] < 7
    within = by(told(pagedbg, "fleet", "trend", lake, "--by", "function"), "function")
    assert within[LOAD]["hosts_more"] == HOSTS


def test_a_stack_is_the_same_in_another_build(pagedbg: Run, lake: Path) -> None:
    (row,) = told(pagedbg, "fleet", "since", lake, "6.12.2*", "--top", "1")
    assert any(LEAK in frame for frame in row["stack"])
    assert row["hosts_more"] == 7
    # By the places in the code, it is another one on every host.
    (exact, *_) = told(pagedbg, "fleet", "since", lake, NEW, "--by", "stack_id")
    assert exact["share_within"] > row["share_within"]


def test_a_fleet_of_one_is_what_the_host_says_alone(
    pagedbg: Run, snapshots: Path, tmp_path: Path
) -> None:
    (tmp_path / "lake").mkdir()
    lake, days = tmp_path / "lake", [snapshots / f"00002-{day}" for day in range(DAYS)]
    pagedbg("fleet", "add", lake, *days)
    keys = "module,function,order"
    of_one = told(pagedbg, "--snapshot", days[-1], "owners", "--by", keys)
    of_all = told(pagedbg, "fleet", "owners", lake, "--by", keys)
    names = (*keys.split(","), "blocks", "pages", "bytes")

    def rows(found: list[dict[str, Any]], *names: str) -> list[tuple[str, ...]]:
        return sorted(tuple(map(str, map(row.get, names))) for row in found)

    assert rows(of_all, *names) == rows(of_one, *names)
    grown = told(pagedbg, "diff", days[0], days[2], "--by", "function,comm")
    dates = ("--before", "2026-11-01", "--after", "2026-11-03")
    of_all = told(pagedbg, "fleet", "diff", lake, *dates, "--by", "function,comm")
    assert rows(of_all, *grown[0]) == rows(grown, *grown[0])
    steady = told(pagedbg, "trend", *days, "--by", "function")
    of_all = told(pagedbg, "fleet", "trend", lake, "--by", "function")
    names = ("function", "bytes_per_hour", "first_bytes", "last_bytes")
    assert rows(of_all, *names) == rows(steady, *names)
    one, other = by(of_all, "function"), by(steady, "function")
    for function, row in one.items():
        assert row["straightness"] == pytest.approx(
            other[function]["straightness"], abs=0.06
        )


def test_sums_are_those_of_all_hosts(pagedbg: Run, lake: Path, snapshots: Path) -> None:
    expected: dict[Any, list[int]] = {}
    for host in range(HOSTS):
        for row in told(
            pagedbg, "--snapshot", snapshots / f"{host:05}-2", "owners", "--by", "comm"
        ):
            sums = expected.setdefault(row["comm"], [0, 0, 0])
            for place, more in enumerate((1, row["blocks"], row["pages"])):
                sums[place] += more
    found = by(told(pagedbg, "fleet", "owners", lake, "--by", "comm"), "comm")
    assert expected == {
        comm: [row["hosts"], row["blocks"], row["pages"]] for comm, row in found.items()
    }
    assert sum(row["share"] for row in found.values()) == pytest.approx(100, abs=0.1)


def test_hosts_are_those_that_hold_it(pagedbg: Run, lake: Path) -> None:
    found = told(pagedbg, "fleet", "hosts", lake, "--stack", LEAK)
    assert len(found) == HOSTS
    assert {row["host"] for row in found[:7]} == {
        f"host{host:05}" for host in range(HOSTS) if host % 3 != 2
    }
    assert {row["pages"] for row in found[:7]} == {3 * 796}
    assert {row["release"] for row in found[:7]} == {NEW}
    alone = told(
        pagedbg, "fleet", "hosts", lake, "--module", "leaky", "--stack", "copy_process"
    )
    assert alone == []


@pytest.mark.parametrize(
    "filters",
    [
        ("--orders", ">=1"),
        ("--comm", "traffic"),
        ("--module", "leaky"),
        ("--migratetype", "unmovable"),
        ("--zone", "DMA32", "--kind", "kernel"),
    ],
)
def test_filters_choose_what_they_choose_elsewhere(
    pagedbg: Run, lake: Path, snapshots: Path, filters: tuple[str, ...]
) -> None:
    expected = 0
    for host in range(HOSTS):
        where = snapshots / f"{host:05}-0"
        rows = told(pagedbg, "--snapshot", where, "owners", "--by", "order", *filters)
        expected += sum(row["pages"] for row in rows)
    found = told(
        *(pagedbg, "fleet", "owners", lake, "--date", "2026-11-01"),
        *("--by", "order", *filters),
    )
    assert expected > 0
    assert sum(row["pages"] for row in found) == expected


def test_rows_are_sorted_and_cut_as_asked(pagedbg: Run, lake: Path) -> None:
    found = told(pagedbg, "fleet", "owners", lake, "--by", "comm", "--sort", "-blocks")
    counts = [row["blocks"] for row in found]
    assert counts == sorted(counts)
    done = pagedbg("fleet", "owners", lake, "--by", "comm", "--top", "2")
    assert done.stdout.splitlines()[-2:] == [
        f"{len(found) - 2} more rows.",
        f"{HOSTS} hosts on 2026-11-03.",
    ]


def test_hosts_that_cannot_be_believed_are_left_out(
    pagedbg: Run, changed: Path, snapshots: Path, tmp_path: Path
) -> None:
    # The clock of one is set within a boot, by ten days.
    odd = tmp_path / "odd"
    for day in range(DAYS):
        shutil.copytree(snapshots / f"00002-{day}", odd / str(day))
        change_meta(odd / str(day), host="odd", host_id=None)
    change_meta(odd / "2", taken="2026-11-13T12:00:00+00:00")
    assert pagedbg("fleet", "add", changed, odd).returncode == 0
    # Of another a file is cut short behind our back, of a third one is gone.
    (short,) = changed.glob("date=2026-11-03/host=host00000/snapshot=*")
    owners = (short / "owners.parquet").read_bytes()
    (short / "owners.parquet").write_bytes(owners[: len(owners) // 2])
    (gone,) = changed.glob("date=2026-11-03/host=host00001/snapshot=*")
    (gone / "stacks.parquet").unlink()
    done = pagedbg(
        "fleet", "since", changed, NEW, "--by", "function", "--format", "jsonl"
    )
    assert done.returncode == 0
    first = done.stdout.splitlines()[0].replace(" ", "")
    assert f'"function":"{LEAK}"' in first
    assert '"hosts_more":7' in first
    for said in (
        "odd at 2026-11-13T12:00:00+00:00 is not when it was by the time since its",
        f"owners.parquet of {short} is damaged:",
        f"{gone} lacks stacks.parquet, which its meta.json counts:",
    ):
        assert said in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("since", "{}", "5.4"), "no host has had 5.4: there are 6.12.1-old, 6.12.2"),
        (("since", "{}", "6.*"), "every host has had 6.*"),
        (("owners", "{}", "--date", "2020-01-01"), "there is nothing of 2020-01-01"),
        (
            ("diff", "{}", "--before", "2026-11-01", "--after", "2026-11-01"),
            "--before and --after are one day",
        ),
        (("owners", "{}", "--pid", "1"), "--pid: a snapshot has sums"),
        (("owners", "{}", "--gfp", "GFP_KERNEL"), "--gfp: the kernels of a fleet"),
        (("owners", "{}", "--by", "nothing"), "'nothing' is nothing to sum up by"),
        (("trend", "{}/date=2026-11-01"), "there is no snapshot to answer from"),
        (("owners", "{}", "--memory", "1M"), "--memory"),
        (("owners", "{}", "--engine", "spark", "--master", "web1"), "no master of"),
    ],
)
def test_what_cannot_be_asked_is_said(
    pagedbg: Run, lake: Path, words: tuple[str, ...], said: str
) -> None:
    done = pagedbg("fleet", *(word.format(lake) for word in words))
    assert done.returncode in (1, 2)
    assert said in done.stderr
    assert "bug" not in done.stderr


def rewrite(snapshot: Path, relation: str, select: str) -> None:
    """Have a file of a snapshot hold what a query says of its ``rows``."""
    file, new = snapshot / f"{relation}.parquet", snapshot / "new"
    query = select.replace("rows", f"'{file}'")
    duckdb.sql(f"COPY ({query}) TO '{new}' (FORMAT parquet)")
    new.rename(file)


def test_what_is_older_lacks_columns_and_answers(
    pagedbg: Run, snapshots: Path, tmp_path: Path
) -> None:
    lake = tmp_path / "lake"
    lake.mkdir()
    some = [
        shutil.copytree(snapshots / name, tmp_path / name)
        for name in ("00000-0", "00001-0")
    ]
    asked = ("--by", "kind,function")
    pagedbg("fleet", "add", lake, *some)
    expected = told(pagedbg, "fleet", "owners", lake, *asked)
    # One of them, then all of them, and at last in one file.
    for snapshot in some:
        rewrite(snapshot, "owners", "SELECT * EXCLUDE memcg FROM rows")
        shutil.rmtree(lake)
        lake.mkdir()
        assert pagedbg("fleet", "add", lake, *some).returncode == 0
        assert told(pagedbg, "fleet", "owners", lake, *asked) == expected
    (row,) = told(pagedbg, "fleet", "owners", lake, "--by", "memcg")
    assert row["memcg"] is None
    assert pagedbg("fleet", "compact", lake).returncode == 0
    assert told(pagedbg, "fleet", "owners", lake, *asked) == expected


def test_what_has_other_types_goes_into_no_lake(
    pagedbg: Run, snapshots: Path, tmp_path: Path
) -> None:
    lake = tmp_path / "lake"
    lake.mkdir()
    other = shutil.copytree(snapshots / "00001-0", tmp_path / "other")
    rewrite(other, "owners", "SELECT * REPLACE (comm AS pages) FROM rows")
    done = pagedbg("fleet", "add", lake, snapshots / "00000-0", other)
    assert f"owners.parquet of {other} is damaged" in done.stderr
    assert done.stdout.endswith(": 1.\n")
    # Whoever puts it there all the same is found out.
    (into,) = lake.glob("*/*/snapshot=*")
    rewrite(into, "owners", "SELECT * REPLACE (comm AS pages) FROM rows")
    done = pagedbg("fleet", "owners", lake)
    assert done.returncode == 1
    assert (
        f"there is no snapshot to answer from. owners.parquet of {into}" in done.stderr
    )


def test_any_question_can_be_asked_in_sql(
    pagedbg: Run, lake: Path, snapshots: Path
) -> None:
    query = (
        'SELECT date, host, sum(o.pages) AS pages, max("order") AS "order"'
        " FROM owners o JOIN snapshots USING (snapshot)"
        f" JOIN stacks USING (stack_id) WHERE \"function\" = '{LEAK}'"
        " GROUP BY date, host ORDER BY pages DESC, date, host"
    )
    found = told(pagedbg, "fleet", "sql", lake, query)
    assert len(found) == HOSTS * DAYS
    assert found[0] == {
        "date": "2026-11-03",
        "host": "host00000",
        "pages": 3 * 796,
        "order": 0,
    }


@pytest.mark.parametrize(
    "query",
    [
        "DROP TABLE stacks",
        "SELECT 1; SELECT 2",
        "COPY (SELECT 1) TO '{}/x.parquet'",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM '{}/../source/meta.json'",
        "SELECT nothing FROM owners",
        "SELECT",
    ],
)
def test_sql_can_change_nothing_and_reaches_no_other_file(
    pagedbg: Run, lake: Path, query: str
) -> None:
    done = pagedbg("fleet", "sql", lake, query.format(lake))
    assert done.returncode == 2
    assert done.stderr.startswith("fleet sql: ")
    assert len(done.stderr.splitlines()) == 1
    assert not [*lake.glob("*.parquet")]

# SPDX-License-Identifier: GPL-2.0-or-later
"""Spark answers every question of a fleet as DuckDB does: ``make test-fleet``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

pytest.importorskip("pyspark", reason="PySpark is not installed: make test-fleet")

from cluster import cluster
from engines import SAMPLE, ask_both, pagedbg

ROOT = Path(__file__).parents[2]

QUESTIONS = (
    "owners LAKE",
    "owners LAKE --by stack,order --top 20 --date 2026-11-02",
    "owners LAKE --by gfp_mask,migratetype,zone,node,kind,age --sort blocks",
    "owners LAKE --by module,memcg --comm 'python*' --orders 0-3 --zone dma32",
    "diff LAKE --before 2026-11-01 --after 2026-11-03",
    "diff LAKE --before 2026-11-01 --after 2026-11-03 --by comm --module leaky",
    "since LAKE 6.12.2-new",
    "since LAKE '6.12.1*' --by module,function --sort bytes_per_host",
    "trend LAKE --by function",
    "trend LAKE --by comm,order --stack leaky --sort straightness",
    "hosts LAKE --stack leaky_rx_refill",
    "hosts LAKE --kind slab --top 2 --sort host",
    'sql LAKE "SELECT host, date, sum(o.pages) AS pages, count(*) AS n FROM owners o'
    " JOIN snapshots USING (snapshot) JOIN stacks USING (stack_id)"
    " WHERE \\\"function\\\" = 'leaky_rx_refill' GROUP BY host, date"
    ' ORDER BY host, date"',
)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real snapshot."""
    source = tmp_path_factory.mktemp("source") / "source"
    assert pagedbg("-c", SAMPLE, "snapshot", "save", source).returncode == 0
    return source


@pytest.fixture(scope="module")
def lake(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """
    A lake of which two days are compacted, and one is not; there a snapshot lacks a
    column, as one of an older version may.
    """
    where, lake = tmp_path_factory.mktemp("all"), tmp_path_factory.mktemp("lake")
    subprocess.run(
        [
            *(sys.executable, ROOT / "contrib/fleet/make-snapshots", source, where),
            *("--hosts", "5", "--days", "3", "--leak", "leaky_rx_refill"),
        ],
        check=True,
    )
    older = where / "00000-2/owners.parquet"
    duckdb.sql(
        f"COPY (SELECT * EXCLUDE memcg FROM '{older}') TO '{where}/older'"
        " (FORMAT parquet)"
    )
    (where / "older").rename(older)
    pagedbg("fleet", "add", lake, *where.glob("*-[01]"), check=True)
    pagedbg("fleet", "compact", lake, check=True)
    pagedbg("fleet", "add", lake, where, check=True)
    assert len([*lake.glob("*/compacted=1")]) == 2
    assert len([*lake.glob("*/*/snapshot=*")]) == 5
    return lake


def test_both_engines_say_the_same(lake: Path, tmp_path: Path) -> None:
    ask_both(QUESTIONS, lake, tmp_path)


def test_a_cluster_says_the_same(lake: Path, tmp_path: Path) -> None:
    with cluster(tmp_path) as url:
        options = f"--engine spark --master {url}"
        ask_both(("since LAKE 6.12.2-new", "trend LAKE"), lake, tmp_path, options)


def test_what_spark_cannot_is_one_sentence(lake: Path) -> None:
    for query in (
        "SELECT nothing FROM owners",
        "DROP VIEW owners",
        "SELECT * FROM text.`/etc/hostname`",
    ):
        done = pagedbg("fleet", "sql", lake, query, "--engine", "spark")
        assert done.returncode == 2
        assert done.stdout == ""
        (line,) = done.stderr.splitlines()
        assert line.startswith("fleet sql: ")


def test_without_java_it_says_how_to_get_it(lake: Path, tmp_path: Path) -> None:
    done = pagedbg(
        *("fleet", "owners", lake, "--engine", "spark"),
        env={**os.environ, "HOME": "/", "JAVA_HOME": str(tmp_path)},
    )
    assert done.returncode == 1
    assert done.stderr == (
        "fleet owners: there is no Java. Spark needs Java 17 or later: apt install"
        " default-jre-headless has it.\n"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="whoever is not root may run anything")
def test_root_runs_no_java_of_somebody_else(lake: Path, tmp_path: Path) -> None:
    java = tmp_path / "bin/java"
    java.parent.mkdir()
    java.write_text(f"#!/bin/sh\n: >{tmp_path}/was-run\nexit 1\n")
    java.chmod(0o755)
    os.chown(tmp_path, 1000, 1000)
    done = pagedbg(
        *("fleet", "owners", lake, "--engine", "spark", "--top", "1"),
        env={
            **os.environ,
            "HOME": str(tmp_path),
            "JAVA_HOME": str(tmp_path),
            "PATH": f"{java.parent}:{os.environ['PATH']}",
        },
    )
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "was-run").exists()

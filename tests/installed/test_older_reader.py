# SPDX-License-Identifier: GPL-2.0-or-later
"""What is written with this DuckDB is read with the oldest that pagedbg takes."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from wheels import ROOT, NoWheelsError, dependencies, wheels

# Prints all that is in some files.
READ = """
import sys
import duckdb
for path in sys.argv[1:]:
    print(duckdb.sql(f"DESCRIBE FROM '{path}'").fetchall())
    for row in duckdb.sql(f"FROM '{path}'").fetchall():
        print(row)
"""


def test_an_older_duckdb_reads_a_snapshot(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    save = ["--sample", "snapshot", "save", "--full", str(kept)]
    subprocess.run([sys.executable, "-m", "pagedbg", *save], cwd=ROOT, check=True)
    files = sorted(map(str, kept.glob("*.parquet")))
    assert len(files) > 10
    python = ".".join(map(str, sys.version_info[:2]))
    try:
        found = wheels(python, "lowest")
    except NoWheelsError as error:
        pytest.fail(str(error), pytrace=False)
    (version,) = (
        each.partition("==")[2]
        for each in dependencies("lowest")
        if each.startswith("duckdb==")
    )
    (wheel,) = found.glob(f"duckdb-{version}-*.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(tmp_path / "older")
    said = [
        subprocess.run(
            [sys.executable, "-c", f"import sys; {path}\n{READ}", *files],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for path in ("", f"sys.path.insert(0, {str(tmp_path / 'older')!r})")
    ]
    assert said[0].count("\n") > 7000
    assert said[0] == said[1]

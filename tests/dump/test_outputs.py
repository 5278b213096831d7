# SPDX-License-Identifier: GPL-2.0-or-later
"""What commands write into files, in every format, and which columns of it."""

from __future__ import annotations

import importlib
import json
import os
import stat
from pathlib import Path
from typing import Any

import duckdb
import pytest
from known import SAMPLE, Run, look_at

from pagedbg.output.whole_file import whole_file

LINES = (
    "owners --top 500",
    "owners --by comm,order",
    "zones",
    "status",
    "stacks",
    "inspect pfn 0x3c70",
    "inspect pfn 0x3c00+300",
    "free",
    "trace status",
    "trace show --last 100",
    "correlate --top 50",
    "blocks",
    "log",
)


def known(*lines: str) -> list[list[dict[str, Any]]]:
    """The rows of some lines, as JSON has them."""
    found = look_at(SAMPLE, *(f"{line} --format json" for line in lines))
    assert all(status == 0 for status, _, _ in found)
    return [json.loads(out) for _, out, _ in found]


def plain(value: Any) -> Any:
    """A value of JSON as numbers: those that its readers would round are text."""
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, str) and value.startswith("0x") and value != "0x":
        try:
            return int(value, 16)
        except ValueError:
            return value
    return value


@pytest.mark.parametrize(
    "reader",
    [
        "duckdb",
        pytest.param("polars", marks=pytest.mark.once),
        pytest.param("pyarrow", marks=pytest.mark.once),
    ],
)
def test_parquet_holds_what_json_does(reader: str, tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.parquet" for number in range(len(LINES))]
    for status, out, err in look_at(
        SAMPLE,
        *(f"{line} -o {path}" for line, path in zip(LINES, paths, strict=True)),
    ):
        assert (status, out) == (0, ""), err
    for rows, path, line in zip(known(*LINES), paths, LINES, strict=True):
        if reader == "pyarrow":
            parquet: Any = importlib.import_module("pyarrow.parquet")
            found = parquet.read_table(path).to_pylist()
        elif reader == "polars":
            polars: Any = importlib.import_module("polars")
            found = polars.read_parquet(path).to_dicts()
        else:
            with duckdb.connect() as db:
                answer = db.execute(f"FROM '{path}'")
                names = [each[0] for each in answer.description or ()]
                found = [
                    dict(zip(names, row, strict=True)) for row in answer.fetchall()
                ]
        assert list(found[0]) == list(rows[0])
        assert plain(found) == plain(rows), line


@pytest.mark.parametrize("way", ["-o", ">"])
def test_the_ending_of_a_file_is_its_format(way: str, tmp_path: Path) -> None:
    formats = {
        "json": "json",
        "jsonl": "jsonl",
        "csv": "csv",
        "tsv": "tsv",
        "md": "markdown",
        "txt": "text",
    }
    look_at(SAMPLE, *(f"zones {way} {tmp_path}/x.{ending}" for ending in formats))
    printed = look_at(SAMPLE, *(f"zones --format {name}" for name in formats.values()))
    for ending, (_, out, _) in zip(formats, printed, strict=True):
        assert (tmp_path / f"x.{ending}").read_text() == out
    ((status, _, _),) = look_at(SAMPLE, f"zones {way} {tmp_path}/x.parquet")
    assert status == 0
    with duckdb.connect() as db:
        rows = db.execute(f"SELECT zone FROM '{tmp_path}/x.parquet'").fetchall()
    assert rows == [("DMA",), ("DMA32",)]


def test_markdown_is_a_table_whatever_is_in_it() -> None:
    ((_, out, _),) = look_at(
        SAMPLE,
        "sql \"SELECT 'a|b_*<i>' AS x, 1 AS y, chr(10) AS z, NULL::VARCHAR AS n\""
        " --format markdown",
    )
    assert out == (
        "| x | y | z | n |\n|---|--:|---|---|\n| a\\|b\\_\\*\\<i\\> | 1 | \\\\n |  |\n"
    )


def test_columns_are_chosen_and_left_out() -> None:
    (rows,) = known("owners --orders '>=2' --top 9")
    for words, names in {
        "comm,pfn": ["comm", "pfn"],
        "-stack,-gfp": [name for name in rows[0] if name not in ("stack", "gfp")],
        "pfn,comm,-comm": ["pfn"],
        "stack": ["stack"],
    }.items():
        (chosen,) = known(f"owners --orders '>=2' --top 9 --columns {words}")
        assert chosen == [{name: row[name] for name in names} for row in rows]
    # Sorted by what is not shown.
    (found,) = known("owners --sort order --top 5 --columns order")
    (chosen,) = known("owners --sort order --top 5 --columns pfn")
    (both,) = known("owners --sort order --top 5 --columns pfn,order")
    assert both == [{**pfn, **order} for pfn, order in zip(chosen, found, strict=True)]
    # What is no table for people is one then.
    ((_, out, _),) = look_at(SAMPLE, "status --columns release,cpus")
    assert out.split()[:2] == ["release", "cpus"]
    (whole,) = known("inspect pfn 0x3c70")
    (part,) = known("inspect pfn 0x3c70 --columns pfn,kind")
    assert part == [{name: whole[0][name] for name in ("pfn", "kind")}]


def test_a_table_that_is_watched_has_the_columns_that_are_chosen() -> None:
    ((status, out, err),) = look_at(SAMPLE, "watch --times 1 zones --columns zone,free")
    assert status == 0, err
    assert "zone    free" in out and "spanned" not in out


def test_columns_that_are_not_there_are_refused() -> None:
    for words, said in {
        "pfm": "there is no column 'pfm'; did you mean pfn?",
        "-pfm": "there is no column 'pfm'; did you mean pfn?",
        "x": "there is no column 'x'; choose from pfn, order",
        "pfn,-pfn": "no column is left",
        "pfn,": "'pfn,' is no list of columns",
    }.items():
        ((status, out, err),) = look_at(SAMPLE, f"owners --columns {words}")
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert said in err


@pytest.mark.parametrize("ending", ["json", "parquet", "csv"])
def test_a_file_stays_what_it_was_until_the_new_one_is_whole(
    ending: str, tmp_path: Path
) -> None:
    path = tmp_path / f"x.{ending}"
    path.write_text("precious")
    path.chmod(0o640)
    # It ends with an error once rows have been written.
    wrong = "sql \"SELECT (CASE WHEN range < 99999 THEN '1' ELSE 'x' END)::INT AS a"
    ((status, _, err),) = look_at(SAMPLE, f'{wrong} FROM range(100000)" -o {path}')
    assert (status, path.read_text()) == (2, "precious"), err
    assert list(tmp_path.iterdir()) == [path]
    link = tmp_path / "link"
    link.symlink_to(path)
    ((status, _, err),) = look_at(SAMPLE, f"zones --format {ending} -o {link}")
    assert status == 0, err
    assert link.is_symlink() and path.read_bytes() != b"precious"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_new_file_has_the_mode_that_a_shell_would_give_it(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with whole_file(str(tmp_path / "x.csv")) as out:
            out.write(b"text")
            assert not (tmp_path / "x.csv").exists()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x.csv").stat().st_mode) == 0o640


def test_where_a_file_cannot_be_is_one_sentence(tmp_path: Path) -> None:
    ((status, _, err),) = look_at(SAMPLE, f"zones -o {tmp_path}/none/x.csv")
    assert (status, err) == (
        1,
        f"zones: {tmp_path}/none/x.csv: No such file or directory\n",
    )


def test_what_is_no_ordinary_file_is_written_to(pagedbg: Run) -> None:
    printed = pagedbg("-c", SAMPLE, "zones", "--format", "csv").stdout
    done = pagedbg("-c", SAMPLE, "zones", "--format", "csv", "-o", "/dev/stdout")
    assert done.stdout == printed


def test_parquet_goes_through_a_pipe(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    ((status, _, err),) = look_at(SAMPLE, f"zones --format parquet | cat > {path}")
    assert status == 0, err
    with duckdb.connect() as db:
        assert db.execute(f"SELECT count(*) FROM '{path}'").fetchall() == [(2,)]

# SPDX-License-Identifier: GPL-2.0-or-later
"""Without names a lake says the same as with them, and has none of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from fleet import change_meta, make_snapshots, told
from known import SAMPLE, Run

from pagedbg.analysis.stand_ins import StandIns
from pagedbg.schema.snapshot_columns import OWNER_KEYS
from pagedbg.schema.snapshot_relations import SNAPSHOT_RELATIONS

KEY = "a key of the test's own"
ADDRESSES = ("10.20.30.40", "0xffffffffc0123456")

QUESTIONS = (
    ("owners", "--by", "function,order"),
    ("owners", "--by", "comm,memcg,kind"),
    ("owners", "--by", "stack_shape", "--module", "leaky"),
    ("diff", "--before", "2026-11-01", "--after", "2026-11-02", "--by", "comm"),
    ("since", "6.12.2-new", "--by", "function"),
    ("trend", "--by", "comm"),
    ("hosts", "--stack", "leaky"),
)

# What one names may be the function, or the thread that runs it.
OF_FUNCTIONS = ("stack", "function", "owners")


def plant(snapshot: Path) -> None:
    """Have a snapshot name more than the sample does."""
    host = json.loads((snapshot / "meta.json").read_text())["kernel"]["host"]
    address, symbol = ADDRESSES
    for relation, changed in {
        "owners": "if(\"order\" = 0, '/machine.slice/' || comm, NULL) AS memcg",
        "health": f"'traffic on {host} reads /srv/secret at {address}' AS detail",
        "stacks": f"if(\"function\" = 'dup_mm', list_append(stack, '{symbol}'), stack)"
        " AS stack",
        "kernel": "'/var/crash/secret' AS path",
    }.items():
        file = snapshot / f"{relation}.parquet"
        new = snapshot / "new"
        duckdb.sql(
            f"COPY (SELECT * REPLACE ({changed}) FROM '{file}') TO '{new}'"
            " (FORMAT parquet)"
        )
        new.rename(file)
    change_meta(snapshot, notes=[f"traffic was not asked on {host}"])


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = make_snapshots(tmp_path_factory.mktemp("fleet"), hosts=2, days=2)
    for each in made.iterdir():
        plant(each)
    return made


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("key") / "key"
    path.write_text(f"{KEY}\n")
    return path


@pytest.fixture(scope="module")
def lakes(
    snapshots: Path, key: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """A lake with names, and one without, a day of which is added after the other."""
    run = Run()
    plain, redacted = (tmp_path_factory.mktemp(name) for name in ("plain", "redacted"))
    assert run("fleet", "add", plain, snapshots).returncode == 0
    for day in range(2):
        some = sorted(snapshots.glob(f"*-{day}"))
        done = run("fleet", "add", redacted, *some, "--redact", key)
        assert done.stdout == f"Snapshots added to {redacted}: 2.\n", done.stderr
    return plain, redacted


def cells(where: Path) -> Iterator[tuple[str, str]]:
    """All that is in the files of some snapshots, by the name of its column."""
    for file in where.rglob("*.parquet"):
        answer = duckdb.sql(f"FROM read_parquet('{file}', hive_partitioning = false)")
        for row in answer.fetchall():
            for name, value in zip(answer.columns, row, strict=True):
                if value is not None and not isinstance(value, int | float):
                    yield name, json.dumps(value, default=str)
    for file in where.rglob("meta.json"):
        yield "meta", file.read_text()
    for path in where.rglob("*"):
        yield "file", str(path.relative_to(where))


def named(where: Path) -> Iterator[tuple[bool, str]]:
    """The names in some snapshots, and whether each is of a process."""
    for file in where.rglob("*.parquet"):
        columns = duckdb.sql(f"FROM '{file}' LIMIT 0").columns
        for name in ("comm", "memcg", "file", "path", "host", "boot_id", "victim"):
            if name in columns:
                query = f"SELECT DISTINCT {name} FROM '{file}' WHERE {name} <> '/'"
                for (value,) in duckdb.sql(query).fetchall():
                    yield name in ("comm", "victim"), value
    for file in where.rglob("meta.json"):
        kernel = json.loads(file.read_text())["kernel"]
        for name in ("host", "host_id", "boot_id"):
            if kernel[name] is not None:
                yield False, kernel[name]


def assert_no_name(original: Path, redacted: Path) -> None:
    words: dict[bool, set[str]] = {True: set(), False: {*ADDRESSES, "secret"}}
    for of_process, name in named(original):
        words[of_process].add(name)
    assert len(words[True]) > 20
    forms = {
        of_process: re.compile(
            "|".join(rf"(?<![\w/]){re.escape(each)}(?!\w)" for each in some)
        )
        for of_process, some in words.items()
    }
    found = {*cells(redacted)}
    assert len(found) > 1000
    for column, text in found:
        if column == "release":
            continue
        if column == "meta":
            text = text.replace(json.loads(text)["kernel"]["release"], "")
            text = text.replace("6.12.117-pagedbg-lab", "")
        assert not (match := forms[False].search(text)), (column, match)
        if column not in OF_FUNCTIONS:
            assert not (match := forms[True].search(text)), (column, match)


def test_no_name_is_in_any_file(snapshots: Path, lakes: tuple[Path, Path]) -> None:
    plain, redacted = lakes
    assert_no_name(snapshots, redacted)
    # There is something to be found.
    with pytest.raises(AssertionError):
        assert_no_name(snapshots, plain)


def without_names(row: dict[str, Any]) -> str:
    """A row of the lake with names as that without has it."""
    names = StandIns(KEY.encode())
    made = {"host": names.stand_in("host", row["host"])} if "host" in row else {}
    for name, value in row.items():
        if name in OWNER_KEYS and name != "stack_shape":
            made[name] = names.value(OWNER_KEYS[name], value)
    return without_shape({**row, **made})


def without_shape(row: dict[str, Any]) -> str:
    """A row without the hash of its functions, which may have been addresses."""
    return json.dumps({**row, "stack_shape": None}, sort_keys=True)


@pytest.mark.parametrize("question", QUESTIONS, ids=" ".join)
def test_questions_have_the_same_answers(
    pagedbg: Run, lakes: tuple[Path, Path], question: tuple[str, ...]
) -> None:
    name, *words = question
    plain, redacted = (told(pagedbg, "fleet", name, lake, *words) for lake in lakes)
    assert plain
    assert sorted(map(without_names, plain)) == sorted(map(without_shape, redacted))


@pytest.mark.parametrize(
    "words",
    [
        ("owners", "--comm", "traffic", "--by", "comm,order"),
        ("owners", "--memcg", "/machine.slice/traffic", "--by", "memcg"),
        ("hosts", "--comm", "traffic,kthreadd", "--module", "leaky"),
    ],
    ids=" ".join,
)
def test_whoever_has_the_key_asks_by_name(
    pagedbg: Run, lakes: tuple[Path, Path], key: Path, words: tuple[str, ...]
) -> None:
    name, *more = words
    plain, redacted = lakes
    found = told(pagedbg, "fleet", name, redacted, *more, "--redact", key)
    expected = told(pagedbg, "fleet", name, plain, *more)
    assert expected
    assert sorted(map(without_names, expected)) == sorted(map(without_shape, found))
    # Without the key nobody has that name.
    assert told(pagedbg, "fleet", name, redacted, *more) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "--redact: there is no name; give --comm or --memcg"),
        (
            ("--comm", "traffic,k*"),
            "--comm: with --redact 'k*' matches nothing; give names as they are",
        ),
    ],
)
def test_what_has_no_stand_in_cannot_be_asked_for(
    pagedbg: Run, lakes: tuple[Path, Path], key: Path, words: tuple[str, ...], said: str
) -> None:
    done = pagedbg("fleet", "owners", lakes[1], *words, "--redact", key)
    assert done.returncode == 2
    assert done.stderr == f"fleet owners: {said}\n"


def test_what_was_added_is_known_again(
    pagedbg: Run, snapshots: Path, lakes: tuple[Path, Path], key: Path, tmp_path: Path
) -> None:
    done = pagedbg("fleet", "add", lakes[1], snapshots, "--redact", key)
    assert (
        done.stdout == f"Snapshots added to {lakes[1]}: 0, and 4 were in it already.\n"
    )
    # By another key there are other hosts.
    (tmp_path / "lake").mkdir()
    (tmp_path / "key").write_text("another key, as long")
    some = snapshots / "00000-0"
    pagedbg("fleet", "add", tmp_path / "lake", some, "--redact", tmp_path / "key")
    (host,) = (tmp_path / "lake").glob("date=*/host=*")
    assert host.name not in {path.name for path in lakes[1].glob("date=*/host=*")}


def test_a_snapshot_is_saved_without_names(
    pagedbg: Run, key: Path, tmp_path: Path
) -> None:
    whole, redacted = tmp_path / "whole", tmp_path / "redacted"
    for where, words in ((whole, ()), (redacted, ("--redact", key))):
        done = pagedbg("-c", SAMPLE, "snapshot", "save", where, "--full", *words)
        assert done.returncode == 0, done.stderr
    assert_no_name(whole, redacted)
    for words in (("owners", "--by", "comm,order"), ("zones",), ("blocks",)):
        plain, other = (
            told(pagedbg, "--snapshot", where, *words) for where in (whole, redacted)
        )
        assert sorted(map(without_names, plain)) == sorted(map(without_shape, other))
    # All that is in a snapshot is known, or nobody could tell what it names.
    for file in whole.glob("*.parquet"):
        expected = [column.name for column in SNAPSHOT_RELATIONS[file.stem]]
        assert duckdb.sql(f"FROM '{file}' LIMIT 0").columns == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [("short", "holds no key: 16 bytes to 4,096"), (None, "No such file or directory")],
)
def test_a_key_that_is_none_is_named(
    pagedbg: Run, snapshots: Path, tmp_path: Path, text: str | None, said: str
) -> None:
    if text is not None:
        (tmp_path / "key").write_text(text)
    done = pagedbg("fleet", "add", tmp_path, snapshots, "--redact", tmp_path / "key")
    assert done.returncode == 2
    assert said in done.stderr
    assert not [*tmp_path.glob("date=*")]

# SPDX-License-Identifier: GPL-2.0-or-later
"""Queries in SQL: they know what the commands know, and can do nothing but ask."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pexpect
import pytest
from known import SAMPLE, Run, look_at

from pagedbg.analysis.query import Query
from pagedbg.commands.sql import _LINES, _TABLES
from pagedbg.schema.relations import RELATIONS
from pagedbg.schema.settings import Settings
from pagedbg.session import Session
from pagedbg.shell.command import NAMESPACE
from pagedbg.sources.page_rows import PageRows
from pagedbg.target.opening import open_target

# Those that a query can ask of one dump without an hour to spare; of pages, some. There
# nobody has written down who allocates slab objects.
ASKED = sorted(_TABLES.keys() - {"pages", "slab_sums"})


@pytest.fixture(scope="module")
def session() -> Session:
    """The dump that comes with pagedbg."""
    session = Session(open_target(str(SAMPLE)), settings=Settings("json", "off"))
    session.keep()
    return session


@pytest.fixture
def ask(session: Session, capsys: pytest.CaptureFixture[str]) -> Callable[[str], Any]:
    """What a line answers as JSON."""

    def asked(line: str) -> Any:
        NAMESPACE.run(session.prog, line)
        return json.loads(capsys.readouterr().out)

    return asked


def as_text(rows: list[dict[str, Any]]) -> list[str]:
    return sorted(json.dumps(row, sort_keys=True) for row in rows)


@pytest.mark.parametrize("relation", ASKED)
def test_a_relation_has_the_rows_of_its_command(
    relation: str, ask: Callable[[str], Any]
) -> None:
    line = _LINES[relation]
    assert not callable(line)
    rows = ask(f'sql "FROM {relation}"')
    assert as_text(rows) == as_text(ask(" ".join(line)))
    for row in rows[:1]:
        assert list(row) == [column.name for column in RELATIONS[relation]]


def test_pages_are_those_of_inspect(ask: Callable[[str], Any]) -> None:
    where = f"pfn BETWEEN {0x3C00} AND {0x3CFF} ORDER BY pfn"
    assert ask(f'sql "FROM pages WHERE {where}"') == ask("inspect pfn 0x3c00+0x100")


@pytest.mark.parametrize(
    "query, pages",
    [
        ("FROM pages WHERE pfn BETWEEN 15360 AND 15615", "0x3c00+0x100"),
        ("SELECT * FROM pages AS p WHERE p.pfn = 15360", "0x3c00+1"),
        ("FROM pages WHERE PFN IN (15362, 15361) AND pages.pfn < 15362", "0x3c01+1"),
        ("FROM pages WHERE 15360 <= pfn AND pfn > 15362 AND pfn <= 15363", "0x3c03+1"),
        ("FROM pages WHERE pfn >= 15360 AND 15362 > pfn LIMIT 9", "0x3c00+2"),
    ],
)
def test_of_pages_those_are_read_that_are_asked_for(
    query: str,
    pages: str,
    ask: Callable[[str], Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inspected = ask(f"inspect pfn {pages}")
    read: list[tuple[int, int]] = []
    batches = PageRows.batches

    def seen(self: PageRows, ranges: Iterable[tuple[int, int]]) -> Iterator[Any]:
        read.extend(ranges := list(ranges))
        return batches(self, ranges)

    monkeypatch.setattr(PageRows, "batches", seen)
    assert as_text(ask(f'sql "{query}"')) == as_text(inspected)
    start, count = (int(number, 0) for number in pages.split("+"))
    assert set(read) == {(start, start + count)}


@pytest.mark.parametrize(
    "query",
    [
        "FROM pages WHERE pfn < 3 OR pfn = 15360",
        "FROM pages WHERE NOT (pfn < 15360 AND pfn > 2)",
        "SELECT pfn - 100 AS pfn FROM pages WHERE pfn < 15260",
        "FROM pages WHERE pfn < 3 UNION ALL FROM pages WHERE pfn > 15360",
        "FROM (FROM pages) AS p WHERE pfn < 3",
        "SELECT head FROM pages WHERE pfn < (SELECT max(pfn) FROM pages)",
        "FROM pages AS p JOIN zones AS z USING (zone) WHERE pfn < 3",
        "FROM pages WHERE pfn < 2.5",
    ],
)
def test_pages_are_not_left_out_of_a_query_that_may_need_them(
    query: str, tmp_path: Path
) -> None:
    with closing(Query(query, RELATIONS, str(tmp_path))) as asked:
        assert asked.used.pfns == (0, None)


@pytest.mark.parametrize(
    "where", ["pfn < -5", "pfn = 99999999999", "pfn < 5 AND pfn > 9"]
)
def test_no_page_is_none(where: str, ask: Callable[[str], Any]) -> None:
    assert ask(f'sql "FROM pages WHERE {where}"') == []


@pytest.mark.parametrize(
    "query",
    [
        "SELECT {} FROM blocks",
        "SELECT {} FROM Blocks AS b",
        "WITH b AS (SELECT * FROM blocks) SELECT {} FROM b",
        "SELECT {} FROM (FROM blocks) b",
        "SELECT {} FROM (SELECT 1) one, LATERAL (SELECT * FROM temp.main.blocks)",
    ],
)
def test_sums_are_those_of_the_command(query: str, ask: Callable[[str], Any]) -> None:
    said = "COMM AS comm, count(*) AS blocks, sum(Pages) AS pages"
    rows = ask(f'sql "{query.format(said)} GROUP BY ALL"')
    known = [
        {name: row[name] for name in ("comm", "blocks", "pages")}
        for row in ask("owners --by comm")
    ]
    assert as_text(rows) == as_text(known)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT a.pfn FROM blocks a(pfn, n) WHERE n = 4",
        "SELECT b.pfn FROM blocks b NATURAL JOIN stacks WHERE b.order = 4",
        "SELECT (b).pfn AS pfn FROM (SELECT b FROM blocks b) WHERE (b).order = 4",
        "SELECT COLUMNS('^pfn$') FROM blocks WHERE (SELECT blocks.order) = 4",
        "SELECT pfn FROM blocks WHERE EXISTS (SELECT 1 FROM range(1)"
        " WHERE blocks.order = 4)",
        "SELECT pfn FROM blocks GROUP BY pfn HAVING max(blocks.order) = 4",
        "SELECT pfn FROM blocks QUALIFY max(blocks.order) OVER (PARTITION BY pfn) = 4",
    ],
)
def test_what_a_query_uses_is_made_however_it_says_so(
    query: str, ask: Callable[[str], Any]
) -> None:
    known = [row["pfn"] for row in ask("owners --orders 4 --columns pfn")]
    assert known
    assert sorted(row["pfn"] for row in ask(f'sql "{query}"')) == known


def test_nothing_is_read_that_a_query_does_not_name(
    ask: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("stacks were read")

    monkeypatch.setattr("pagedbg.sources.kernel_names.KernelNames.stacks", refuse)
    monkeypatch.setattr("pagedbg.sources.kernel_names.KernelNames.stack", refuse)
    (row,) = ask("sql 'SELECT count(DISTINCT handle) AS n FROM blocks'")
    assert row["n"] > 100
    # What is computed may be called what a column is.
    query = "SELECT comm, sum(pages) AS pages FROM blocks GROUP BY comm ORDER BY pages"
    assert len(ask(f"sql '{query}'")) > 10
    assert ask("sql 'SELECT 1 AS one'") == [{"one": 1}]
    assert ask("sql 'DESCRIBE blocks'")


REFUSED = (
    "SELECT * FROM read_csv('/etc/shadow')",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM '/etc/passwd.csv'",
    "SELECT * FROM glob('/*')",
    "SELECT * FROM sniff_csv('/etc/passwd')",
    "SELECT * FROM parquet_metadata('/tmp/x')",
    "SELECT * FROM query('FROM blocks')",
    "SELECT * FROM query_table('blocks')",
    "SELECT getenv('HOME')",
    "SELECT * FROM REFUSED",
    "SELECT * FROM session",
    "COPY zones TO '{}'",
    "COPY (SELECT 1) TO '{}' (FORMAT parquet)",
    "EXPORT DATABASE '{}'",
    "ATTACH '{}'",
    "INSTALL httpfs",
    "LOAD httpfs",
    "PRAGMA version",
    "CALL pragma_version()",
    "SET threads = 2",
    "RESET threads",
    "CREATE TABLE t AS SELECT 1",
    "DELETE FROM zones",
    "UPDATE zones SET free = 0",
    "INSERT INTO zones (free) VALUES (1)",
    "DROP TABLE zones",
    "SELECT 1; SELECT 2",
    "SELECT 1; SET threads = 2",
    "EXPLAIN ANALYZE COPY zones TO '{}'",
    "SELECT",
    "",
)


def test_all_that_is_no_question_is_refused_in_one_line(tmp_path: Path) -> None:
    made = tmp_path / "made"
    # Where files have names that are tables, too.
    lines = [f'sql "{query.format(made)}"' for query in REFUSED]
    for line, (status, out, err) in zip(lines, look_at(SAMPLE, *lines), strict=True):
        if line.startswith('sql "PRAGMA'):
            # A SELECT, to some versions.
            continue
        assert (status, out) == (2, ""), line
        assert err.startswith("sql: ") and err.count("\n") == 1, err
        assert "bug" not in err
    assert list(tmp_path.iterdir()) == []


def test_what_is_wrong_is_said_in_the_words_of_the_database() -> None:
    ((status, _, err),) = look_at(SAMPLE, 'sql "SELECT pfm FROM blocks"')
    assert status == 2
    assert "Binder Error" in err and '"pfm"' in err and '"pfn"' in err


def test_a_name_in_an_answer_or_an_error_drives_no_terminal() -> None:
    lines = (
        "sql \"SELECT chr(27) || '[2J' AS a\"",
        "sql \"SELECT (chr(27) || '[2J' || comm)::INT FROM blocks\"",
        'sql "SELECT 1 AS \\"\x1b[2J\\""',
    )
    for _, out, err in look_at(SAMPLE, *lines):
        assert "\x1b" not in out + err
        assert out + err


def test_values_of_every_type_are_shown(ask: Callable[[str], Any]) -> None:
    (row,) = ask(
        "sql \"SELECT 1.5 AS a, 'nan'::DOUBLE AS b, DATE '2026-01-02' AS c,"
        " {'x': [1, 2]} AS d, NULL AS e, true AS f, ['x', NULL] AS g,"
        ' 18446744073709551615::UBIGINT AS h, [1] AS i, sum(1) AS j"'
    )
    assert row == {
        "a": 1.5,
        "b": None,
        "c": "2026-01-02",
        "d": '{"x": [1, 2]}',
        "e": None,
        "f": True,
        "g": ["x", ""],
        "h": "0xffffffffffffffff",
        "i": "[1]",
        "j": 1,
    }


def test_a_capture_can_be_asked_alone(pagedbg: Run, tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    assert pagedbg("-c", SAMPLE, "trace", "save", str(saved)).returncode == 0
    done = pagedbg("--capture", saved, "sql", "SELECT count(*) AS n FROM events")
    assert done.stdout.split() == ["n", "15930"]
    done = pagedbg("--capture", saved, "sql", "FROM zones")
    assert done.returncode == 1
    assert "no kernel here" in done.stderr and done.stderr.count("\n") == 1


def test_the_schema_lists_what_can_be_asked(ask: Callable[[str], Any]) -> None:
    rows = ask("sql --schema")
    assert [(row["relation"], row["column"]) for row in rows] == [
        (name, column.name) for name in _LINES for column in RELATIONS[name]
    ]
    for row in ask("sql 'DESCRIBE zones'"):
        assert (row["column_name"], row["column_type"]) in {
            (each["column"], each["type"])
            for each in rows
            if each["relation"] == "zones"
        }
    ((status, _, err),) = look_at(SAMPLE, "sql --schema zone")
    assert status == 2 and "no relation 'zone'" in err


def test_a_query_that_is_saved_is_asked_by_its_name(
    pagedbg: Run, tmp_path: Path
) -> None:
    query = "SELECT zone, sum(blocks) AS n FROM free_areas GROUP BY ALL ORDER BY ALL"

    def ask(*words: str) -> tuple[int, str, str]:
        more = {"env": {**os.environ, "XDG_CONFIG_HOME": str(tmp_path)}}
        done = pagedbg("--sample", "sql", *words, **more)
        return done.returncode, done.stdout, done.stderr

    status, said, _ = ask("--save", "free", query)
    file = tmp_path / "pagedbg/config.toml"
    assert (status, said) == (0, f"sql free asks it: {file}.\n")
    assert ask("free", "--format", "csv") == ask(query, "--format", "csv")
    assert ask("free;")[1].startswith("zone")
    _, said, _ = ask("--saved", "--format", "json")
    assert json.loads(said) == [{"saved_as": "free", "query": query}]
    # What is wrong is said at once, and not saved.
    status, said, error = ask("--save", "free", "SELECT nothing FROM free_areas")
    assert (status, said) == (2, "") and '"nothing"' in error
    assert ask("free")[0] == 0
    for words in (
        ("fre",),
        ("--save", "fre"),
        ("--saved", "free"),
        ("--save", "2", query),
        ("--forget", "fre"),
        ("--forget", "free", query),
        ("--forget", "free", "--saved"),
    ):
        status, said, error = ask(*words)
        assert (status, said, error.count("\n")) == (2, "", 1), words
    status, said, _ = ask("--forget", "free")
    assert (status, said) == (0, f"free is no query any more: {file}.\n")
    assert ask("free")[0] == 2


def test_without_a_terminal_there_is_no_prompt() -> None:
    ((status, _, err),) = look_at(SAMPLE, "sql")
    assert (status, err.count("\n")) == (2, 1)


def test_the_prompt_takes_lines_completes_and_is_interrupted(tmp_path: Path) -> None:
    child: pexpect.spawn[str] = pexpect.spawn(
        sys.executable,
        ["-m", "pagedbg", "-c", str(SAMPLE), "sql"],
        env={
            **os.environ,
            "TERM": "xterm",
            "XDG_STATE_HOME": str(tmp_path),
            "PROMPT_TOOLKIT_NO_CPR": "1",
            "PAGER": "cat",
        },
        dimensions=(40, 120),
        encoding="utf-8",
        timeout=60,
    )
    prompt = "sql>"
    try:
        child.expect_exact(prompt)
        child.send("SELECT zone, count(*) AS n\r")
        child.expect_exact("...>")
        child.send("FROM free_ar\t")
        child.expect_exact("eas")
        child.send(" GROUP BY ALL ORDER BY 1;\r")
        child.expect(r"DMA +\d+\r\nDMA32 +\d+\r\n")
        child.expect_exact(prompt)
        child.send("SELECT count(*) FROM range(100000000000) a, range(1000) b;\r")
        time.sleep(1)
        child.sendcontrol("c")
        child.expect_exact("Interrupted.")
        child.expect_exact(prompt)
        # One that gives rows as it finds them.
        child.send(
            "SELECT i FROM range(100000000000) r(i) WHERE md5(i::VARCHAR) = '';\r"
        )
        time.sleep(1)
        child.sendcontrol("c")
        child.expect_exact("Interrupted.")
        child.expect_exact(prompt)
        child.send("\\d zones\r")
        child.expect_exact("lowmem_reserve")
        child.expect_exact(prompt)
        child.send("SELECT x;\r")
        child.expect_exact("Binder Error")
        child.expect_exact(prompt)
        child.sendeof()
        child.expect(pexpect.EOF)
        child.wait()
        assert child.exitstatus == 0
    finally:
        child.close(force=True)

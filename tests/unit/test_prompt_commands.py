# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands of the prompt: settings, aliases, files of commands, what was typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_session import fake_session
from test_prompt import Terminal

from pagedbg.schema.settings import SETTINGS, Settings
from pagedbg.session import Session
from pagedbg.shell.execute import execute


@pytest.fixture
def session() -> Session:
    return fake_session(settings=Settings(pager="off"))


def test_a_setting_is_chosen_until_it_is_unset(
    session: Session, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(session, "set format json") == 0
    assert execute(session, "rows pfn 1") == 0
    assert json.loads(capsys.readouterr().out)[0]["pfn"] == 0x1000
    execute(session, "set")
    out = capsys.readouterr().out
    assert all(f"  {name} " in out for name in SETTINGS)
    assert "  format  json  " in out
    assert execute(session, "unset format") == 0
    execute(session, "set format")
    assert capsys.readouterr().out.startswith("  format  text  ")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("set format xml", "set: format: 'xml' is none of text, json"),
        ("set formt", "set: formt: there is no such setting; did you mean format?"),
        (
            "set orders 3",
            "set: orders is no setting; did you mean trace set",
        ),
        ("set formt json", "set: formt: there is no such setting; did you mean"),
        ("set nothing 1", "set: nothing: there is no such setting; choose from format"),
        ("set jobs", ""),
        ("set jobs none", "set: jobs: 'none' is not a number of processes"),
        ("unset xyzzy", "unset: xyzzy: there is no such setting; choose from"),
        ("alias rows says", "alias: rows: rows is a command already"),
        ("alias a,b says", "alias: a,b: it is no name"),
        ("alias nothing", "alias: 'nothing' stands for nothing"),
        ("alias a ''", "alias: a: it has to stand for a command"),
        ("source /no/such/file", "source: /no/such/file: No such file"),
        ("history 0", "history: N: '0' is not a number of rows"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    session: Session, capsys: pytest.CaptureFixture[str], line: str, said: str
) -> None:
    assert (execute(session, line) == 0) == (said == "")
    error = capsys.readouterr().err
    assert error.startswith(said) and error.count("\n") == (1 if said else 0)


def test_timing_is_said_beside_the_answer(
    session: Session, capsys: pytest.CaptureFixture[str]
) -> None:
    execute(session, "set timing on")
    capsys.readouterr()
    execute(session, "says a")
    out, err = capsys.readouterr()
    assert out == "a\n" and float(err.removesuffix(" s\n")) >= 0


def test_a_word_stands_for_a_command(
    session: Session, capfd: pytest.CaptureFixture[str]
) -> None:
    for line in ("alias two rows pfn 2", "alias up 'says a | tr a-z A-Z'", "two", "up"):
        assert execute(session, line) == 0
    assert "0x1001" in (out := capfd.readouterr().out) and out.endswith("A\n")
    assert execute(session, "two --format csv") == 0
    assert capfd.readouterr().out.startswith("pfn,order,comm\n")
    execute(session, "alias")
    assert "two  rows pfn 2\n" in capfd.readouterr().out
    assert execute(session, "unset two") == 0
    assert execute(session, "two") == 2


def test_options_and_quotes_of_what_a_word_stands_for_are_kept(
    session: Session, capsys: pytest.CaptureFixture[str]
) -> None:
    execute(session, "alias wide rows pfn --wide --size 4K --comm 'a b'")
    assert session.aliases == {"wide": "rows pfn --wide --size 4K --comm 'a b'"}


def test_a_question_mark_is_help(
    session: Session, capsys: pytest.CaptureFixture[str]
) -> None:
    execute(session, "help rows")
    said = capsys.readouterr().out
    execute(session, "?rows")
    assert capsys.readouterr().out == said


def test_a_file_of_commands_is_run_up_to_the_first_that_fails(
    session: Session, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "lines"
    file.write_text("says a\nfails so\nsays b\n")
    assert execute(session, f"source {file}") == 1
    out, err = capsys.readouterr()
    assert out == "a\n"
    assert err == f"{file}:2: fails: gave up\nsource: {file} was left there.\n"
    file.write_text(f"says a\nsource {file}\n")
    execute(session, f"source {file}")
    assert "it would have no end" in capsys.readouterr().err
    # It may be run again.
    file.write_text("says c\n")
    assert execute(session, f"source {file}") == 0


@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_the_last_line_is_run_again(tmp_path: Path, term: str) -> None:
    terminal = Terminal(tmp_path, TERM=term)
    terminal.ready()
    for line, printed in (
        ("says one", "one\r\n"),
        ("!! two", "says one two\r\none\r\ntwo\r\n"),
        ("!!", "says one\r\none\r\n"),
        ("history 2", "!!\r\nhistory 2\r\n"),
    ):
        terminal.child.send(f"{line}\r")
        terminal.expect(printed)
        terminal.ready()
    terminal.child.close(force=True)


def test_the_screen_is_cleared_where_there_is_one(
    session: Session, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    execute(session, "clear")
    assert capsys.readouterr().out == ""
    terminal = Terminal(tmp_path, "clear")
    terminal.expect("\x1b[H\x1b[2J")
    assert terminal.left() == 0


@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_a_line_may_be_several_commands_and_a_command_several_lines(
    tmp_path: Path, term: str
) -> None:
    terminal = Terminal(tmp_path, TERM=term)
    terminal.ready()
    terminal.child.send("says one; fails so; says 'two;three'\r")
    for printed in ("one\r\n", "gave up", "two;three\r\n"):
        terminal.expect(printed)
    terminal.ready()
    terminal.child.send("says \\\r")
    terminal.expect("....>")
    terminal.child.send("four\r")
    terminal.expect("four\r\n" * (2 if term == "dumb" else 1))
    terminal.ready()
    terminal.child.close(force=True)

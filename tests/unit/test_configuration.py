# SPDX-License-Identifier: GPL-2.0-or-later
"""What a user has chosen: the file, its values, and what is wrong in it."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path

import pytest
from fake_session import fake_session
from poison import STRANGER
from test_cli import pagedbg
from test_prompt import Terminal

from pagedbg.errors import PagedbgError
from pagedbg.schema.settings import SETTINGS, Settings
from pagedbg.session import Session
from pagedbg.shell.aliases import expanded
from pagedbg.shell.configuration import configure
from pagedbg.shell.saved_queries import save_query, saved_queries


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's own file, which is not there."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("NO_COLOR", "")
    return tmp_path / "pagedbg/config.toml"


def configured(file: Path, text: str) -> tuple[Session, list[str]]:
    """A session with what a file says, and its first commands."""
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    session = fake_session()
    return session, configure(session)


def test_a_new_file_has_all_there_is_and_changes_nothing(config: Path) -> None:
    session = fake_session()
    assert configure(session) == []
    assert session.settings == Settings()
    text = config.read_text()
    assert config.stat().st_mode & 0o777 == 0o600
    assert tomllib.loads(text) == {"aliases": {}, "queries": {}}
    # With the marks of comments taken away it is right, too.
    written, start = configured(config, re.sub(r"^#(?=\w)", "", text, flags=re.M))
    assert (written.settings, start) == (Settings(), ["status"])
    assert set(tomllib.loads(config.read_text())) > set(SETTINGS)
    assert set(saved_queries(None)) == {"zones"} and set(written.aliases)
    # A query finds its place, and nothing is written again.
    config.write_text(text)
    save_query(None, "one", "SELECT 1")
    configure(session)
    assert config.read_text() == text.replace(
        "[queries]\n", '[queries]\none = "SELECT 1"\n'
    )


def test_what_stands_there_is_taken(config: Path) -> None:
    session, start = configured(
        config,
        'format = "json"\npager = "less -S"\ncolors = false\nkeys = "vi"\n'
        'timing = true\njobs = 3\nstart = ["says a", "says b"]\n'
        '[aliases]\none = "rows pfn 1"\n[queries]\nq = "SELECT 1"\n',
    )
    assert session.settings == Settings("json", "less -S", False, "vi", True, 3)
    assert start == ["says a", "says b"]
    assert os.environ["NO_COLOR"] == "1"
    assert expanded(session, "one --wide") == "rows pfn 1 --wide"
    assert expanded(session, "ones") == "ones"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('format = "xml"', "format: 'xml' is none of text, json"),
        ("keys = 3", "keys: '3' is none of emacs, vi."),
        ("jobs = 0", "jobs: '0' is not a number of processes"),
        ("timing = [1]", "timing: its value has to be a word"),
        ('pager = ""', "pager: write on, off, or a command"),
        ('formt = "json"', "formt: there is no such setting; did you mean format?"),
        ("[colours]\na = 1", "colours: "),
        ('start = "status"', 'start: it has to be a list, as in ["status"].'),
        ("start = [1]", "start: it has to be a list"),
        ("aliases = 1", "aliases: there have to be lines NAME"),
        ("[aliases]\na = 1", "aliases.a: there have to be lines NAME"),
        ("[aliases]\nrows = 'says'", "aliases.rows: rows is a command already"),
        ("[aliases]\ntrace = 'says'", "aliases.trace: trace is a command already"),
        ("[aliases]\n'a b' = 'says'", "aliases.a b: it is no name"),
        ('[aliases]\na = "says\\u001b"', "aliases.a: it has to stand for a command"),
        ("[aliases", "is no TOML: "),
    ],
)
def test_what_is_wrong_is_one_sentence(
    config: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    session, start = configured(config, "jobs = 7\n" * ("jobs" not in text) + text)
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert said in error and error.startswith(str(config))
    assert start == []
    # What is right is taken all the same.
    if "jobs" not in text and "TOML" not in said:
        assert session.settings.jobs == 7


def test_the_prompt_opens_whatever_stands_there(tmp_path: Path, config: Path) -> None:
    configured(config, 'format = "xml"\nstart = ["says early", "sayz"]\n')
    terminal = Terminal(tmp_path, columns=200, XDG_CONFIG_HOME=str(tmp_path))
    terminal.expect(f"{config}: format: 'xml' is none of")
    terminal.expect("early\r\n")
    terminal.expect("sayz: no such command")
    terminal.ready()
    terminal.child.send("says late\r")
    terminal.printed("late")
    terminal.child.close(force=True)


def test_scripts_have_only_what_they_name(tmp_path: Path, config: Path) -> None:
    configured(config, 'format = "csv"\n')
    own = {"env": {**os.environ, "XDG_CONFIG_HOME": str(tmp_path)}}
    for args in ((), ("--no-config",)):
        assert pagedbg(*args, "rows", "pfn", "1", **own).stdout.startswith("   pfn ")
    named = ("--config", str(config))
    assert pagedbg(*named, "rows", "pfn", "1").stdout.startswith("pfn,")
    done = pagedbg(*named, "--format", "json", "rows", "pfn", "1")
    assert done.stdout.startswith("[")
    done = pagedbg("--config", str(config) + "x", "says", "a")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "there is no such file" in done.stderr
    assert pagedbg("--no-config", *named, "says", "a").returncode == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_root_takes_nothing_of_somebody_else(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configured(config, 'start = ["!id"]\n')
    os.chown(config, STRANGER, STRANGER)
    assert configure(fake_session()) == []
    assert f"belongs to user {STRANGER}" in capsys.readouterr().err
    with pytest.raises(PagedbgError, match=f"belongs to user {STRANGER}"):
        configure(fake_session(config=str(config)))

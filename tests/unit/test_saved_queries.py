# SPDX-License-Identifier: GPL-2.0-or-later
"""Queries that are saved: in a file that says whatever else it has said before."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest
from poison import STRANGER

from pagedbg.errors import PagedbgError, UsageError
from pagedbg.shell.saved_queries import forget_query, save_query, saved_queries

# What may be there before one is saved.
FILES = (
    "",
    "# mine\n[queries]\none = 'SELECT 1' # first\n",
    "[queries] # here\ntwo = 'SELECT 22'\none = '''\nSELECT\n1'''\n[other]\ntwo = 3\n",
    "top = 1\n[queries]\n\"two\" = '''\nSELECT\n2 -- ]\n'''\n# end\n[other]\na = [\n1]",
    "[other]\ntwo = 'x'\n[queries]\n",
    "[other]\na = '''\n[queries]\n'''\n",
)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file, which is not there."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path / "pagedbg/config.toml"


def written(config: Path, text: str) -> None:
    config.parent.mkdir(exist_ok=True)
    config.write_text(text)


@pytest.mark.parametrize("text", FILES)
@pytest.mark.parametrize("query", ["SELECT 2", 'SELECT "ü\t\\" \x7f \n -- \U0001f4be'])
def test_what_else_is_in_the_file_stays(config: Path, text: str, query: str) -> None:
    written(config, text)
    assert save_query(None, "two", query) == str(config)
    found, before = tomllib.loads(config.read_text()), tomllib.loads(text)
    others = {**before.get("queries", {}), "two": query}
    assert found == {**before, "queries": others}
    assert saved_queries(None) == others
    for comment in ("# mine", "# first", "# here", "# end"):
        assert (comment in text) == (comment in config.read_text())
    assert os.listdir(config.parent) == [config.name]


@pytest.mark.parametrize("text", FILES)
def test_what_is_forgotten_leaves_the_rest(config: Path, text: str) -> None:
    written(config, text)
    before = tomllib.loads(text)
    queries = dict(before.get("queries", {}))
    for name in ("one", "two"):
        if queries.pop(name, None) is None:
            with pytest.raises(UsageError, match=f"no query '{name}' is saved"):
                forget_query(None, name)
        else:
            assert forget_query(None, name) == str(config)
        assert saved_queries(None) == queries
    if "queries" in before:
        before["queries"] = {}
    found = config.read_text()
    assert tomllib.loads(found) == before
    for comment in ("# mine", "# here", "# end"):
        assert (comment in text) == (comment in found)


def test_what_was_saved_is_forgotten_to_the_letter(config: Path) -> None:
    written(config, "[other]\na = 1\n[queries]\nb = 'SELECT 2'\n")
    before = config.read_text()
    save_query(None, "two", "SELECT\n2")
    forget_query(None, "two")
    assert config.read_text() == before


def test_to_look_for_queries_makes_nothing(config: Path) -> None:
    assert saved_queries(None) == {}
    with pytest.raises(UsageError, match="no query 'two' is saved"):
        forget_query(None, "two")
    assert not config.parent.exists()


def test_what_cannot_be_edited_is_left_as_it_is(config: Path) -> None:
    for text in ("queries.two = 'SELECT 22'\n", "queries = {two = 'SELECT 22'}\n"):
        written(config, text)
        with pytest.raises(PagedbgError, match="change it there"):
            save_query(None, "two", "SELECT 2")
        with pytest.raises(PagedbgError, match="change it there"):
            forget_query(None, "two")
        assert config.read_text() == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[queries", "is no TOML: "),
        ("queries = 3", "has to have lines NAME = "),
        ("[queries]\none = 1", "has to have lines NAME = "),
        (b"\xff", "is no text in UTF-8"),
    ],
)
def test_a_file_that_is_wrong_is_neither_used_nor_changed(
    config: Path, text: str | bytes, said: str
) -> None:
    config.parent.mkdir()
    data = text.encode() if isinstance(text, str) else text
    config.write_bytes(data)
    for what in (
        lambda: saved_queries(None),
        lambda: save_query(None, "two", "SELECT 2"),
        lambda: forget_query(None, "two"),
    ):
        with pytest.raises(PagedbgError, match=said):
            what()
    assert config.read_bytes() == data


@pytest.mark.parametrize("name", ["", "2", "a b", "a.b", "ä", "[x]", "a\nb"])
def test_a_name_is_one_word(config: Path, name: str) -> None:
    with pytest.raises(UsageError, match="is no name of a query"):
        save_query(None, name, "SELECT 1")
    assert not config.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_root_reads_no_file_of_somebody_else(config: Path) -> None:
    written(config, "[queries]\none = 'SELECT 1'\n")
    assert saved_queries(None) == {"one": "SELECT 1"}
    os.chown(config, STRANGER, STRANGER)
    with pytest.raises(PagedbgError, match=f"belongs to user {STRANGER}"):
        saved_queries(None)
    with pytest.raises(PagedbgError, match=f"belongs to user {STRANGER}"):
        save_query(None, "two", "SELECT 2")
    assert config.read_text() == "[queries]\none = 'SELECT 1'\n"

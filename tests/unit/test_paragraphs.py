# SPDX-License-Identifier: GPL-2.0-or-later
"""Help fits the window that it is read in, and loses no word."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagedbg.output.paragraphs import fitted, reflow
from pagedbg.shell.command import load_commands

TEXT = """\
One paragraph whose lines
are joined.

  pfn N            by its number, which may be given in hexadecimal, too
  task PID ADDRESS by an address

Another."""


def test_paragraphs_are_joined_and_columns_hang() -> None:
    assert reflow(TEXT, 40).split("\n") == [
        "One paragraph whose lines are joined.",
        "",
        "  pfn N            by its number, which",
        "                   may be given in",
        "                   hexadecimal, too",
        "  task PID ADDRESS by an address",
        "",
        "Another.",
    ]


@given(st.text("ab -\n", max_size=200), st.integers(20, 100))
def test_no_word_is_lost_and_no_line_is_too_long(text: str, width: int) -> None:
    lines = reflow(text, width)
    assert "".join(lines.split()) == "".join(text.split())
    assert all(len(line) <= width for line in lines.split("\n"))


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_help_of_each_command_fits_the_window(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    for each in load_commands():
        each.__dict__.pop("parser", None)
        lines = each.format_help().split("\n")
        each.__dict__.pop("parser", None)
        # An option of the synopsis stays whole, and a word.
        wide = [line for line in lines if len(line) > width]
        assert not [
            line for line in wide if " " in line.strip() and line.strip()[0] != "["
        ], each.name


@pytest.mark.parametrize("terminal", (False, True))
def test_a_sentence_is_broken_between_words_where_a_window_is_narrower(
    terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: terminal)
    path = f"/{'long/' * 9}"
    sentence = f"no trace is running: trace start begins one {path} is a path"
    lines = fitted(sentence, stream).split("\n")
    assert " ".join(lines) == sentence
    broken = ["no trace is running: trace start begins", "one", path, "is a path"]
    assert lines == (broken if terminal else [sentence])

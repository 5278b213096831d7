# SPDX-License-Identifier: GPL-2.0-or-later
"""
Where commands end, and that what is completed is one word to all who take lines apart.
"""

from __future__ import annotations

import itertools

import pytest
from drgn.commands import parse_shell_command
from fake_session import fake_session
from hypothesis import given
from hypothesis import strategies as st
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from pagedbg.errors import UsageError
from pagedbg.output.lines import LONGEST, commands_in, gather, goes_on, last_command
from pagedbg.shell import option_values
from pagedbg.shell.completion import LineCompleter

# What anybody may call a task, a file or a zone; the awkward more often than chance has
# it.
NAME = st.text(
    st.sampled_from(
        "aZ 0'\"\\!;|><&#$`*?[],=-~(){}\n\r\t\x1b\x7f\x9b\u2028\u202e\udc80é"
    )
    | st.characters(),
    min_size=1,
    max_size=15,
)


@pytest.mark.parametrize(
    ("text", "commands"),
    [
        ("", []),
        ("one", ["one"]),
        ("one\ntwo\n", ["one\n", "two\n"]),
        ("one 'a\n!b' c\ntwo", ["one 'a\n!b' c\n", "two"]),
        ('one "a\\"\n!b" c\ntwo', ['one "a\\"\n!b" c\n', "two"]),
        ("one \\'\ntwo", ["one \\'\n", "two"]),
        ("# it's\ntwo", ["# it's\n", "two"]),
        ("one # it's\ntwo", ["one # it's\n", "two"]),
        ("one a#'b\nc'", ["one a#'b\nc'"]),
        ("!echo 'a\n!b'\ntwo", ["!echo 'a\n!b'\n", "two"]),
        ("one; two;three", ["one", " two", "three"]),
        ("one 'a;b' \"c;d\" e\\; f; two", ["one 'a;b' \"c;d\" e\\; f", " two"]),
        ("one # a; b\ntwo", ["one # a; b\n", "two"]),
        ("one | sort; two", ["one | sort", " two"]),
        ("!one; two\nthree", ["!one; two\n", "three"]),
        ("one; !two; three", ["one", " !two; three"]),
        ("one \\\n a; two\n", ["one  a", " two\n"]),
        ("one 'a \\\n b' \\\nc", ["one 'a \\\n b' c"]),
        ("one \\\\\ntwo", ["one \\\\\n", "two"]),
        ("# one \\\ntwo", ["# one \\\n", "two"]),
        ("one # a \\\ntwo", ["one # a \\\n", "two"]),
        ("!one \\\n!two\nthree", ["!one \\\n!two\n", "three"]),
        # Python takes all of these for ends of lines.
        (
            "one\u2028!two\x0b!three\x85!four\x1c!five",
            ["one\u2028!two\x0b!three\x85!four\x1c!five"],
        ),
    ],
)
def test_a_command_ends_with_its_line_unless_in_quotes(
    text: str, commands: list[str]
) -> None:
    assert commands_in(text) == commands


@pytest.mark.parametrize(
    "text", ["one 'two\n!three", 'one "two\n!three', "fine\none 'two"]
)
def test_nothing_is_a_command_where_a_quote_is_open(text: str) -> None:
    with pytest.raises(UsageError, match="opens a quote"):
        commands_in(text)


def test_commands_know_their_lines() -> None:
    assert [command.number for command in gather(["a\n", "b 'c\n", "d'\n", "e"])] == [
        1,
        2,
        4,
    ]


def test_what_never_ends_is_no_command() -> None:
    with pytest.raises(UsageError, match="too long"):
        next(gather(itertools.chain(["'"], itertools.repeat("x" * 1000))))
    assert len(next(gather(["x" * LONGEST])).text) == LONGEST


@given(st.text(st.sampled_from("ab'\"\\#|\n ")))
def test_commands_are_the_whole_text(text: str) -> None:
    try:
        commands = commands_in(text)
    except UsageError:
        return
    # A backslash takes away the end of its line, and itself.
    if "\\\n" in text:
        return
    assert "".join(commands) == text
    if not set(text) & set("'\""):
        assert len(commands) == text.count("\n") + (
            not text.endswith("\n") and text != ""
        )


@given(st.text(st.sampled_from("ab'\"\\#|\n ")))
def test_the_last_command_is_the_end_of_the_text(text: str) -> None:
    assert text.endswith(last_command(text)) or "\\\n" in text


@given(st.text(st.sampled_from("ab'\"\\#|!; \n")))
def test_no_quote_is_closed_or_opened_by_where_a_command_ends(text: str) -> None:
    try:
        commands = commands_in(text)
    except UsageError:
        return
    # Each is one by itself, or empty.
    for command in commands:
        assert commands_in(command) == [command] * bool(command)
    assert last_command(text) in ("", commands[-1] if commands else "")


@pytest.mark.parametrize(
    ("text", "more"),
    [
        ("one \\", True),
        ("one \\\ntwo\\", True),
        ("one \\\\", False),
        ("one \\\ntwo", False),
        ("one 'a\\", False),
        ("# one \\", False),
        ("one 'a' # b \\", False),
        ("one", False),
    ],
)
def test_a_line_goes_on_behind_a_backslash(text: str, more: bool) -> None:
    assert goes_on(text) == more


def test_many_commands_on_one_line_take_no_longer_than_many_lines() -> None:
    assert len(commands_in(";" * (LONGEST - 1))) == LONGEST


def test_what_is_completed_is_the_last_command() -> None:
    assert last_command("one; two a") == " two a"
    assert last_command('one "a; two') == 'one "a; two'
    assert last_command("one \\\n tw") == "one  tw"


@pytest.mark.parametrize(
    "begun",
    ["--comm ", "--comm=", "--comm a,", "--comm 'a,", '--comm "a,', "--comm a\\ b,"],
)
@given(names=st.lists(NAME, max_size=5))
def test_what_completion_offers_is_one_word(begun: str, names: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(option_values.VALUES, "--comm", lambda session: names)
        completer = LineCompleter(fake_session())
        line = f"rows pfn {begun}"
        for completion in completer.get_completions(Document(line), CompleteEvent()):
            assert completion.text.isprintable()
            assert completion.display_text.isprintable()
            accepted = line[: len(line) + completion.start_position] + completion.text
            assert commands_in(accepted) == [accepted]
            parsed = parse_shell_command(accepted)
            assert (parsed.pipeline, parsed.redirections) == (None, [])
            # One that begins with - would be another option.
            *before, word = parsed.args
            before += [word.partition("=")[0]] if "=" in begun else []
            assert before == ["rows", "pfn", "--comm"]
            assert not word.startswith("-") or "=" in begun


def test_a_name_that_cannot_be_typed_is_offered_as_a_pattern_where_one_can_stand(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(
        option_values.VALUES,
        "--comm",
        lambda session: ["q\n!sh /t/x #", "a,b", "--drgn", "fine"],
    )
    document = Document("rows pfn --comm ")

    def offered() -> list[str]:
        return [
            completion.text
            for completion in LineCompleter(fake_session()).get_completions(
                document, CompleteEvent()
            )
        ][:4]

    assert offered() == ["'q?!sh /t/x #'", "'a?b'", "'?-drgn'", "fine"]
    monkeypatch.setattr("pagedbg.shell.background_values.PATTERNS", set())
    assert offered() == ["fine"]

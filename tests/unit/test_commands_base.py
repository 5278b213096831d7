# SPDX-License-Identifier: GPL-2.0-or-later
"""
Commands: how lines are taken apart, what is refused, and that whatever goes wrong is
one sentence.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

import pytest
from drgn.commands import argument, parse_shell_command
from fake_session import FakeTarget, fake_session
from hypothesis import given
from hypothesis import strategies as st

from pagedbg.commands.help import examples
from pagedbg.errors import PagedbgError, UsageError
from pagedbg.output.pager import PipelineError
from pagedbg.schema.settings import Settings
from pagedbg.shell.command import NAMESPACE, Command, load_commands
from pagedbg.shell.execute import Leave, execute
from pagedbg.shell.failures import exit_status
from pagedbg.shell.parser import Parser, flat_arguments
from pagedbg.shell.registry import COMMANDS, command_of
from pagedbg.sources.capabilities import Capabilities, capabilities_of

SESSION = fake_session(settings=Settings(pager="off"))


class LiveTarget(FakeTarget):
    """A running kernel has all capabilities."""

    live = True


CAPABILITIES = list(Capabilities(LiveTarget()))  # type: ignore[arg-type]


def refusal(line: str) -> PagedbgError:
    """Run a line that fails and return its error."""
    with pytest.raises(PagedbgError) as caught:
        NAMESPACE.run(SESSION.prog, line)
    assert "\n" not in str(caught.value)
    return caught.value


@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=8), max_size=5
    )
)
def test_words_of_the_shell_come_through(words: list[str]) -> None:
    assert parse_shell_command(shlex.join(words)).args == words


def test_a_table_is_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    NAMESPACE.run(SESSION.prog, "rows pfn 2")
    assert capsys.readouterr().out.splitlines() == [
        "   pfn  order  comm",
        "0x1000      0  kworker/0:1",
        "0x1001      1  kworker/0:1",
    ]


def test_the_session_says_the_format_and_the_option_overrides_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    session = fake_session(settings=Settings("json", "off"))
    NAMESPACE.run(session.prog, "rows pfn 1")
    assert json.loads(capsys.readouterr().out)[0]["pfn"] == 0x1000
    NAMESPACE.run(session.prog, "rows pfn 1 --format csv")
    assert capsys.readouterr().out == "pfn,order,comm\n4096,0,kworker/0:1\n"


@pytest.mark.parametrize(
    ("options", "json_expected"),
    [
        ("-o {}", True),
        ("--format text -o {}", False),
        ("--format json > {}", True),
        ("> {}", True),
        ("--format text > {}", False),
    ],
)
def test_output_into_a_file(
    options: str,
    json_expected: bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "a file.json"
    NAMESPACE.run(SESSION.prog, "rows pfn 2 " + options.format(shlex.quote(str(path))))
    assert capsys.readouterr().out == ""
    assert path.read_text().startswith("[") is json_expected
    assert "kworker" in path.read_text()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("rovs pfn", "rovs: no such command; did you mean rows?"),
        ("qqqq", "qqqq: no such command (help lists them)"),
        (
            "rows pfn --formt json",
            "rows: unknown option --formt; did you mean --format? (help rows)",
        ),
        (
            "rows pfn --formt=json",
            "rows: unknown option --formt; did you mean --format? (help rows)",
        ),
        ("rows pfn 1 2", "rows: unexpected '2' (help rows)"),
        ("rows", "rows: missing: what (help rows)"),
        ("rows pfn --size", "rows: --size: expected one argument (help rows)"),
        ("rows pfn --size 4", "rows: --size: '4' is no size; write 4K (help rows)"),
        ("rows pfn x", "rows: count: 'x' is no whole number (help rows)"),
        (
            "rows pfm",
            "rows: what: invalid choice: 'pfm'; did you mean pfn? (help rows)",
        ),
        (
            "rows none",
            "rows: what: invalid choice: 'none'; choose from pfn, phys (help rows)",
        ),
        (
            "rows pfn --WIDE",
            "rows: unknown option --WIDE; did you mean --wide? (help rows)",
        ),
        (
            "rows pfn 1 size 4K",
            "rows: unexpected 'size'; did you mean --size 4K? (help rows)",
        ),
        (
            "rows pfn 1 wide x",
            "rows: unexpected 'wide'; did you mean --wide? (help rows)",
        ),
        (
            "rows pfn --columns PFN",
            "rows: --columns: there is no column 'PFN'; did you mean pfn?",
        ),
        ("start", "start: no such command; did you mean trace start?"),
        (
            "owners --last 5",
            "owners: unknown option --last; did you mean --top? (help owners)",
        ),
        (
            "trace show --top 5",
            "trace show: unknown option --top; did you mean --last? (help trace show)",
        ),
        ("save x", "save: no such command; did you mean trace save or snapshot save?"),
        (
            "set --orders 4",
            "set: unknown option --orders; did you mean trace set --orders? (help set)",
        ),
        (
            "owners --by com",
            "owners: --by: 'com' is nothing to sum up by; did you mean comm?"
            " (help owners)",
        ),
        (
            "says |",
            "says: nothing follows |; write a command of the shell's: says | less",
        ),
        (
            "says a | cat |",
            "says: nothing follows |; write a command of the shell's: says | less",
        ),
        ("says a 2>", "says: nothing follows 2>; write the name of a file"),
        (
            "says 'a",
            "says: nothing closes the quote '; write \\' for the character itself",
        ),
        ("says >=3", "says: >=3 would write to a file named '=3'; quote it: '>=3'"),
        (
            "says (a|b)",
            "says: unexpected '('; quote what belongs to a value, as in --orders '>=3'",
        ),
        ("says a > b | cat", "says: output cannot go both through | and into b"),
        ("help hepl", "help: hepl: no such command; did you mean help?"),
        ("| cat", "nothing stands before |; help lists the commands"),
    ],
)
def test_what_was_mistyped(line: str, said: str) -> None:
    error = refusal(line)
    assert str(error) == said
    assert exit_status(error) == 2


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("fails other", "fails: gave up"),
        ("fails object", "fails: this kernel has no 'no_such_object'"),
        ("fails type", "fails: could not find 'struct no_such_type'"),
        ("fails file", "fails: /no/such/file: No such file or directory"),
        (
            "fails bug",
            (
                "fails: this is a bug in pagedbg: KeyError: 'forgotten'"
                " (PAGEDBG_DEBUG=1 shows where)"
            ),
        ),
        (
            "needs",
            "needs: needs page_owner: page_owner is off. Boot with page_owner=on.",
        ),
        (
            "rows pfn -o /no/such/dir/x",
            "rows: /no/such/dir/x: No such file or directory",
        ),
        ("says a > /no/such/dir/x", "/no/such/dir/x: No such file or directory"),
    ],
)
def test_what_failed(line: str, said: str) -> None:
    error = refusal(line)
    assert str(error) == said
    assert exit_status(error) == 1


def test_an_unreadable_address_is_no_bug() -> None:
    said = str(refusal("fails fault"))
    assert said.startswith("fails: the target's memory at 0xdead000 cannot be read")


def test_the_traceback_of_a_bug_is_shown_on_demand(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refusal("fails bug")
    assert "Traceback" not in capsys.readouterr().err
    monkeypatch.setenv("PAGEDBG_DEBUG", "1")
    refusal("fails bug")
    assert 'raise KeyError("forgotten")' in capsys.readouterr().err


def test_a_pipeline(capfd: pytest.CaptureFixture[str]) -> None:
    NAMESPACE.run(SESSION.prog, "says a 'b c' | tr a-z A-Z | cat")
    assert capfd.readouterr().out == "A\nB C\n"


def test_a_reader_that_leaves_early_is_no_error(
    capfd: pytest.CaptureFixture[str],
) -> None:
    NAMESPACE.run(SESSION.prog, "rows pfn 100000 | head -n 1")
    assert capfd.readouterr().out.split() == ["pfn", "order", "comm"]


def test_a_failing_reader_gives_its_status_and_speaks_for_itself(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert isinstance(refusal("says a | grep b"), PipelineError)
    assert execute(SESSION, "says a | grep b") == 1
    assert capfd.readouterr().err == ""


def test_an_error_comes_before_the_reader_s() -> None:
    assert str(refusal("fails other | false")) == "fails: gave up"


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("", 0),
        ("   ", 0),
        ("# rows", 0),
        ("!true", 0),
        ("!exit 3", 3),
        ("says a # b", 0),
    ],
)
def test_what_is_no_command(
    line: str, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(SESSION, line) == status
    assert capsys.readouterr().err == ""


def test_an_error_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(SESSION, "fails other", "script:7: ") == 1
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "script:7: fails: gave up\n")


@pytest.mark.parametrize("line", ["exit", "quit"])
def test_leaving(line: str) -> None:
    with pytest.raises(Leave):
        execute(SESSION, line)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_where_the_list_says(name: str) -> None:
    command = NAMESPACE.get(name)
    assert command.name == name
    assert command.format_help()


@pytest.mark.parametrize("line", [line for line, _ in examples()])
def test_every_example_can_be_parsed(line: str) -> None:
    name = command_of(line.split())
    command = NAMESPACE.get(name)
    command.parser.parse_line(command.parse(line.removeprefix(name)).args.words)


@pytest.mark.parametrize(
    "command", load_commands(), ids=lambda command: str(command.name)
)
def test_needs_are_capabilities(command: Command) -> None:
    known = set(capabilities_of(FakeTarget())) | set(CAPABILITIES)
    assert set(command.needs) <= known


def all_lines() -> Sequence[str]:
    """The examples of the commands that need no target."""
    return [
        line for name in ("help", "rows") for line, _ in NAMESPACE.get(name).examples
    ]


@pytest.mark.parametrize("line", all_lines())
def test_examples_run(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    NAMESPACE.run(SESSION.prog, line)
    assert capsys.readouterr().out


def test_help_tells_all_about_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    NAMESPACE.run(SESSION.prog, "rows --help")
    by_option = capsys.readouterr().out
    NAMESPACE.run(SESSION.prog, "help rows")
    assert capsys.readouterr().out == by_option
    for part in (
        "rows [--size SIZE]",
        "100% of it",
        "filters:",
        "--format FORMAT",
        "rows pfn 2\n      two rows",
    ):
        assert part in by_option


def test_help_lists_the_commands_by_group(capsys: pytest.CaptureFixture[str]) -> None:
    NAMESPACE.run(SESSION.prog, "help")
    lines = capsys.readouterr().out.splitlines()
    assert lines.index("Pages:") < lines.index("The prompt:")
    assert any(line.split() == ["says", "the", "fake", "says"] for line in lines)
    ways = lines[lines.index("Ways of the prompt:") + 1 :]
    assert [line.split("  ")[1] for line in ways if line[2:3] != " "] == [
        "COMMAND | less",
        "COMMAND; COMMAND",
        "!COMMAND",
        "help COMMAND",
        "Ctrl-C",
    ]


def test_two_words_name_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    NAMESPACE.run(SESSION.prog, "  trace   set --help")
    assert capsys.readouterr().out.startswith("trace set ")
    NAMESPACE.run(SESSION.prog, "help trace set")
    assert capsys.readouterr().out.startswith("trace set ")
    NAMESPACE.run(SESSION.prog, "help trace")
    assert "trace start" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("trace", "trace: a word is missing; it is followed by one of set, start,"),
        ("trace shwo", "trace: there is no 'shwo'; did you mean show?"),
        (
            "trace | cat",
            "trace: a word is missing; it is followed by one of set, start,",
        ),
    ],
)
def test_a_second_word_that_is_missing_or_wrong(
    line: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(SESSION, line) == 2
    assert capsys.readouterr().err.startswith(said)


def test_groups_are_taken_apart() -> None:
    flat = list(flat_arguments(NAMESPACE.get("rows").arguments))
    assert all(isinstance(arg, argument) for arg in flat)
    assert [arg.args[0] for arg in flat] == [
        "what",
        "count",
        "--size",
        "--comm",
        "--wide",
        "--columns",
        "--format",
        "-o",
    ]


def test_usage_errors_are_told_from_failures() -> None:
    assert exit_status(UsageError("x")) == 2
    assert exit_status(PagedbgError("x")) == 1


@pytest.mark.parametrize(
    "line", ["signed -5", "signed --number -5", "signed --number=-5"]
)
def test_a_value_may_begin_with_a_dash(line: str) -> None:
    parser = Parser(prog="signed", add_help=False, allow_abbrev=False)
    parser.add_arguments(
        [argument("where", nargs="?"), argument("--number"), argument("-o", "--output")]
    )
    args = parser.parse_line(line.split()[1:])
    assert "-5" in (args.where, args.number)
    args = parser.parse_line(["--number", "-pages", "-o", "x"])
    assert (args.number, args.output) == ("-pages", "x")
    with pytest.raises(UsageError, match="--number: expected one argument"):
        parser.parse_line(["--number", "-o", "x"])


def test_a_command_without_a_table_has_an_output_of_its_own(tmp_path: Path) -> None:
    NAMESPACE.run(SESSION.prog, f"says one two --output {tmp_path / 'new'}")
    assert (tmp_path / "new" / "words").read_text() == "one\ntwo"

# SPDX-License-Identifier: GPL-2.0-or-later
"""The prompt, through a real terminal; and completion."""

from __future__ import annotations

import errno
import io
import itertools
import os
import signal
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest
from fake_session import fake_session
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from pagedbg.session import Session
from pagedbg.shell.completion import LineCompleter
from pagedbg.shell.option_values import VALUES

FAKE = Path(__file__).with_name("fake_session.py")
PROMPT = "pagedbg>"


class Terminal:
    """pagedbg on the fake target, in a terminal."""

    def __init__(
        self,
        tmp_path: Path,
        *args: str,
        lines: int = 24,
        columns: int = 100,
        **env: str,
    ) -> None:
        kept = {
            name: value
            for name, value in os.environ.items()
            if name not in ("PAGER", "LESS", "NO_COLOR", "PAGEDBG_DEBUG")
        }
        environment = {
            **kept,
            "TERM": "xterm",
            "XDG_STATE_HOME": str(tmp_path),
            "PROMPT_TOOLKIT_NO_CPR": "1",
            **env,
        }
        self.child = pexpect.spawn(
            sys.executable,
            [str(FAKE), *args],
            env=environment,
            dimensions=(lines, columns),
            encoding="utf-8",
            timeout=30,
        )

    def expect(self, text: str) -> str:
        """Wait for a text and return what came before it."""
        self.child.expect_exact(text)
        return str(self.child.before)

    def printed(self, text: str) -> str:
        """
        Wait for what a command prints, not for the echo of its line: the prompt ends
        bracketed paste before it runs one.
        """
        return self.expect(f"\x1b[?2004l{text}\r\n")

    def ready(self) -> None:
        """Wait for the prompt."""
        self.expect(PROMPT)

    def is_in_less(self) -> bool:
        """Press G until less shows the end of its input."""
        for _ in range(30):
            self.child.send("G")
            found = self.child.expect_exact(
                ["(END)", PROMPT, pexpect.TIMEOUT], timeout=1
            )
            if found != 2:
                return bool(found == 0)
        return False

    def leave_less(self) -> None:
        """Press q until less is left: while it takes in a Ctrl-C it loses keys."""
        for _ in range(30):
            self.child.send("q")
            if self.child.expect_exact([PROMPT, pexpect.TIMEOUT], timeout=1) == 0:
                break
        else:
            pytest.fail("less was not left")
        # A q too many stands at the prompt.
        self.child.sendcontrol("u")

    def left(self) -> int | None:
        """Wait for the end and return the exit status."""
        self.child.expect(pexpect.EOF)
        self.child.close()
        return self.child.exitstatus  # type: ignore[no-any-return]


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    """A prompt that waits for a line."""
    one = Terminal(tmp_path)
    one.ready()
    yield one
    one.child.close(force=True)


def test_a_command_and_ctrl_d(terminal: Terminal) -> None:
    terminal.child.send("says hello\r")
    terminal.printed("hello")
    terminal.ready()
    terminal.child.sendeof()
    assert terminal.left() == 0


@pytest.mark.parametrize("word", ["exit", "quit"])
def test_leaving(terminal: Terminal, word: str) -> None:
    terminal.child.send(f"{word}\r")
    assert terminal.left() == 0


def test_the_bottom_line_names_the_target(tmp_path: Path) -> None:
    # The line is drawn once the terminal has said where the cursor is.
    terminal = Terminal(tmp_path, PROMPT_TOOLKIT_NO_CPR="")
    terminal.expect("\x1b[6n")
    terminal.child.send("\x1b[2;1R")
    terminal.expect("fake (6.12) · page_owner off")
    terminal.child.close(force=True)


def test_a_greeting_is_broken_between_words(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, columns=30)
    lines = terminal.expect(PROMPT).splitlines()
    terminal.child.sendeof()
    assert terminal.left() == 0
    greeting = list(itertools.takewhile(lambda line: "\x1b" not in line, lines))
    assert len(greeting) > 1
    assert all(len(line) <= 30 for line in greeting)
    assert " ".join(greeting).split(". ")[-1].startswith("Type help for the")


def test_a_failure_does_not_leave(terminal: Terminal) -> None:
    terminal.child.send("sayz\r")
    terminal.expect("sayz: no such command; did you mean says?")
    terminal.ready()
    terminal.child.send("says still\r")
    terminal.printed("still")


def test_ctrl_c_ends_the_command_only(terminal: Terminal) -> None:
    terminal.child.send("waits\r")
    terminal.printed("waiting")
    terminal.child.sendintr()
    terminal.expect("Interrupted.")
    terminal.ready()
    terminal.child.send("says again\r")
    terminal.printed("again")


def test_ctrl_c_drops_the_line(terminal: Terminal) -> None:
    terminal.child.send("says dropped")
    terminal.expect("dropped")
    terminal.child.sendintr()
    terminal.ready()
    terminal.child.send("says kept\r")
    terminal.printed("kept")


def test_the_shell(terminal: Terminal) -> None:
    terminal.child.send("!echo $((40 + 2))\r")
    terminal.printed("42")
    terminal.ready()
    terminal.child.send("says b a | sort\r")
    terminal.printed("a\r\nb")


def test_tab_completes(terminal: Terminal) -> None:
    terminal.child.send("say\t")
    # Drawn at once, or the last letter after the cursor was moved.
    terminal.child.expect(r"say(?:\x1b\[\??[0-9;]*[A-Za-z])*s")
    terminal.child.send(" completed\r")
    terminal.printed("completed")


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[tuple[Terminal, int]]:
    """
    A prompt at which sizes were asked for that nobody knows yet, and the pipe that they
    are read from.
    """
    pipe = tmp_path / "sizes"
    os.mkfifo(pipe)
    terminal = Terminal(tmp_path, SIZES=str(pipe))
    terminal.ready()
    terminal.child.send("rows pfn --size \t")
    writing = _opened_with_a_reader(pipe)
    yield terminal, writing
    terminal.child.close(force=True)


def _opened_with_a_reader(pipe: Path) -> int:
    deadline = time.monotonic() + 60
    while True:
        try:
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            assert error.errno == errno.ENXIO
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_nobody_waits_for_a_target_that_is_slow(slow: tuple[Terminal, int]) -> None:
    terminal, writing = slow
    terminal.child.send("4K\r")
    terminal.expect("0x1002")
    terminal.ready()
    terminal.child.send("rows pfn --size 6\t")
    os.write(writing, b"16K 64K")
    os.close(writing)
    # Drawn at once, or the last letter after the cursor was moved.
    terminal.child.expect(r"4(?:\x1b\[\??[0-9;]*[A-Za-z])*K")
    terminal.child.send("\r")
    terminal.expect("0x1002")


def test_leaving_ends_what_is_being_read(slow: tuple[Terminal, int]) -> None:
    terminal, writing = slow
    terminal.child.sendcontrol("u")
    terminal.child.sendeof()
    assert terminal.left() == 0
    with pytest.raises(BrokenPipeError):
        os.write(writing, b"4K")
    os.close(writing)


def test_several_pasted_lines_are_asked_about_and_run_one_by_one(
    terminal: Terminal,
) -> None:
    terminal.child.send("\x1b[200~says one\nsays two\x1b[201~\r")
    terminal.expect("Run these 2 commands?")
    # They are there to be changed, until they are wanted.
    terminal.child.send("n")
    terminal.ready()
    terminal.child.send("\x1b[200~\nsays three\x1b[201~\r")
    terminal.expect("Run these 3 commands?")
    terminal.child.send("y")
    terminal.printed("one")
    terminal.expect("two\r\nthree\r\n")
    terminal.child.send("\x1b[200~says 'one\nword'\x1b[201~\r")
    terminal.printed("one\r\nword")


def test_a_long_paste(terminal: Terminal) -> None:
    word = "x" * 5000
    terminal.child.send(f"\x1b[200~says {word}\x1b[201~")
    terminal.child.send(" | wc -c\r")
    terminal.printed("5001")


def test_history_is_kept_for_its_owner_only(terminal: Terminal, tmp_path: Path) -> None:
    terminal.child.send("says remembered\r")
    terminal.printed("remembered")
    terminal.ready()
    terminal.child.sendeof()
    terminal.left()
    path = tmp_path / "pagedbg" / "history"
    assert "says remembered" in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600

    again = Terminal(tmp_path)
    again.ready()
    again.child.send("\x1b[A\r")
    again.printed("remembered")
    again.child.close(force=True)


def test_history_is_not_written_through_a_link(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    victim.chmod(0o644)
    (tmp_path / "pagedbg").mkdir()
    (tmp_path / "pagedbg" / "history").symlink_to(victim)
    terminal = Terminal(tmp_path)
    terminal.expect("history: it is a link).")
    terminal.ready()
    terminal.child.send("says works\r")
    terminal.printed("works")
    terminal.child.close(force=True)
    assert (victim.read_text(), stat.S_IMODE(victim.stat().st_mode)) == (
        "untouched",
        0o644,
    )


def test_history_falls_back_to_memory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    terminal = Terminal(tmp_path, XDG_STATE_HOME=str(tmp_path / "file"))
    terminal.expect("The history of this session will not be kept (")
    terminal.ready()
    terminal.child.send("says works\r")
    terminal.printed("works")
    terminal.child.close(force=True)


def test_a_dumb_terminal_gets_plain_input(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, TERM="dumb")
    terminal.ready()
    terminal.child.send("rows pfn 60\r")
    output = terminal.expect(PROMPT)
    assert "0x103b" in output
    assert "\x1b" not in output
    terminal.child.send("waits\r")
    terminal.expect("waiting")
    terminal.child.sendintr()
    terminal.expect("Interrupted.")
    terminal.ready()
    terminal.child.sendeof()
    assert terminal.left() == 0


# ---- paging


def test_what_overflows_is_paged_and_the_pager_may_be_left_early(
    terminal: Terminal,
) -> None:
    terminal.child.send("rows pfn 100000\r")
    assert "0x1010" in terminal.expect("\r\n:")
    terminal.child.sendintr()
    terminal.leave_less()
    terminal.child.send("says after\r")
    terminal.printed("after")


def test_what_fits_is_not_paged(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, "rows", "pfn", "10", PAGER="sed s/^/paged:/")
    assert "paged:" not in terminal.expect("0x1009")
    assert terminal.left() == 0


@pytest.mark.parametrize(
    ("args", "pager", "paged"),
    [
        (["rows", "pfn", "100"], "sed s/^/paged:/", True),
        (["--no-pager", "rows", "pfn", "100"], "sed s/^/paged:/", False),
        (["rows", "pfn", "100"], "cat", False),
        (["rows", "pfn", "100"], "", False),
    ],
)
def test_the_user_s_pager(
    tmp_path: Path, args: list[str], pager: str, paged: bool
) -> None:
    terminal = Terminal(tmp_path, *args, PAGER=pager)
    assert ("paged:" in terminal.expect("0x1063")) is paged
    assert terminal.left() == 0


@pytest.mark.parametrize(
    "line", ["rows pfn 30 | less", "rows pfn 100000 | less", "rows pfn 30"]
)
def test_ctrl_c_in_less_leaves_both_alive(terminal: Terminal, line: str) -> None:
    """
    It comes while we wait for less to end, which it does not disturb, or for less to
    read, which ends the command.
    """
    terminal.child.logfile_read = io.StringIO()
    terminal.child.send(f"{line}\r")
    terminal.expect("\r\n:")
    if "100000" not in line:
        # less has all, so that we only wait.
        assert terminal.is_in_less()
    for _ in range(3):
        terminal.child.sendintr()
    assert terminal.is_in_less()
    terminal.leave_less()
    terminal.child.send("says after\r")
    terminal.printed("after")
    assert ("Interrupted." in terminal.child.logfile_read.getvalue()) is (
        "100000" in line
    )


@pytest.mark.parametrize("line", ["rows pfn 100000 | less", "rows pfn 100000"])
@pytest.mark.parametrize("gap", [0, 0.0003])
def test_a_hail_of_ctrl_c_loses_neither_less_nor_the_prompt(
    terminal: Terminal, line: str, gap: float
) -> None:
    """Nor one that comes while what the one before it has ended is cleaned up after."""
    terminal.child.logfile_read = io.StringIO()
    terminal.child.send(f"{line}\r")
    terminal.expect("\r\n:")
    for _ in range(200):
        os.kill(terminal.child.pid, signal.SIGINT)
        time.sleep(gap)
    assert terminal.is_in_less()
    terminal.leave_less()
    terminal.child.send("waits\r")
    terminal.printed("waiting")
    # Some find the command, those after it the prompt.
    for _ in range(1000):
        os.kill(terminal.child.pid, signal.SIGINT)
        time.sleep(gap)
    terminal.expect("Interrupted.")
    terminal.ready()
    terminal.child.send("says after\r")
    terminal.printed("after")
    assert "Traceback" not in terminal.child.logfile_read.getvalue()


@pytest.mark.parametrize("gap", [0, 0.0003])
def test_a_hail_of_ctrl_c_ends_one_command_as_one_does(
    tmp_path: Path, gap: float
) -> None:
    terminal = Terminal(tmp_path, "waits")
    terminal.expect("waiting")
    for _ in range(100):
        os.kill(terminal.child.pid, signal.SIGINT)
        time.sleep(gap)
    terminal.child.expect(pexpect.EOF)
    assert "Traceback" not in terminal.child.before
    # At its very end Python lets a signal kill it, which a shell calls 130, too.
    assert terminal.left() == 130 or terminal.child.signalstatus == signal.SIGINT


# Says so when it has some rows, and takes no more.
READER = "(head -c 100000 >/dev/null && echo waiting && exec sleep 20)"


@pytest.mark.parametrize(
    "args", [["-e", f"rows pfn 1000000 | {READER}"], ["-e", "waits"], []]
)
@pytest.mark.once
def test_ctrl_c_does_not_keep_a_session_from_being_closed(
    tmp_path: Path, args: list[str]
) -> None:
    terminal = Terminal(tmp_path, *args, CLOSING="1.5")
    if args:
        terminal.expect("waiting")
        terminal.child.sendintr()
    else:
        terminal.ready()
        terminal.child.send("exit\r")
    terminal.expect("closing")
    for _ in range(13):
        terminal.child.sendintr()
        time.sleep(0.1)
    assert "Traceback" not in terminal.expect("closed")
    assert terminal.left() == (130 if args else 0)


def test_each_command_is_ended_by_a_ctrl_c_of_its_own(terminal: Terminal) -> None:
    for _ in range(3):
        terminal.child.send("waits\r")
        terminal.printed("waiting")
        terminal.child.sendintr()
        terminal.expect("Interrupted.")
        terminal.ready()


def test_each_line_of_a_dumb_terminal_is_dropped_by_a_ctrl_c_of_its_own(
    tmp_path: Path,
) -> None:
    terminal = Terminal(tmp_path, TERM="dumb")
    terminal.ready()
    for word in ("one", "two", "three"):
        terminal.child.send(f"says {word}")
        terminal.expect(word)
        # The terminal shows what is typed before anybody reads it; until then there is
        # nothing to be dropped, and Ctrl-C is pressed again.
        for _ in range(6):
            terminal.child.sendintr()
            if not terminal.child.expect_exact([PROMPT, pexpect.TIMEOUT], timeout=10):
                break
    terminal.child.send("says four\r")
    terminal.expect("says four\r\nfour\r\n")
    terminal.child.close(force=True)


def test_a_narrow_terminal_is_filled_not_overflown(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, "rows", "pfn", "3", "--wide", columns=40)
    lines = terminal.expect("could not be read").splitlines()
    assert [line for line in lines if "a-rather" in line]
    # The note is dim, so colour codes stand before it.
    assert [line for line in lines[1:4] if len(line) > 40] == []
    assert terminal.left() == 0


# ---- completion


def offers(text: str, completer: LineCompleter | None = None) -> list[str]:
    """Return what the line would be after each of the completions."""
    completer = completer or LineCompleter(fake_session())
    document = Document(text)
    found = completer.get_completions(
        document, CompleteEvent(completion_requested=True)
    )
    return [
        text[: len(text) + completion.start_position] + completion.text
        for completion in found
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ro", ["rows"]),
        ("  ro", ["  rows"]),
        ("help ro", ["help rows"]),
        ("rows p", ["rows pfn", "rows phys"]),
        ("rows pfn --s", ["rows pfn --size"]),
        ("rows --wide p", ["rows --wide pfn", "rows --wide phys"]),
        ("rows --size 4K p", ["rows --size 4K pfn", "rows --size 4K phys"]),
        ("rows pfn --wide --w", []),
        ("rows pfn --format j", ["rows pfn --format json", "rows pfn --format jsonl"]),
        ("rows pfn --format=js", ["rows pfn --format=json", "rows pfn --format=jsonl"]),
        ("rows pfn --comm sw", ["rows pfn --comm swapper/0"]),
        ("rows pfn --comm bash,sw", ["rows pfn --comm bash,swapper/0"]),
        ("rows pfn --comm We", ["rows pfn --comm 'Web Content'"]),
        ("rows pfn --comm content", ["rows pfn --comm 'Web Content'"]),
        ("owners --by ord", ["owners --by order"]),
        ("owners --by comm,pageblock_", ["owners --by comm,pageblock_type"]),
        ("owners --by comm,com", []),
        ("rows pfn --comm bash,ba", []),
        ("blocks --by fun", ["blocks --by function"]),
        ("blocks --by ord", []),
        # Fuzzy, but where something begins so.
        ("owners --by fnc", ["owners --by function"]),
        ("owners --by comm,mdl", ["owners --by comm,module"]),
        ("owners --kind pgt", ["owners --kind 'page table'", "owners --kind page_ext"]),
        ("owners --sort ram_s", []),
        ("owners --by comm --sort ra", ["owners --by comm --sort ram_share"]),
        ("owners --by comm --sort pf", []),
        ("owners --sort pf", ["owners --sort pfn"]),
        ("watch -n 1 own", ["watch -n 1 owners"]),
        ("watch -n 1 owners --by mdl", ["watch -n 1 owners --by module"]),
        ("watch -n 1 --diff trace sh", ["watch -n 1 --diff trace show"]),
        ("owners --columns pfn,com", ["owners --columns pfn,comm"]),
        ("owners --columns -stac", ["owners --columns -stack"]),
        ("owners --columns -stack,-sta", ["owners --columns -stack,-state"]),
        ("correlate --lifetimes --sort med", ["correlate --lifetimes --sort median"]),
        ("map --columns k", []),
        ("alias mine owners --by ord", ["alias mine owners --by order"]),
        ("alias own", []),
        ("diff --by=zone,comm --sort z", ["diff --by=zone,comm --sort zone"]),
        ("owners --gfp GFP_A|GFP_", ["owners --gfp 'GFP_A|GFP_B'"]),
        ("owners --gfp=GFP_A|B", ["owners --gfp='GFP_A|GFP_B'"]),
        ("owners --gfp GFP_A| pagedbg-", ["owners --gfp GFP_A| pagedbg-test"]),
        ("explain order 4 --by stack_i", ["explain order 4 --by stack_id"]),
        ("rows pfn | pagedbg-", ["rows pfn | pagedbg-test"]),
        ("!pagedbg-", ["!pagedbg-test"]),
        ("!true | pagedbg-", ["!true | pagedbg-test"]),
        ("!ro", []),
        ("# ro", []),
        ("help trace sh", ["help trace show"]),
        ("help trace show ", []),
        ("set timing o", ["set timing on", "set timing off"]),
        ("set format ma", ["set format markdown"]),
        ("correlate --state live,fr", ["correlate --state live,freed"]),
        ("nonsense --f", []),
    ],
)
def test_completion(
    text: str, expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("pagedbg-test", "pagedbg-text"):
        (tmp_path / name).touch()
    (tmp_path / "pagedbg-test").chmod(0o755)
    monkeypatch.setitem(VALUES, "--gfp", lambda session: ["GFP_A", "GFP_B"])
    # A program that is found twice is offered once.
    monkeypatch.setenv("PATH", f"{tmp_path}:{tmp_path}")
    assert offers(text) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("owners --by fnc", "The innermost function of the stack"),
        ("owners --kind sla", "slab objects"),
        ("trace set --events res", "__reset_page_owner"),
        ("set timin", "Whether the time"),
        ("owners --no-st", "leave out the stacks"),
    ],
)
def test_a_word_is_said_on_each(text: str, said: str) -> None:
    event = CompleteEvent(completion_requested=True)
    completer = LineCompleter(fake_session())
    (found,) = completer.get_completions(Document(text), event)
    assert found.display_meta_text.startswith(said)


def test_what_a_word_of_the_users_own_stands_for_is_said() -> None:
    session = fake_session(aliases={"mine": "rows pfn 1"})
    document = Document("mi")
    event = CompleteEvent(completion_requested=True)
    (found,) = LineCompleter(session).get_completions(document, event)
    assert (found.text, found.display_meta_text) == ("mine", "rows pfn 1")


def test_completion_offers_all_there_is() -> None:
    assert {"help", "rows", "inspect"} <= set(offers(""))
    assert offers("rows ")[:2] == ["rows pfn", "rows phys"]
    assert "rows --size" in offers("rows ")


@pytest.mark.parametrize(
    "text",
    [
        "says x > {}",
        "says x >{}",
        "says x >> {}",
        "rows pfn -o {}",
        "rows pfn --output {}",
        "diff {}",
        "!cat {}",
        "!{}",
        "rows pfn | tee -a {}",
        "rows pfn | tee > {}",
    ],
)
def test_file_names(text: str, tmp_path: Path) -> None:
    (tmp_path / "owners.json").touch()
    assert offers(text.format(tmp_path / "own")) == [
        text.format(tmp_path / "owners.json")
    ]


@pytest.mark.parametrize(
    ("text", "files"),
    [
        ("trace load {}", []),
        ("trend a {}", []),
        ("diff {}", ["owned.json"]),
        ("!ls {}", ["owned.json"]),
    ],
)
def test_directories(text: str, files: list[str], tmp_path: Path) -> None:
    (tmp_path / "owned.json").touch()
    (tmp_path / "owners").mkdir()
    (tmp_path / "owners" / "a b").mkdir()
    assert offers(text.format(tmp_path / "own")) == [
        text.format(f"{tmp_path}/{name}") for name in (*files, "owners/")
    ]
    assert offers(text.format(f"{tmp_path}/owners/")) == [
        text.format(f"'{tmp_path}/owners/a b/'")
    ]


def test_the_target_is_asked_once_until_it_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = tmp_path / "asked"

    def comms(session: Session) -> list[str]:
        # Another process may be asked.
        with asked.open("a") as log:
            log.write("once")
        return ["bash"]

    monkeypatch.setitem(VALUES, "--comm", comms)
    completer = LineCompleter(fake_session())
    for _ in range(3):
        assert offers("rows pfn --comm b", completer) == ["rows pfn --comm bash"]
    assert asked.read_text() == "once"
    completer.values.forget()
    offers("rows pfn --comm b", completer)
    assert asked.read_text() == "onceonce"


def test_a_target_that_cannot_be_read_offers_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def comms(session: Session) -> list[str]:
        raise LookupError("no tasks")

    monkeypatch.setitem(VALUES, "--comm", comms)
    assert offers("rows pfn --comm b") == []

# SPDX-License-Identifier: GPL-2.0-or-later
"""
The command line, as a program: what is run, in which order, with which exit status, and
what is not imported.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

FAKE = [sys.executable, str(Path(__file__).with_name("fake_session.py"))]


def pagedbg(*args: str, **more: object) -> subprocess.CompletedProcess[str]:
    """Run pagedbg on the fake target."""
    more.setdefault("stdin", subprocess.DEVNULL)
    if "input" in more:
        del more["stdin"]
    done: subprocess.CompletedProcess[str] = subprocess.run(
        [*FAKE, *args], capture_output=True, text=True, timeout=60, **more
    )  # type: ignore[call-overload]
    assert "Traceback" not in done.stderr
    return done


def python(code: str) -> str:
    """Run Python and return what it prints."""
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_import_nothing_heavy(option: str) -> None:
    code = f"""
import sys
from pagedbg.cli import main
print(main([{option!r}]))
print([name for name in ("drgn", "numpy", "duckdb", "rich", "prompt_toolkit") if name in sys.modules])
"""  # noqa: E501
    assert python(code).splitlines()[-2:] == ["0", "[]"]


def test_a_command_imports_neither_the_prompt_nor_the_database() -> None:
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import fake_session
sys.argv[1:] = ["-e", "rows pfn 1"]
print(fake_session.main())
print([name for name in ("duckdb", "rich", "prompt_toolkit") if name in sys.modules])
"""
    assert python(code).splitlines()[-2:] == ["0", "[]"]


def test_there_is_one_thread_and_the_environment_is_as_it_was() -> None:
    environment = {**os.environ}
    environment.pop("OPENBLAS_NUM_THREADS", None)
    asked = ("!ls /proc/$PPID/task | wc -l", "!echo ${OPENBLAS_NUM_THREADS-unset}")
    done = subprocess.run(
        [sys.executable, "-m", "pagedbg", "--sample", "-e", asked[0], "-e", asked[1]],
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=True,
        env=environment,
    )
    assert done.stdout.split() == ["1", "unset"]


def test_the_plugin_imports_nothing_that_drgn_has_not() -> None:
    code = """
import sys, drgn.commands
before = set(sys.modules)
import pagedbg.plugin
print(sorted(set(sys.modules) - before))
"""
    assert python(code).split("\n")[0] == (
        "['pagedbg', 'pagedbg.plugin', 'pagedbg.target']"
    )


def test_words_are_one_command_however_they_are_quoted() -> None:
    done = pagedbg("says", "a b", "c|d", "it's", "#", ">=3", "", "$HOME")
    assert done.stdout == "a b\nc|d\nit's\n#\n>=3\n\n$HOME\n"
    assert (done.returncode, done.stderr) == (0, "")


def test_options_after_the_command_are_the_command_s() -> None:
    done = pagedbg("--format", "csv", "rows", "pfn", "1", "--format", "json")
    assert json.loads(done.stdout) == [{"pfn": 4096, "order": 0, "comm": "kworker/0:1"}]


def test_commands_and_files_run_in_the_order_given(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("# a comment\n\nsays two\n")
    assert (
        pagedbg("-e", "says one", "-x", str(script), "-e", "says three").stdout
        == "one\ntwo\nthree\n"
    )


def test_a_semicolon_separates_commands_but_for_words_of_a_shell() -> None:
    done = pagedbg("-e", "says one; says 'a;b'; fails so; says never")
    assert (done.stdout, done.returncode) == ("one\na;b\n", 1)
    assert pagedbg("says", "a;b", ";", "c").stdout == "a;b\n;\nc\n"


def test_a_script_is_standard_input_where_it_is_called_so() -> None:
    args = ("-e", "says one", "-x", "-", "-e", "says three")
    assert pagedbg(*args, input="says two\n").stdout == "one\ntwo\nthree\n"
    done = pagedbg("-x", "-", input="says one\nfails so\nsays two\n")
    assert (done.returncode, done.stdout) == (1, "one\n")
    assert done.stderr == "stdin:2: fails: gave up\n"


def test_the_first_failure_ends_a_script_and_is_located(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("says one\n\nfails other\nsays never\n")
    done = pagedbg("-x", str(script))
    assert (done.returncode, done.stdout, done.stderr) == (
        1,
        "one\n",
        f"{script}:3: fails: gave up\n",
    )


def test_standard_input_is_a_script() -> None:
    done = pagedbg(input="says one | cat -n\nsayz two\nsays three\n")
    assert (done.returncode, done.stdout) == (2, "     1\tone\n")
    assert done.stderr == "stdin:2: sayz: no such command; did you mean says?\n"


def test_exit_ends_a_script() -> None:
    done = pagedbg("-e", "says one", "-e", "exit", "-e", "fails other")
    assert (done.returncode, done.stdout, done.stderr) == (0, "one\n", "")


@pytest.mark.parametrize(
    ("args", "status", "said"),
    [
        (["--nonsense"], 2, "pagedbg: error: unrecognized arguments: --nonsense"),
        (
            ["--sample", "-c", "vmcore", "status"],
            2,
            "pagedbg: error: argument -c/--core: not allowed with argument --sample",
        ),
        (
            ["--crash", "says", "a"],
            1,
            "pagedbg: --crash is for crash's prompt: no crash is above this process.",
        ),
        (
            ["-e", "says a", "says", "b"],
            2,
            "pagedbg: error: COMMAND cannot be given together with -e or -x",
        ),
        (
            [str(Path(__file__))],
            2,
            (
                f"pagedbg: error: {__file__} is a file, not a command; did you mean -c"
                f" {__file__}?"
            ),
        ),
        (["sayz"], 2, "sayz: no such command; did you mean says?"),
        (["fails", "other"], 1, "fails: gave up"),
        (
            ["-x", "/no/such/script"],
            1,
            "pagedbg: /no/such/script: No such file or directory",
        ),
        (["help", "hepl"], 2, "pagedbg: hepl: no such command; did you mean help?"),
    ],
)
def test_exit_status(args: list[str], status: int, said: str) -> None:
    done = pagedbg(*args)
    assert (done.returncode, done.stdout, done.stderr.splitlines()[-1]) == (
        status,
        "",
        said,
    )


def test_help_needs_no_target() -> None:
    code = """
import pagedbg.target.opening
def refuse(*_, **__):
    raise PermissionError
pagedbg.target.opening.open_target = refuse
from pagedbg.cli import main
assert main(["help", "exit"]) == 0
assert main(["exit", "--help"]) == 0
assert main(["exit"]) == 1
"""
    assert python(code).count("exit [-h]") == 2


def test_a_target_that_cannot_be_opened_is_one_sentence() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pagedbg", "-c", "/no/such/vmcore", "status"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert "/no/such/vmcore" in done.stderr


@pytest.mark.parametrize("command", ["rows pfn 100000", "says a"])
def test_a_reader_that_left_is_no_error(command: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [*FAKE, "-e", command, "-e", command],
            stdout=writer,
            stderr=subprocess.PIPE,
            timeout=60,
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_full_disk_is_said_once() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*FAKE, "says", "a"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert (done.returncode, done.stderr) == (1, "says: No space left on device\n")


def test_in_a_script_s_background_ctrl_c_is_not_for_us() -> None:
    # So a shell without job control starts what is to run in the background.
    process = subprocess.Popen(
        ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *FAKE, "waits"],
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"waiting\n"
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    process.terminate()
    process.communicate()


def test_ctrl_c_ends_a_command_with_130() -> None:
    process = subprocess.Popen(
        [*FAKE, "-e", "waits", "-e", "says never"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "")

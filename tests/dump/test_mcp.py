# SPDX-License-Identifier: GPL-2.0-or-later
"""
``mcp``: what an assistant can do, as the protocol's own client sees it, and what it
cannot.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest
from known import SAMPLE, Run

from pagedbg.shell.command import load_commands
from pagedbg.shell.completion import PATHS
from pagedbg.shell.mcp_tools import (
    ANSWER,
    MOST_TEXT,
    READ_ONLY,
    ROWS,
    CommandTool,
    tools,
)
from pagedbg.shell.parser import flat_arguments
from pagedbg.shell.registry import COMMANDS

# The protocol's package is there where pagedbg is developed.
pytestmark = pytest.mark.once

PAGEDBG = [sys.executable, "-m", "pagedbg"]

# Whatever hangs.
PATIENCE = 120.0

Call = Callable[..., Any]


@contextlib.contextmanager
def client(*args: str | os.PathLike[str], errors: Path) -> Iterator[Call]:
    """Call tools of a pagedbg that was started as an assistant would; None lists."""
    from anyio.from_thread import start_blocking_portal
    from mcp import ClientSession
    from mcp.client.stdio import StdioServerParameters, stdio_client

    program, *words = [*PAGEDBG, *map(os.fspath, args), "mcp"]
    server = StdioServerParameters(command=program, args=words)

    @contextlib.asynccontextmanager
    async def connected() -> AsyncIterator[ClientSession]:
        with errors.open("w") as file:
            async with (
                stdio_client(server, errlog=file) as (reader, writer),
                ClientSession(reader, writer, read_timeout_seconds=PATIENCE) as session,
            ):
                began.append(await session.initialize())
                yield session

    began: list[Any] = []
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(connected()) as session,
    ):

        def call(name: str | None, **arguments: Any) -> Any:
            if name is None:
                return began[0], portal.call(session.list_tools).tools
            return portal.call(session.call_tool, name, arguments)

        yield call


@pytest.fixture(scope="module")
def call(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Call]:
    """The tools on the bundled dump; in the end nothing has been complained of."""
    errors = tmp_path_factory.mktemp("mcp") / "errors"
    with client("-c", SAMPLE, errors=errors) as call:
        yield call
    assert errors.read_text() == ""


def answered(result: Any) -> dict[str, Any]:
    """What a tool has answered, twice the same."""
    assert not result.is_error, result.content[0].text
    answer: dict[str, Any] = result.structured_content
    assert json.loads(result.content[0].text) == answer
    return answer


# ---- which tools there are, and what they take ----------


def test_the_tools_are_what_only_reads_and_names_no_file() -> None:
    could_be = {
        command.name
        for command in load_commands()
        # Not those of other tests.
        if COMMANDS[command.name].module.startswith("pagedbg.commands.")
        and command.table
        and command.paged
        and not {
            str(arg.kwargs.get("metavar"))
            for arg in flat_arguments(command.arguments)
            if "--output" not in arg.args
        }
        & PATHS
    }
    assert set(READ_ONLY) == could_be - {"pageblocks"}


def test_a_client_is_told_of_them(call: Call) -> None:
    import jsonschema

    began, listed = call(None)
    assert began.server_info.name == "pagedbg"
    assert "sample.vmcore (6.12.117-pagedbg-lab)" in began.instructions
    assert [tool.name for tool in listed] == [
        name.replace(" ", "_") for name in READ_ONLY
    ]
    for tool in listed:
        assert tool.annotations.read_only_hint and not tool.annotations.destructive_hint
        assert tool.description
        jsonschema.Draft202012Validator.check_schema(tool.input_schema)
        assert tool.output_schema == ANSWER


@pytest.mark.parametrize("tool", tools().values(), ids=lambda tool: tool.name)
def test_a_tool_takes_what_its_command_takes(tool: CommandTool) -> None:
    told = tool.schema["properties"]
    actions = {action.dest: action for action in tool.command.parser._actions}
    kept_back = {"format", "output", "help", "drgn", "jobs", "inverted", "allocator"}
    if tool.name == "sql":
        kept_back |= {"save", "saved", "forget"}
    assert set(told) - {"limit"} == set(actions) - kept_back
    for name in set(told) - {"limit"}:
        assert told[name]["description"] == (actions[name].help or "").replace(
            "%%", "%"
        )


# ---- what they answer ----------


@pytest.mark.parametrize(
    ("name", "given", "line"),
    [
        ("status", {}, "status"),
        (
            "owners",
            {"by": "module,function", "limit": 1000},
            "owners --by module,function",
        ),
        (
            "owners",
            {"orders": ">=6", "state": "any", "no_stack": True, "columns": "pfn,comm"},
            "owners --orders '>=6' --state any --no-stack --columns pfn,comm",
        ),
        ("inspect", {"what": "pfn", "where": ["0xef0"]}, "inspect pfn 0xef0"),
        ("explain", {"what": ["order", 4]}, "explain order 4"),
        ("correlate", {"leaked": True}, "correlate --leaked"),
        (
            "trace_show",
            {"pfns": "0xef0+16", "last": 9},
            "trace show --pfns 0xef0+16 --last 9",
        ),
        ("log", {"last": 5}, "log --last 5"),
        ("sql", {"query": f"SELECT {1 << 60} AS n"}, f'sql "SELECT {1 << 60} AS n"'),
        ("sql", {"schema": "zones"}, "sql --schema zones"),
    ],
)
def test_an_answer_is_that_of_the_command(
    name: str, given: dict[str, Any], line: str, call: Call, pagedbg: Run
) -> None:
    done = pagedbg("-c", SAMPLE, "--format", "json", "-e", line)
    assert done.returncode == 0, done.stderr
    answer = answered(call(name, **given))
    assert answer["data"]["rows"] == json.loads(done.stdout)
    assert answer["left_out"] is None
    assert "data was read from sample.vmcore" in answer["about"]
    # What it says besides stands there, too.
    for note in done.stderr.splitlines():
        assert note.removeprefix("pagedbg: ") in answer["data"]["notes"]


def test_what_is_left_out_is_counted(call: Call) -> None:
    everything = answered(call("sql", query="SELECT count(*) AS n FROM blocks"))
    (row,) = everything["data"]["rows"]
    some = answered(call("owners"))
    assert len(some["data"]["rows"]) == ROWS
    assert some["left_out"].startswith(f"{row['n'] - ROWS:,} more rows are left out: ")
    two = answered(call("owners", limit=2))
    assert two["data"]["rows"] == some["data"]["rows"][:2]


def test_an_answer_has_no_more_text_than_is_said(call: Call) -> None:
    rows = "SELECT repeat('x', 20000) AS x FROM range(5)"
    answer = answered(call("sql", query=rows))
    assert len(answer["data"]["rows"]) == MOST_TEXT // 20001
    assert answer["left_out"].startswith("3 more rows are left out: ")
    # The first is there whatever it has.
    (row,) = answered(call("sql", query="SELECT repeat('x', 100000) AS x"))["data"][
        "rows"
    ]
    assert len(row["x"]) == 100000


def test_nothing_found_is_said(call: Call) -> None:
    answer = answered(call("owners", comm="nobody"))
    assert (answer["data"]["rows"], answer["left_out"]) == ([], None)
    assert "No block on record matches." in answer["data"]["notes"]


def test_a_snapshot_answers_too(tmp_path: Path, pagedbg: Run) -> None:
    kept = tmp_path / "kept"
    assert pagedbg("-c", SAMPLE, "snapshot", "save", kept).returncode == 0
    line = "owners --by module --format json"
    said = json.loads(pagedbg("--snapshot", kept, "-e", line).stdout)
    with client("--snapshot", kept, errors=tmp_path / "errors") as call:
        assert answered(call("owners", by="module"))["data"]["rows"] == said
        refused = call("stacks")
        assert refused.is_error
        assert "a snapshot does not hold single blocks" in refused.content[0].text


# ---- what they refuse ----------


@pytest.mark.parametrize(
    ("name", "given", "sentence"),
    [
        ("owner", {}, "owner: there is no such tool; did you mean owners?"),
        (
            "owners",
            {"ordres": "4"},
            "owners: there is no argument 'ordres'; did you mean",
        ),
        (
            "owners",
            {"by": "modul"},
            "owners: --by: 'modul' is nothing to sum up by; did",
        ),
        ("owners", {"orders": [4]}, "owners: orders: a text is needed"),
        ("owners", {"no_stack": "yes"}, "owners: no_stack: true or false is needed"),
        ("owners", {"limit": 1001}, "owners: limit: a number from 1 to 1000 is needed"),
        ("owners", {"limit": True}, "owners: limit: a number from 1 to 1000 is needed"),
        ("inspect", {"what": "pfn"}, "inspect: missing: NUMBER (help inspect)"),
        (
            "inspect",
            {"what": "pfn", "where": [None]},
            "inspect: where: a text is needed",
        ),
        ("inspect", {"what": "pfn", "where": ["0xfffffffff"]}, "inspect: "),
        ("sql", {}, 'sql: write the query behind it, in quotes: sql "SELECT ..."'),
        ("sql", {"query": "SELECT nope FROM blocks"}, "sql: "),
    ],
)
def test_what_is_wrong_is_a_sentence(
    name: str, given: dict[str, Any], sentence: str, call: Call
) -> None:
    result = call(name, **given)
    assert result.is_error
    (content,) = result.content
    assert content.text.startswith(sentence)
    assert "\n" not in content.text
    assert "bug in pagedbg" not in content.text


def test_no_file_is_written_and_no_program_run(call: Call, tmp_path: Path) -> None:
    made = tmp_path / "made"
    for name, given in (
        ("owners", {"output": str(made)}),
        ("owners", {"by": f"module -o {made}"}),
        ("owners", {"comm": f"x | touch {made}"}),
        ("owners", {"comm": f"x > {made}"}),
        ("owners", {"columns": f"pfn; !touch {made}"}),
        ("inspect", {"what": "pfn", "where": ["1", f"--output={made}"]}),
        ("inspect", {"what": "pfn", "where": ["1", "-o", str(made)]}),
        ("explain", {"what": [f"-o{made}"]}),
        ("explain", {"what": ["order", "4", ">", str(made)]}),
        ("map", {"highlight": f"--module x -o {made}"}),
        ("sql", {"query": f"COPY (SELECT 1) TO '{made}'"}),
        ("sql", {"query": f"--save=x SELECT 1 > {made}"}),
        ("sql", {"save": "x", "query": "SELECT 1"}),
        ("sql", {"query": "SELECT * FROM read_text('/etc/passwd')"}),
    ):
        result = call(name, **given)
        assert result.is_error or answered(result)["data"]["rows"] == [], (name, given)
    # Nor are there the commands that do.
    for name in (
        "record",
        "report",
        "snapshot_save",
        "trace_start",
        "trace_save",
        "!sh",
    ):
        assert "there is no such tool" in call(name).content[0].text
    assert [*tmp_path.iterdir()] == []


def test_a_person_is_told_who_starts_it() -> None:
    terminal = pexpect.spawn(PAGEDBG[0], [*PAGEDBG[1:], "-c", str(SAMPLE), "mcp"])
    terminal.expect("an assistant starts this and speaks to it through pipes", PATIENCE)
    terminal.expect(pexpect.EOF, PATIENCE)


def test_without_the_package_it_says_how_to_get_it() -> None:
    without = "import sys; sys.modules['mcp'] = None; from pagedbg.cli import main"
    done = subprocess.run(
        [sys.executable, "-c", f"{without}; sys.exit(main())", "-c", SAMPLE, "mcp"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    said = "mcp: the Python package mcp is missing: pip install 'pagedbg[mcp]'.\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", said)


# ---- a client that gives up ----------

# It would be asked for days.
ENDLESS = """
SELECT count(*) FROM range(100000000) a, range(100000000) b
WHERE (a.range * b.range) % 7 = 3
"""


def seconds_of_cpu(process: int) -> float:
    """How long a process has worked."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_what_a_client_gives_up_ends(tmp_path: Path) -> None:
    with (
        (tmp_path / "errors").open("w") as errors,
        subprocess.Popen(
            [*PAGEDBG, "-c", SAMPLE, "mcp"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as server,
    ):
        assert server.stdin is not None and server.stdout is not None

        def send(method: str, **more: Any) -> None:
            assert server.stdin is not None
            message = {"jsonrpc": "2.0", "method": method, **more}
            server.stdin.write(json.dumps(message) + "\n")
            server.stdin.flush()

        def answer_to(number: int) -> Any:
            assert server.stdout is not None
            said = json.loads(server.stdout.readline())
            assert said["id"] == number
            return said["result"]

        me = {"name": "test", "version": "1"}
        hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": me}
        send("initialize", id=1, params=hello)
        answer_to(1)
        send("notifications/initialized")
        # More than one, at once.
        for number in (2, 3):
            query = {"name": "sql", "arguments": {"query": ENDLESS}}
            send("tools/call", id=number, params=query)
        # It is heard meanwhile.
        send("ping", id=4)
        answer_to(4)
        for number in (2, 3):
            before = seconds_of_cpu(server.pid)
            while seconds_of_cpu(server.pid) < before + 0.5:
                time.sleep(0.05)
            send("notifications/cancelled", params={"requestId": number})
        send("tools/call", id=5, params={"name": "status", "arguments": {}})
        assert answer_to(5)["structuredContent"]["data"]["rows"]
        server.stdin.close()
        assert server.wait(PATIENCE) == 0
    assert (tmp_path / "errors").read_text() == ""

# SPDX-License-Identifier: GPL-2.0-or-later
"""
Captures from strangers: whatever takes the place of a file, a value or a record, there
is an answer or one sentence, and nothing else is touched.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drgn import Program
from known import Run

from pagedbg.capture.directory import Capture
from pagedbg.capture.files import EVENTS, META, PAGES, STACKS, CaptureError
from pagedbg.schema import event_record
from pagedbg.schema.event_record import RECORD
from pagedbg.schema.owner_record import PAGE_RECORD
from pagedbg.schema.settings import Settings
from pagedbg.session import Session
from pagedbg.shell.execute import execute
from pagedbg.target.target import Target

COMMANDS = (
    "trace status",
    "trace show --last 3",
    "trace show --last 3 --format classic",
    "correlate --by state",
    "correlate --leaked --top 3",
)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """
    A capture: what the sample's machine had recorded when it died, with pages saved
    beside it.
    """
    path = tmp_path_factory.mktemp("hostile") / "saved"
    done = Run()("--sample", "trace", "save", path)
    assert done.returncode == 0, done.stderr
    np.save(path / PAGES, np.zeros(100, PAGE_RECORD))
    return path


@pytest.fixture
def capture(saved: Path, tmp_path: Path) -> Path:
    """A copy, to be attacked."""
    return Path(shutil.copytree(saved, tmp_path / "capture"))


def answers(path: Path) -> list[tuple[int, str, str]]:
    """
    What the commands say of a capture: exit status, standard output, standard error; of
    one that cannot be opened, that.
    """
    try:
        opened = Capture(path)
    except CaptureError as error:
        return [(1, "", f"{error}\n")]
    session = Session(Target(Program()), settings=Settings(pager="off"), capture=opened)
    session.keep()
    found = []
    for command in COMMANDS:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = execute(session, command)
        found.append((status, out.getvalue(), err.getvalue()))
    return found


def check(path: Path) -> list[tuple[int, str, str]]:
    """Each command has an answer, or one sentence."""
    found = answers(path)
    for status, out, err in found:
        assert status in (0, 1)
        assert "bug in pagedbg" not in err, err
        assert out if status == 0 else (not out and err.count("\n") == 1), (
            status,
            out,
            err,
        )
    return found


# ---- what may be in the place of a file ----------

FILES = (META, EVENTS, STACKS, PAGES)


def fifo(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def link(path: Path) -> None:
    secret = path.parent.parent / "secret"
    secret.write_text("root:secret")
    path.symlink_to(secret)


def directory(path: Path) -> None:
    path.mkdir()


def socket(path: Path) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def unreadable(path: Path) -> None:
    path.symlink_to(path.name)


@pytest.mark.parametrize("what", [fifo, device, link, directory, socket, unreadable])
@pytest.mark.parametrize("name", FILES)
def test_only_regular_files_are_read(
    capture: Path, tmp_path: Path, pagedbg: Run, name: str, what: Any
) -> None:
    (capture / name).unlink()
    what(capture / name)
    said = check(capture)
    assert name in (META, EVENTS, STACKS, PAGES)
    if name in (META, EVENTS):
        assert all(name in err for _, _, err in said)
    pagedbg("--capture", capture, "trace", "save", tmp_path / "copy")
    for path in (tmp_path / "copy").glob("*"):
        assert path.is_file() and not path.is_symlink()
        assert b"root:secret" not in path.read_bytes()


def test_what_is_no_part_of_a_capture_is_not_copied(
    capture: Path, tmp_path: Path, pagedbg: Run
) -> None:
    (capture / "extra").symlink_to("/etc/shadow")
    (capture / "more").write_text("x")
    assert (
        pagedbg("--capture", capture, "trace", "save", tmp_path / "copy").returncode
        == 0
    )
    assert {path.name for path in (tmp_path / "copy").iterdir()} == {
        META,
        EVENTS,
        STACKS,
    }


def test_every_command_that_looks_at_a_capture_says_how_many_events_are_gone(
    capture: Path, tmp_path: Path, pagedbg: Run
) -> None:
    os.truncate(
        capture / EVENTS, (capture / EVENTS).stat().st_size - 1000 * RECORD.itemsize
    )
    commands = (
        "trace status",
        "trace show --last 1",
        "correlate --by state",
        f"trace load {capture}",
        f"trace save {tmp_path / 'copy'}",
    )
    for command in commands:
        assert (
            "1000 events were written and are gone from the file"
            in pagedbg("--capture", capture, "-e", command).stdout
        ), command
    # A copy has lost what was lost before.
    assert (
        "1000 events were written and are gone from the file"
        in pagedbg("--capture", tmp_path / "copy", "trace", "status").stdout
    )


# ---- what may be in meta.json ----------

VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    1 << 61,
    1 << 70,
    0.5,
    "",
    "x",
    "\x1b]0;x\x07",
    "x" * 70000,
    [],
    [[]],
    {},
    {"x": 1},
    [None] * 9,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something may be put instead; of a list only its first and its last."""
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list) and value:
        for at in sorted({0, len(value) - 1}):
            yield from places(value[at], (*path, at))


def put(meta: Any, path: tuple[Any, ...], value: Any) -> Any:
    """
    A copy of some JSON with another value in a place; with ``...``, without what is
    there.
    """
    if not path:
        return value
    changed = dict(meta) if isinstance(meta, dict) else list(meta)
    if value is ... and len(path) == 1:
        del changed[path[0]]
    else:
        changed[path[0]] = put(changed[path[0]], path[1:], value)
    return changed


@pytest.mark.long
@pytest.mark.once
def test_whatever_meta_says_there_is_an_answer_or_a_sentence(capture: Path) -> None:
    meta = json.loads((capture / META).read_bytes())
    meta["counts"]["cpus"] = meta["counts"]["cpus"][:1]
    os.truncate(capture / EVENTS, 20 * RECORD.itemsize)
    tried = refused = 0
    for place in places(meta):
        for value in (*VALUES, ...):
            if value is ... and not place:
                continue
            (capture / META).write_text(json.dumps(put(meta, place, value)))
            found = check(capture)
            tried, refused = tried + 1, refused + (len(found) == 1)
    assert tried > 1000
    assert refused > tried / 2


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[" * 1_000_000,
        '{"format": "pagedbg capture", "version": 2, "record_size": 128, "kernel": '
        + "[" * 1_000_000,
        '{"format": "pagedbg capture", "version": NaN, "record_size": 128}',
        "\0" * 5000,
        '"\\ud800"',
    ],
)
def test_what_is_no_json_is_refused_in_a_sentence(capture: Path, text: str) -> None:
    (capture / META).write_text(text)
    ((status, _, err),) = check(capture)
    assert (status, "meta.json" in err) == (1, True)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        # What only looks like the name of an event.
        (("functions",), {"set\n": "f"}),
        (("filters", 0, "filter"), {"events": ["set\n"]}),
        # Ranges that are none.
        (("filters", 0, "filter"), {"orders": [{"low": 5, "high": 2}]}),
        (("filters", 0, "filter"), {"pid": [[5, 1]]}),
        (("filters", 0, "filter"), {"pfns": [[9, 1]]}),
        # A flag that every mask has, and more names than a kernel can have.
        (("names", "gfp"), [[0, "__GFP_MOVABLE"]]),
        (("names", "gfp"), [[1, "A"]] * 1000),
        (("names", "migratetype"), ["A"] * 1000),
        (
            ("names", "zones"),
            [{"node": 0, "zone": "A", "start_pfn": 0, "end_pfn": 1}] * 10_000,
        ),
    ],
)
def test_a_value_that_no_recorder_can_have_written_is_refused(
    capture: Path, place: tuple[Any, ...], value: Any
) -> None:
    meta = json.loads((capture / META).read_bytes())
    (capture / META).write_text(json.dumps(put(meta, place, value)))
    ((status, _, err),) = check(capture)
    assert (status, "meta.json is damaged" in err) == (1, True)


@pytest.mark.parametrize(
    "line", ["--gfp " + "A" * 60_000, "--orders " + ",".join([">=0:1"] * 9000)]
)
def test_a_line_of_the_former_version_that_nobody_has_typed_is_not_known(
    capture: Path, line: str
) -> None:
    meta = json.loads((capture / META).read_bytes())
    lines = [{"since_ns": 1, "filter": line}] * 200
    (capture / META).write_text(json.dumps({**meta, "version": 2, "filters": lines}))
    assert Capture(capture).meta.filters[0].filter is None


def test_a_meta_of_a_terabyte_is_not_read(capture: Path) -> None:
    os.truncate(capture / META, 1 << 40)
    ((_, _, err),) = check(capture)
    assert "is more than it can need" in err


# ---- what may be in the other files ----------


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("order", 27),
        ("order", 31),
        ("order", 255),
        ("record_order", 40),
        ("new_order", 64),
        ("event", 0),
        ("event", 9),
        ("pfn", 1 << 60),
        ("other_pfn", 1 << 52),
        ("ts_nsec", 1 << 63),
        ("time_nsec", (1 << 64) - 1),
        ("mono_nsec", 1 << 62),
        ("seq", 1 << 60),
        ("seq", 0),
    ],
)
def test_a_record_that_no_kernel_can_have_written_is_left_out_and_counted(
    capture: Path, member: str, value: int
) -> None:
    records = np.fromfile(capture / EVENTS, RECORD)
    records[member][5] = value
    records["check"] = event_record.check_of(records)
    records.tofile(capture / EVENTS)
    opened = Capture(capture)
    assert len(opened.events()) == len(records) - 1
    assert opened.contents.damaged == 1
    status, out, _ = check(capture)[0]
    assert (status, "1 events in the file are damaged." in out) == (0, True)


def test_records_that_hold_more_than_a_machine_has_are_refused(capture: Path) -> None:
    records = np.zeros(5000, RECORD)
    records["seq"] = np.arange(1, len(records) + 1)
    records["event"], records["order"] = event_record.SET, event_record.MOST_ORDER
    records["ts_nsec"] = records["time_nsec"] = records["seq"]
    records["check"] = event_record.check_of(records)
    records.tofile(capture / EVENTS)
    assert "more than a machine has" in check(capture)[-1][2]


def test_records_that_are_all_of_one_time_are_refused(capture: Path) -> None:
    records = np.zeros(60_000, RECORD)
    records["seq"] = np.arange(1, len(records) + 1)
    records["event"] = np.resize(
        [event_record.SET, event_record.COPY, event_record.RESET], len(records)
    )
    records["ts_nsec"] = records["time_nsec"] = 7
    records["check"] = event_record.check_of(records)
    records.tofile(capture / EVENTS)
    assert "contradict each other" in check(capture)[-1][2]


@pytest.mark.parametrize(
    "line",
    [
        b"nonsense\n",
        b"\xff\xfe\n",
        b"[" * 60000 + b"\n",
        b"x" * 200_000 + b"\n",
        b'{"handle": -1, "stack": []}\n',
        b'{"handle": 1e99, "stack": []}\n',
        b'{"handle": 1, "stack": {}}\n',
        b'{"handle": 1, "stack": [1]}\n',
        b'{"handle": 1, "stack": ["\\ud800"]}\n',
        b'{"stack": []}\n',
        b"\0" * 5000,
    ],
)
def test_a_line_of_stacks_that_is_damaged_costs_itself_alone(
    capture: Path, line: bytes
) -> None:
    good = b'{"handle": 77, "stack": ["f+0x1/0x2"]}\n'
    text = (capture / STACKS).read_bytes()
    (capture / STACKS).write_bytes(
        text + line + (b"" if line.endswith(b"\n") else b"\n") + good
    )
    check(capture)
    assert Capture(capture).stack(77) == ["f+0x1/0x2"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:5],
        lambda data: data[:60],
        lambda data: data[:-1],
        lambda data: data + b"x",
        lambda data: data[:10] + b"(" * 60 + data[70:],
        lambda data: data.replace(b"(100,)", b"(9**9)"),
        lambda data: data.replace(b"'<u8'", b"'|O8'", 1),
        lambda data: data[:6] + b"\x07" + data[7:],
    ],
)
def test_damaged_pages_are_said_to_be(capture: Path, damage: Any) -> None:
    (capture / PAGES).write_bytes(damage((capture / PAGES).read_bytes()))
    found = check(capture)
    assert "pages.npy is damaged" in found[3][1]


def test_pages_of_a_terabyte_are_damaged(capture: Path) -> None:
    os.truncate(capture / PAGES, 1 << 40)
    assert "pages.npy is damaged" in check(capture)[3][1]

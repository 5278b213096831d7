# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's log of the bundled dump, whole and with a page of it gone; one that has wrapped is looked at in a guest."""

from __future__ import annotations

import pytest
from drgn import FaultError
from drgn.helpers.linux.printk import get_dmesg, get_printk_records
from known import ORDINARY, SAMPLE, Run

from pagedbg.commands.base import execute
from pagedbg.mm.printk import LEVELS, printk_records
from pagedbg.session import Session
from pagedbg.target import Target, open_target

PAGE = 4096


@pytest.fixture
def target() -> Target:
    return open_target(str(SAMPLE))


def test_the_messages_are_those_that_drgn_finds(target: Target) -> None:
    found = [(record.ts_nsec, record.level, record.text) for record in printk_records(target.prog) if record]
    assert found[::-1] == [(record.timestamp, record.level, record.text) for record in get_printk_records(target.prog)]
    assert len(found) > 400


def test_it_is_printed_as_dmesg_prints_it(target: Target, pagedbg: Run) -> None:
    lines = pagedbg("--sample", "log").stdout.splitlines()
    assert [line[15:] for line in lines] == get_dmesg(target.prog, timestamps=False).decode().splitlines()
    # Of a message of several lines drgn gives its time to the first, we give it to each.
    assert {line for line in get_dmesg(target.prog).decode().splitlines() if line.startswith("[ ")} <= set(lines)
    assert all(line.startswith("[ ") for line in lines)
    assert pagedbg("--sample", "log", "--last", "7").stdout.splitlines() == lines[-7:]


def test_what_is_as_bad_or_worse(target: Target, pagedbg: Run) -> None:
    records = get_printk_records(target.prog)
    for level in ("emerg", "err", "warn"):
        expected = [record.text.decode() for record in records if record.level <= LEVELS.index(level)]
        rows = pagedbg.json("log", "--level", level, core=SAMPLE)
        assert [row["message"] for row in rows] == expected
        assert [row["message"] for row in pagedbg.json("log", "--level", level, "--last", "1", core=SAMPLE)] == expected[-1:]
    assert pagedbg("-c", ORDINARY, "log", "--level", "emerg").stdout == "Nothing as bad as emerg is in the log.\n"


def test_a_page_of_the_text_that_is_gone_costs_the_messages_in_it(target: Target, capsys: pytest.CaptureFixture[str]) -> None:
    whole = [record for record in printk_records(target.prog) if record]
    page = target.prog["prb"].text_data_ring.data.value_() // PAGE * PAGE + PAGE
    gone(target, page)
    left = [record for record in printk_records(target.prog) if record]
    assert [(record.ts_nsec, record.level) for record in left] == [(record.ts_nsec, record.level) for record in whole]
    lost = [record for record in left if record.text is None]
    assert 20 < len(lost) < len(whole) / 4
    assert [record for record in left if record.text] == [was for was, record in zip(whole, left, strict=True) if record.text]

    assert execute(Session(target), "log --format jsonl") == 0
    said = capsys.readouterr()
    assert said.out.count('"message": null') == len(lost)
    assert f"{len(lost)} messages could not be read." in said.err
    assert execute(Session(target), "log") == 0
    assert capsys.readouterr().out.count("(could not be read)") == len(lost)
    assert execute(Session(target), "status") == 0
    assert "leaky: no receive buffer" in capsys.readouterr().out


def test_messages_whose_descriptors_are_gone_are_counted(target: Target, capsys: pytest.CaptureFixture[str]) -> None:
    whole = sum(1 for _ in printk_records(target.prog))
    gone(target, target.prog["prb"].desc_ring.descs.value_() // PAGE * PAGE + PAGE)
    found = list(printk_records(target.prog))
    assert 100 < found.count(None) < len(found) == whole
    assert execute(Session(target), "log") == 0
    assert f"{found.count(None)} messages could not be read." in capsys.readouterr().out


def test_a_log_that_is_gone_is_not_called_empty(target: Target, capsys: pytest.CaptureFixture[str]) -> None:
    first = target.prog["prb"].desc_ring.descs.value_() // PAGE * PAGE
    for page in range(first, first + 64 * PAGE, PAGE):
        gone(target, page)
    assert execute(Session(target), "log") == 0
    said = capsys.readouterr().out
    assert "Nothing is in the log as far as it could be read." in said
    assert "messages could not be read." in said


def gone(target: Target, page: int) -> None:
    """Make a page unreadable, as one that the dump left out is."""

    def read(address: int, count: int, offset: int, physical: bool) -> bytes:
        raise FaultError("left out", address)

    target.prog.add_memory_segment(page, PAGE, read, False)

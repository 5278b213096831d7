# SPDX-License-Identifier: GPL-2.0-or-later
"""
The kernel's log of the bundled dump, whole and with a page of it gone; one that has
wrapped is looked at in a guest.
"""

from __future__ import annotations

import struct

import pytest
from drgn import FaultError, Object, sizeof
from drgn.helpers.linux.printk import get_dmesg, get_printk_records
from known import ORDINARY, SAMPLE, Run

from pagedbg.mm.printk import LEVELS, printk_records
from pagedbg.session import Session
from pagedbg.shell.execute import execute
from pagedbg.target.opening import open_target
from pagedbg.target.target import Target

PAGE = 4096


@pytest.fixture
def target() -> Target:
    return open_target(str(SAMPLE))


def test_the_messages_are_those_that_drgn_finds(target: Target) -> None:
    found = [
        (record.ts_nsec, record.level, record.text)
        for record in printk_records(target.prog)
        if record
    ]
    assert found[::-1] == [
        (record.timestamp, record.level, record.text)
        for record in get_printk_records(target.prog)
    ]
    assert len(found) > 400


def test_it_is_printed_as_dmesg_prints_it(target: Target, pagedbg: Run) -> None:
    lines = pagedbg("--sample", "log").stdout.splitlines()
    assert [line[15:] for line in lines] == get_dmesg(
        target.prog, timestamps=False
    ).decode().splitlines()
    # Of a message of several lines drgn gives its time to the first, we give it to
    # each.
    assert {
        line
        for line in get_dmesg(target.prog).decode().splitlines()
        if line.startswith("[ ")
    } <= set(lines)
    assert all(line.startswith("[ ") for line in lines)
    assert pagedbg("--sample", "log", "--last", "7").stdout.splitlines() == lines[-7:]


def test_what_is_as_bad_or_worse(target: Target, pagedbg: Run) -> None:
    records = get_printk_records(target.prog)
    for level in ("emerg", "err", "warn"):
        expected = [
            record.text.decode()
            for record in records
            if record.level <= LEVELS.index(level)
        ]
        rows = pagedbg.json("log", "--level", level, core=SAMPLE)
        assert [row["message"] for row in rows] == expected
        assert [
            row["message"]
            for row in pagedbg.json("log", "--level", level, "--last", "1", core=SAMPLE)
        ] == expected[-1:]
    assert (
        pagedbg("-c", ORDINARY, "log", "--level", "emerg").stdout
        == "Nothing as bad as emerg is in the log.\n"
    )


def test_a_page_of_the_text_that_is_gone_costs_the_messages_in_it(
    target: Target, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = [record for record in printk_records(target.prog) if record]
    page = target.prog["prb"].text_data_ring.data.value_() // PAGE * PAGE + PAGE
    gone(target, page)
    left = [record for record in printk_records(target.prog) if record]
    assert [(record.ts_nsec, record.level) for record in left] == [
        (record.ts_nsec, record.level) for record in whole
    ]
    lost = [record for record in left if record.text is None]
    assert 20 < len(lost) < len(whole) / 4
    assert [record for record in left if record.text] == [
        was for was, record in zip(whole, left, strict=True) if record.text
    ]

    assert execute(Session(target), "log --format jsonl") == 0
    said = capsys.readouterr()
    assert said.out.count('"message": null') == len(lost)
    assert f"{len(lost)} messages could not be read." in said.err
    assert execute(Session(target), "log") == 0
    assert capsys.readouterr().out.count("(could not be read)") == len(lost)
    assert execute(Session(target), "status") == 0
    assert "leaky: no receive buffer" in capsys.readouterr().out


def test_messages_whose_descriptors_are_gone_are_counted(
    target: Target, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = sum(1 for _ in printk_records(target.prog))
    gone(target, target.prog["prb"].desc_ring.descs.value_() // PAGE * PAGE + PAGE)
    found = list(printk_records(target.prog))
    assert 100 < found.count(None) < len(found) == whole
    assert execute(Session(target), "log") == 0
    assert f"{found.count(None)} messages could not be read." in capsys.readouterr().out


def test_a_log_that_is_gone_is_not_called_empty(
    target: Target, capsys: pytest.CaptureFixture[str]
) -> None:
    first = target.prog["prb"].desc_ring.descs.value_() // PAGE * PAGE
    for page in range(first, first + 64 * PAGE, PAGE):
        gone(target, page)
    assert execute(Session(target), "log") == 0
    said = capsys.readouterr().out
    assert "Nothing is in the log as far as it could be read." in said
    assert "messages could not be read." in said


def test_a_descriptor_that_was_zeroed_is_counted(
    target: Target, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = list(printk_records(target.prog))
    overwrite(
        target,
        descriptor(target, 3).address_,
        bytes(sizeof(target.prog.type("struct prb_desc"))),
    )
    assert list(printk_records(target.prog)) == [*whole[:3], None, *whole[4:]]
    assert execute(Session(target), "log --last 5") == 0
    assert "1 message could not be read." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("begin", "end"),
    # Another message's text must not be taken for it.
    [
        (-5 << 17, 0),
        (-(1 << 17) - 8, 0),
        (8, 8 << 17),
        (3, 0),
        (0, 1),
        (0, -16),
        (16, 0),
    ],
)
def test_a_text_that_is_not_where_one_can_be_is_not_shown(
    target: Target, begin: int, end: int
) -> None:
    whole = [record for record in printk_records(target.prog) if record]
    place = descriptor(target, 3).text_blk_lpos
    for position, by in ((place.begin, begin), (place.next, end)):
        overwrite(
            target,
            position.address_,
            struct.pack("<Q", (position.value_() + by) % (1 << 64)),
        )
    assert list(printk_records(target.prog)) == [
        *whole[:3],
        whole[3]._replace(text=None),
        *whole[4:],
    ]


@pytest.mark.parametrize("address", [0, 1 << 63, (1 << 64) - 16])
def test_a_text_ring_that_is_nowhere(
    target: Target, capsys: pytest.CaptureFixture[str], address: int
) -> None:
    overwrite(
        target,
        target.prog["prb"].text_data_ring.data.address_,
        struct.pack("<Q", address),
    )
    assert execute(Session(target), "log") == 0
    said = capsys.readouterr()
    assert (said.out.count("(could not be read)"), said.err) == (414, "")


@pytest.mark.parametrize(
    ("name", "bits"), [("desc_ring", 0), ("desc_ring", 27), ("text_data_ring", 77)]
)
def test_a_ring_that_is_too_large_to_be_one_is_refused(
    target: Target, capsys: pytest.CaptureFixture[str], name: str, bits: int
) -> None:
    ring = target.prog["prb"].member_(name)
    overwrite(
        target,
        (ring.count_bits if name == "desc_ring" else ring.size_bits).address_,
        struct.pack("<I", bits),
    )
    assert execute(Session(target), "log") == 1
    assert (
        capsys.readouterr().err
        == f"log: the kernel's log is damaged: a ring of 2**{bits} entries.\n"
    )
    assert execute(Session(target), "status") == 0


def descriptor(target: Target, age: int) -> Object:
    """That of the newest message, or of so many before it."""
    ring = target.prog["prb"].desc_ring
    return ring.descs[
        ring.head_id.counter.value_() - age & (1 << ring.count_bits.value_()) - 1
    ]


def overwrite(target: Target, address: int, data: bytes) -> None:
    """Change what the dump holds, inside of a page."""
    page = address // PAGE * PAGE
    content = bytearray(target.prog.read(page, PAGE))
    content[address - page : address - page + len(data)] = data

    def read(address: int, count: int, offset: int, physical: bool) -> bytes:
        return bytes(content[address - page : address - page + count])

    target.prog.add_memory_segment(page, PAGE, read, False)


def gone(target: Target, page: int) -> None:
    """Make a page unreadable, as one that the dump left out is."""

    def read(address: int, count: int, offset: int, physical: bool) -> bytes:
        raise FaultError("left out", address)

    target.prog.add_memory_segment(page, PAGE, read, False)

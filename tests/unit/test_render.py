# SPDX-License-Identifier: GPL-2.0-or-later
"""
Rendering: what programs read comes back whole; what people read is aligned, fits, and
cannot drive the terminal.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from pagedbg.output.render import render, wants_color
from pagedbg.schema.table import Column, Row, Table

COLUMNS = (
    Column("pfn", "hex"),
    Column("order", "int"),
    Column("comm", "str"),
    Column("share", "share"),
    Column("ts_ns", "ns"),
    Column("stack", "stack"),
)
FRAME = st.text(st.characters(exclude_characters=";"), min_size=1)
ROW = st.tuples(
    st.none() | st.integers(0, 2**64 - 1),
    st.none() | st.integers(-1, 10),
    st.none() | st.text(),
    st.none() | st.floats(0, 100),
    st.none() | st.integers(0, 2**63),
    st.none() | st.lists(FRAME, min_size=1),
)
BATCHES = st.lists(st.lists(ROW, max_size=5), max_size=4)


def drawn(table: Table, format: str, **more: Any) -> str:
    """Return what render() writes."""
    out = io.StringIO(newline="")
    render(table, format, out, **more)
    return out.getvalue()


def people(rows: Sequence[Row], **more: Any) -> list[str]:
    """Return the lines of a small table as text."""
    columns = (
        Column("pfn", "hex"),
        Column("gfp"),
        Column("comm"),
        Column("pages", "int"),
    )
    return drawn(Table.of(columns, rows), "text", **more).splitlines()


ROWS = [
    (0x1000, "GFP_KERNEL|__GFP_ZERO", "systemd-journal", 1),
    (0xFFFFF, "GFP_ATOMIC", "init", 1024),
]


# ---- for programs


@given(BATCHES)
def test_json_comes_back(batches: list[list[Row]]) -> None:
    expected = [
        {
            column.name: hex(value)
            if isinstance(value, int) and value > 2**53
            else value
            for column, value in zip(COLUMNS, row, strict=True)
        }
        for rows in batches
        for row in rows
    ]
    assert json.loads(drawn(Table(COLUMNS, batches), "json")) == expected
    lines = drawn(Table(COLUMNS, batches), "jsonl").split("\n")
    assert lines.pop() == ""
    assert [json.loads(line) for line in lines] == expected


@given(BATCHES)
def test_csv_comes_back(batches: list[list[Row]]) -> None:
    header, *read = csv.reader(
        io.StringIO(drawn(Table(COLUMNS, batches), "csv"), newline="")
    )
    assert header == [c.name for c in COLUMNS]
    expected = [
        [
            "" if v is None else ";".join(v) if isinstance(v, list) else str(v)
            for v in row
        ]
        for rows in batches
        for row in rows
    ]
    assert read == expected


def test_json_takes_numpy_values() -> None:
    columns = (Column("pfn", "hex"), Column("share", "share"), Column("stack", "stack"))
    rows = [(numpy.uint64(2**63), numpy.float64(0.5), ("a", "b"))]
    assert json.loads(drawn(Table.of(columns, rows), "json")) == [
        {"pfn": hex(2**63), "share": 0.5, "stack": ["a", "b"]}
    ]


def test_json_has_numbers_that_a_double_cannot_hold_as_text() -> None:
    rows = [(2**53, -(2**53)), (2**53 + 1, -(2**53) - 1)]
    columns = (Column("page", "hex"), Column("ns", "ns"))
    assert json.loads(drawn(Table.of(columns, rows), "json")) == [
        {"page": 2**53, "ns": -(2**53)},
        {"page": "0x20000000000001", "ns": "-0x20000000000001"},
    ]


NESTED = (
    Column("pfn", "hex"),
    Column("object", "row", fields=(Column("address", "hex"), Column("comm"))),
    Column(
        "events",
        "rows",
        fields=(Column("ts_ns", "ns"), Column("stack", "stack"), Column("head", "row")),
    ),
)
NESTED_ROWS = [
    (1, (1 << 63, "a\x1b\u2028;"), [(numpy.uint64(5), ["f", "g"], None)]),
    (2, None, []),
    (3, (None, None), None),
]
NESTED_JSON = [
    {
        "pfn": 1,
        "object": {"address": hex(1 << 63), "comm": "a\x1b\u2028;"},
        "events": [{"ts_ns": 5, "stack": ["f", "g"], "head": None}],
    },
    {"pfn": 2, "object": None, "events": []},
    {"pfn": 3, "object": {"address": None, "comm": None}, "events": None},
]


def test_rows_in_cells_are_objects_in_json() -> None:
    table = Table.of(NESTED, NESTED_ROWS)
    assert json.loads(drawn(table, "json")) == NESTED_JSON


def test_rows_in_cells_are_json_in_other_formats() -> None:
    _, *read = csv.reader(io.StringIO(drawn(Table.of(NESTED, NESTED_ROWS), "csv")))
    _, *lines = drawn(Table.of(NESTED, NESTED_ROWS), "tsv").splitlines()
    unescaped = [
        [cell.replace("\\\\", "\\") for cell in line.split("\t")] for line in lines
    ]
    assert read == unescaped
    for row, expected in zip(read, NESTED_JSON, strict=True):
        assert row[0] == str(expected["pfn"])
        for cell, name in zip(row[1:], ("object", "events"), strict=True):
            assert (json.loads(cell) if cell else None) == expected[name]
    first, *_ = drawn(Table.of(NESTED, NESTED_ROWS), "text").splitlines()[1:]
    assert "\x1b" not in first
    assert '"ts_ns": 5' in first


def test_booleans_are_no_numbers() -> None:
    assert json.loads(
        drawn(Table.of([Column("head", "int")], [(True,), (1,)]), "json")
    ) == [{"head": True}, {"head": 1}]


@pytest.mark.parametrize("format", ["text", "json", "jsonl", "csv", "tsv"])
def test_rows_are_written_as_they_come(format: str) -> None:
    out = io.StringIO()
    seen = []

    def batches() -> Iterator[list[Row]]:
        for number in range(3):
            seen.append(out.getvalue().count("comm-"))
            yield [(f"comm-{number}",)]

    render(Table([Column("name")], batches()), format, out)
    assert seen == [0, 1, 2]


@pytest.mark.parametrize("format", ["json", "jsonl", "csv"])
def test_notes_stay_out_of_data(
    format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    table = Table.of(
        [Column("pfn", "hex")], [(1,)], notes=["One page could not be read."]
    )
    assert "could not" not in drawn(table, format)
    assert capsys.readouterr().err == "One page could not be read.\n"


def test_empty_tables() -> None:
    columns = [Column("pfn", "hex"), Column("comm")]
    assert (
        drawn(Table.of(columns, [], empty="No page matches."), "text")
        == "No page matches.\n"
    )
    assert drawn(Table.of(columns, []), "json") == "[]\n"
    assert drawn(Table.of(columns, []), "jsonl") == ""
    assert drawn(Table.of(columns, []), "csv") == "pfn,comm\n"


# ---- for people


def test_columns_are_aligned() -> None:
    assert people(ROWS) == [
        "    pfn  gfp                    comm             pages",
        " 0x1000  GFP_KERNEL|__GFP_ZERO  systemd-journal      1",
        "0xfffff  GFP_ATOMIC             init              1024",
    ]


def test_each_kind_has_its_form() -> None:
    columns = [
        Column("a", "int"),
        Column("b", "hex"),
        Column("c", "bytes"),
        Column("d", "share"),
        Column("e", "ns"),
        Column("f"),
    ]
    rows = [
        (7, 7, 7, 7.0, 1_500_000_000, "x"),
        (None,) * 6,
        (0, 0, 3 << 20, 0.04, 0, ""),
        (1, 1, 1536, 1.0, 1, "x"),
    ]
    lines = [
        line.split("  ") for line in drawn(Table.of(columns, rows), "text").splitlines()
    ]
    cells = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    assert cells[1] == ["7", "0x7", "7 B", "7.0%", "1.500000s", "x"]
    assert cells[2] == ["-"] * 6
    assert cells[3] == ["0", "0x0", "3.0 MiB", "0.0%", "0.000000s"]
    assert cells[4][2] == "1.5 KiB"


def test_a_stack_stands_below_its_row() -> None:
    columns = [Column("pages", "int"), Column("stack", "stack"), Column("comm")]
    rows = [
        (4, ["alloc_pages+0x10/0x80", "xfs_buf_alloc+0x1/0x2 [xfs]"], "init"),
        (2, None, "kthreadd"),
    ]
    assert drawn(Table.of(columns, rows), "text").splitlines() == [
        "pages  comm",
        "    4  init",
        "    alloc_pages+0x10/0x80",
        "    xfs_buf_alloc+0x1/0x2 [xfs]",
        "    2  kthreadd",
        "    (no stack)",
    ]


def test_text_is_cut_on_a_narrow_terminal_only() -> None:
    lines = people(ROWS, width=40)
    assert max(map(len, lines)) <= 40
    assert lines[1].split() == ["0x1000", "GFP_KERNEL…", "systemd-jo…", "1"]
    assert "GFP_KERNEL|__GFP_ZERO" in people(ROWS)[1]


NAME = st.text()


@given(
    st.lists(
        st.tuples(st.integers(0, 2**52), NAME, NAME, st.integers(0, 2**30)), min_size=1
    ),
    st.integers(20, 100),
)
def test_no_line_is_too_long_and_no_number_is_cut(rows: list[Row], width: int) -> None:
    _, *lines = people(rows, width=width)
    assert all(cell_len(line) <= width for line in lines)
    for line, row in zip(lines, rows, strict=False):
        assert line.split()[0] == f"{row[0]:#x}"
    more = " ".join(lines[len(rows) :])
    assert not more or more.startswith("No room for ")


def test_columns_without_room_are_named() -> None:
    header, _, _, *note = people(ROWS, width=20)
    assert header.split() == ["pfn", "gfp"]
    assert note == [
        "No room for comm,",
        "pages: widen the",
        "terminal, or use",
        "--format or | less",
        "-S.",
    ]


def test_wide_characters_count_twice() -> None:
    lines = drawn(
        Table.of([Column("comm"), Column("n", "int")], [("日本", 1), ("abcd", 2)]),
        "text",
    ).splitlines()
    assert lines == ["comm  n", "日本  1", "abcd  2"]


def test_a_later_batch_may_widen_the_columns() -> None:
    batches = [[("a", 1)], [("a-longer-name", 22)]]
    assert drawn(
        Table([Column("comm"), Column("n", "int")], batches), "text"
    ).splitlines() == ["comm  n", "a     1", "a-longer-name  22"]


@pytest.mark.parametrize("kind", ["str", "stack"])
def test_a_name_cannot_drive_the_terminal(kind: Any) -> None:
    evil = "\x1b]0;owned\x07\n\udc80"
    text = drawn(
        Table.of(
            [Column("n", "int"), Column("name", kind)],
            [(1, [evil] if kind == "stack" else evil)],
        ),
        "text",
    )
    assert r"\x1b]0;owned\x07\n\udc80" in text
    assert "\x1b" not in text and "\x07" not in text
    assert text.count("\n") == (3 if kind == "stack" else 2)


def test_notes_follow_the_rows_even_when_they_come_late() -> None:
    notes: list[str] = []

    def batches() -> Iterator[list[Row]]:
        yield [(1,)]
        notes.append("Two pages could not be read.")

    assert (
        drawn(Table([Column("n", "int")], batches(), notes=notes), "text")
        == "n\n1\nTwo pages could not be read.\n"
    )


def test_text_of_its_own_stands_instead_of_the_rows() -> None:
    table = Table.of(
        [Column("n", "int")], [(1,)], text=["pfn 0x1:", "  free"], notes=["Said last."]
    )
    assert drawn(table, "text") == "pfn 0x1:\n  free\nSaid last.\n"
    assert json.loads(
        drawn(Table.of([Column("n", "int")], [(1,)], text=["x"]), "json")
    ) == [{"n": 1}]


def test_sentences_are_wrapped_and_rows_of_text_are_not() -> None:
    table = Table.of(
        [Column("n", "int")],
        [(1,)],
        text=[
            "One block is large enough.",
            "zone   free  too small  needed",
            "  free  more than has to be",
        ],
    )
    assert drawn(table, "text", width=20).splitlines() == [
        "One block is large",
        "enough.",
        "zone   free  too small  needed",
        "  free  more than",
        "        has to be",
    ]
    assert "One block is large enough.\n" in drawn(table, "text")


def test_colours_only_when_asked_for() -> None:
    table = [Column("n", "int")], [(1,)]
    assert "\x1b" not in drawn(Table.of(*table, notes=["x"]), "text")
    assert (
        drawn(Table.of(*table, notes=["x"]), "text", color=True)
        == "\x1b[1mn\x1b[0m\n1\n\x1b[2mx\x1b[0m\n"
    )
    assert "\x1b" not in drawn(Table.of(*table), "json", color=True)


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "dumb"}, False),
        ({}, False),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
    ],
)
def test_who_wants_colours(
    environment: dict[str, str], wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TERM", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert wants_color() is wanted


@given(BATCHES)
def test_tabs_and_line_feeds_in_text_do_not_end_a_cell_of_tsv(
    batches: list[list[Row]],
) -> None:
    lines = drawn(Table(COLUMNS, batches), "tsv").split("\n")
    assert lines.pop() == ""
    assert lines.pop(0).split("\t") == [column.name for column in COLUMNS]
    rows = [row for batch in batches for row in batch]
    assert len(lines) == len(rows)
    comm = [column.name for column in COLUMNS].index("comm")
    for line, row in zip(lines, rows, strict=True):
        cells = line.split("\t")
        assert len(cells) == len(COLUMNS)
        text = re.sub(
            r"\\(.)",
            lambda match: {"t": "\t", "n": "\n", "r": "\r"}.get(match[1], match[1]),
            cells[comm],
        )
        assert text == (row[comm] or "")


def test_what_a_line_names_goes_on_under_what_it_says_of_it() -> None:
    table = Table((Column("host"),), [])
    table.text = ["target: /a/long/path/to/vmcore (kdump), booted", "memory: 4 KiB"]
    assert drawn(table, "text", width=24).splitlines() == [
        "target:",
        "        /a/long/path/to/vmcore",
        "        (kdump), booted",
        "memory: 4 KiB",
    ]
    assert "vmcore (kdump), booted\n" in drawn(table, "text")
    # As doctor says it.
    table.text = ["NO  complete dump    left out: zero pages, free pages"]
    assert drawn(table, "text", width=40).splitlines() == [
        "NO  complete dump    left out: zero",
        "                     pages, free pages",
    ]


def test_in_a_narrow_window_the_columns_that_answer_are_left_out_last() -> None:
    columns = (
        Column("handle", "hex", rank=7),
        Column("pfn", "hex", rank=1),
        Column("gfp", rank=4),
        Column("comm", rank=1),
    )
    table = Table.of(columns, [(0x123456, 0x1000, "GFP_KERNEL", "init")])
    header, _, *note = drawn(table, "text", width=24).splitlines()
    assert header.split() == ["pfn", "gfp", "comm"]
    assert note[0] == "No room for handle:"
    table = Table.of(columns, [(0x123456, 0x1000, "GFP_KERNEL", "init")])
    header, _, *note = drawn(table, "text", width=13).splitlines()
    assert header.split() == ["pfn", "comm"]
    assert note[:2] == ["No room for", "handle, gfp:"]


def test_a_name_is_kept_where_something_else_can_be_left_out() -> None:
    columns = (
        Column("kind", rank=1),
        Column("detail"),
        Column("pages", "int", rank=1),
        Column("counter", rank=6),
    )
    row = ("kernel stack", "a detail that is long", 228, "NR_KERNEL_STACK_KB")
    lines = drawn(Table.of(columns, [row]), "text", width=40).splitlines()
    assert lines[1].split() == [
        "kernel",
        "stack",
        "a",
        "detail",
        "that",
        "is",
        "l…",
        "228",
    ]
    assert lines[2].startswith("No room for counter")
    wide = drawn(Table.of(columns, [row]), "text", width=50).splitlines()
    assert wide[1].split()[:2] == ["kernel", "stack"]
    assert wide[0].split() == ["kind", "detail", "pages", "counter"]


@pytest.mark.parametrize(
    ("encoding", "drawn_as"), [("ascii", "_.:#"), ("utf-8", "▁▂▃█")]
)
def test_a_row_of_numbers_is_drawn_with_what_can_be_shown(
    encoding: str, drawn_as: str
) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="")
    render(Table.of((Column("history", "series"),), [([0, 1, 2, 7],)]), "text", out)
    out.seek(0)
    assert out.read().split() == ["history", drawn_as]

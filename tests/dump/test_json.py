# SPDX-License-Identifier: GPL-2.0-or-later
"""What commands print as JSON is what the schema says, in nested rows, too."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import pytest
from known import SAMPLE, look_at

from pagedbg.commands.help import examples
from pagedbg.schema.relations import RELATIONS
from pagedbg.schema.table import Column
from pagedbg.shell.command import load_commands

# By the kind of a column, what JSON has; beside it numbers beyond 2**53 are strings.
TYPES = {
    "int": int,
    "hex": int,
    "bool": bool,
    "str": str,
    "bytes": int,
    "share": float,
    "ns": int,
    "list": list,
    "stack": list,
    "series": list,
    "row": dict,
    "rows": list,
}

# By name: of relations that have a column with rows of their own each.
COLUMNS: dict[str, list[Column]] = defaultdict(list)
for _relation in RELATIONS.values():
    for _column in _relation:
        COLUMNS[_column.name].append(_column)


def lines() -> list[str]:
    """The examples of the commands that give a table, and some more."""
    tables = {command.name for command in load_commands() if command.table}
    more = ("inspect pfn 0x3c70", "inspect pfn 0x5e01", "stacks", "trace show")
    return [
        f"{line} --format json"
        for line in (*more, *(line for line, _ in examples()))
        if any(line == name or line.startswith(f"{name} ") for name in tables)
        and not set(line) & {"|", ">"}
        and not {"-o", "--format", "--flight", "--save"} & set(line.split())
        and not line.startswith(("trace start", "trace attach", "trace follow"))
    ]


def check_row(row: dict[str, Any], columns: Sequence[Column] | None = None) -> None:
    """Every value is of its column's type, and no number is rounded by a reader."""
    if columns is not None:
        assert list(row) == [column.name for column in columns]
    for name, value in row.items():
        column = COLUMNS[name][0]
        if value is None:
            continue
        if isinstance(value, str) and TYPES[column.kind] is int:
            assert int(value, 16) > 1 << 53, (name, value)
            continue
        if isinstance(value, int) and TYPES[column.kind] is float:
            continue
        assert type(value) is TYPES[column.kind], (name, value)
        if isinstance(value, int):
            assert abs(value) <= 1 << 53, (name, value)
        if column.kind in ("list", "stack"):
            assert all(isinstance(each, str) for each in value)
        if column.kind in ("row", "rows"):
            for each in [value] if column.kind == "row" else value:
                check_row(each, column.fields)


@pytest.fixture(scope="module")
def answers() -> dict[str, list[dict[str, Any]]]:
    """What they give on the dump that comes with pagedbg."""
    asked = lines()
    results = zip(asked, look_at(SAMPLE, *asked), strict=True)
    return {line: json.loads(out) for line, (status, out, _) in results if not status}


def test_json_is_what_the_schema_says(answers: dict[str, list[dict[str, Any]]]) -> None:
    assert len(answers) > len(lines()) // 2
    for rows in answers.values():
        for row in rows:
            check_row(row)


def test_every_kind_of_nested_row_was_looked_at(
    answers: dict[str, list[dict[str, Any]]],
) -> None:
    seen = {
        name
        for rows in answers.values()
        for row in rows
        for name, value in row.items()
        if COLUMNS[name][0].fields and value
    }
    assert {"zones", "recording", "parts", "events", "mappings"} <= seen
